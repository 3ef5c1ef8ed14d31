"""What to write after a decision: the token Secret and the mailer's status. Pure."""

import dataclasses
import datetime

import msgspec

from o365mailer_contract import names
from o365mailer_operator.clock import to_the_second
from o365mailer_operator.controller import canary, conditions
from o365mailer_operator.controller.canary import LoginAim, Seen
from o365mailer_operator.controller.conditions import Problem
from o365mailer_operator.controller.decision import Aim, Hold, Keep, Mint, NewToken, Observed, last_failure
from o365mailer_operator.controller.mailer import Condition, Login, Manifest, Status
from o365mailer_operator.controller.token_secret import (
    Directory,
    HeldToken,
    Origin,
    compose,
    is_owned,
    revision_in,
)
from o365mailer_operator.exchange.excess import excess_note, excess_rights
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.credential import fingerprint, has_fingerprint
from o365mailer_operator.token.directory import files_of, same_but_revision, settings_of
from o365mailer_operator.token.errors import ENTRA_UNREACHABLE, InvalidSpec, TokenError
from o365mailer_operator.token.grant import token_identity
from o365mailer_operator.token.schedule import refresh_due, wait_after_failure

Minted = Token | TokenError | None
"""What the token request of a Mint brought; None while it is under way, and for every other step."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What to write."""

    secret: Manifest | None
    """None if the token Secret stays as it is."""
    status: Status
    look_at: datetime.datetime | None = None
    """When to reconcile again, if that is sooner than usual."""
    held: HeldToken | None = None
    """The token that the Secret has once this is written."""
    new: NewToken | None = None
    """A token that no status which was written has told of yet."""
    told: NewToken | None = None
    """The same, if `status` tells of it, and not of a problem or of nothing."""
    login: LoginAim | None = None
    """The login to try once this is written; None if none is due."""

    @property
    def refresh_at(self) -> datetime.datetime | None:
        """When that token is to be replaced. A failed attempt does not move it, as it moves the status'."""
        return self.held.origin.refresh_at if self.held else None

    @property
    def ready(self) -> bool:
        """Whether pods can submit mail once this is written."""
        condition = self.status.condition(conditions.READY)
        return condition is not None and condition.status == "True"


def outcome_of(observed: Observed, step: Hold | Keep | Mint, minted: Minted, *, random: float) -> Outcome:
    """What follows from a step and, for a Mint, from what it brought; `random` is from [0, 1)."""
    directory = _directory_after(observed, step, minted)
    new = _new_token(observed, step, minted)
    decided = not _is_undecided(observed, step, minted, directory=directory)
    told = new if new and decided and _problem_after(observed, step, minted) is None else None
    progress = _progress_after(observed, step, minted, directory=directory, told=told, random=random)
    aim = _login_aim(observed, step, directory) if decided else None
    login, authenticated = _login_after(observed, aim, told)
    status = msgspec.structs.replace(
        progress,
        observed_generation=observed.mailer.metadata.generation if decided else progress.observed_generation,
        secret_name=names.token_secret_name(observed.mailer.metadata.name) if directory else None,
        token_expiry=directory.expires_at if directory else None,
        token_revision=directory.settings.revision if directory else progress.token_revision,
        last_refresh=to_the_second(directory.origin.issued_at) if directory else None,
        conditions=_conditions_after(observed, step, minted, directory=directory, told=told, login=authenticated)
        if decided
        else progress.conditions,
        login=login,
    )
    status = _with_reason_time(status, before=observed.mailer.status, now=observed.now)
    return Outcome(
        secret=_secret_after(observed, directory),
        status=status,
        look_at=_look_at(observed, step, minted, status),
        held=directory.held if directory else None,
        new=new,
        told=told,
        login=aim if canary.due(login, aim, now=observed.now, begun=observed.login_begun) else None,
    )


def _look_at(observed: Observed, step: Hold | Keep | Mint, minted: Minted, status: Status) -> datetime.datetime | None:
    if isinstance(step, Mint) and minted is None:
        return None  # the end of the token request makes the mailer due
    until = step.until if isinstance(step, Keep) else None
    login = status.login.next_time if status.login and not isinstance(step, Hold) else None
    later = login if login and login > observed.now else None  # one that is due is an errand
    return min((each for each in (status.next_refresh, until, later) if each), default=None)


def _login_aim(observed: Observed, step: Hold | Keep | Mint, directory: Directory | None) -> LoginAim | None:
    """The login that pods make with the directory, if it has a token for this spec and the spec's hosts are allowed."""
    if directory is None or isinstance(step, Hold) or not _usable(observed, directory):
        return None
    return LoginAim.of(directory)


def _new_token(observed: Observed, step: Hold | Keep | Mint, minted: Minted) -> NewToken | None:
    held, untold = observed.held, observed.untold
    if untold and (held is None or untold.token.value != held.token):
        untold = None
    if isinstance(step, Mint) and isinstance(minted, Token):
        asked = held is not None and not step.aim.met_by(held.origin)
        return NewToken(minted, again=asked or (untold is not None and untold.again))
    return untold


def _login_after(observed: Observed, aim: LoginAim | None, told: NewToken | None) -> tuple[Login | None, Condition]:
    if not observed.canary:
        return None, canary.off()
    spec, metadata = observed.spec, observed.mailer.metadata
    seen = Seen(
        key=observed.mailer.key,
        uid=metadata.uid,
        client_id="" if isinstance(spec, InvalidSpec) else spec.client_id,
        now=observed.now,
        aim=aim,
        again=told is not None and told.again,
        tried=observed.tried,
    )
    return canary.next_state(observed.mailer.status, seen)


def _directory_after(observed: Observed, step: Hold | Keep | Mint, minted: Minted) -> Directory | None:
    directory = observed.directory
    if isinstance(step, Hold):
        return directory
    if isinstance(minted, Token):
        return Directory(
            token=minted.value,
            settings=settings_of(step.spec, expires_at=minted.expires_at, revision=_next_revision(observed)),
            authorities=step.grant.submission_authorities,
            origin=_origin(minted, step.aim, uid=observed.mailer.metadata.uid, salt=observed.salt),
        )
    if directory is None:
        return _restored(observed, step)
    if directory.origin.identity != step.aim.identity:
        return directory  # another application's token: its settings stay as they are
    return _brought_up_to_date(directory, step, revision=_next_revision(observed))


def _restored(observed: Observed, step: Keep | Mint) -> Directory | None:
    """The directory with the token that it had before it was deleted or spoilt: for that, Entra is not needed.

    The token must be for this application, and obtained with this credential. Otherwise deleting the Secret, after the
    credential was taken away, would not take the token away.
    """
    held = observed.held
    if held is None or held.origin.identity != step.aim.identity or observed.now >= held.expires_at:
        return None
    if not has_fingerprint(step.aim.credential, held.origin.fingerprint):
        return None
    return Directory(
        token=held.token,
        settings=settings_of(step.spec, expires_at=held.expires_at, revision=_next_revision(observed)),
        authorities=step.grant.submission_authorities,
        origin=held.origin,
    )


def _brought_up_to_date(directory: Directory, step: Keep | Mint, *, revision: int) -> Directory:
    wanted = settings_of(step.spec, expires_at=directory.settings.expires_at, revision=revision)
    authorities = step.grant.submission_authorities
    if same_but_revision(wanted, directory.settings) and authorities == directory.authorities:
        return directory
    return dataclasses.replace(directory, settings=wanted, authorities=authorities)


def _next_revision(observed: Observed) -> int:
    # The status keeps the count while the Secret is missing, so that a sidecar never sees it go back.
    return max(revision_in(observed.token_secret), observed.mailer.status.token_revision) + 1


def _origin(token: Token, aim: Aim, *, uid: str, salt: bytes) -> Origin:
    due = refresh_due(issued_at=token.issued_at, expires_at=token.expires_at, refresh_at=token.refresh_at, uid=uid)
    return Origin(
        identity=aim.identity,
        fingerprint=fingerprint(aim.credential, salt=salt),
        refresh_request=aim.refresh_request,
        issued_at=token.issued_at,
        refresh_at=due,
    )


def _problem_after(observed: Observed, step: Hold | Keep | Mint, minted: Minted) -> Problem | None:
    if isinstance(minted, TokenError):
        return Problem.of(minted)
    if isinstance(step, Mint):
        return None if minted else last_failure(observed) or _overdue(observed, step)
    return step.problem


def _overdue(observed: Observed, step: Mint) -> Problem | None:
    """What to say of a mailer that was Ready, if its token ends while the request for the next one hangs or waits: no
    attempt has failed yet. It is said from the second reconcile on, because a request usually takes half a second."""
    ready, held = observed.mailer.status.condition(conditions.READY), observed.held
    generation = observed.mailer.metadata.generation
    if ready is None or (ready.status, ready.observed_generation) != ("True", generation):
        return None
    if held is None or observed.now < held.expires_at or observed.errand != step.aim.digest:
        return None
    return Problem(
        reason=ENTRA_UNREACHABLE.word,
        message=f"The token ended at {held.expires_at:%Y-%m-%dT%H:%M:%SZ}, and the request for the next one has no "
        "answer yet, or waits until Entra answers others. Nothing to do: it goes on.",
    )


def _is_awaited(step: Hold | Keep | Mint, minted: Minted) -> bool:
    """Whether a token for this aim is being requested, or will be in a moment."""
    return minted is None if isinstance(step, Mint) else isinstance(step, Keep) and step.until is not None


def _is_undecided(observed: Observed, step: Hold | Keep | Mint, minted: Minted, *, directory: Directory | None) -> bool:
    """Whether only the awaited token tells how the mailer is: the conditions and the generation that they are about
    stay, so that neither the state before nor a failure for another aim is told of the spec as it is now."""
    if not _is_awaited(step, minted):
        return False
    if last_failure(observed):
        return isinstance(step, Keep | Mint) and observed.mailer.status.last_attempt != step.aim.digest
    return not _usable(observed, directory) and not (isinstance(step, Mint) and _overdue(observed, step))


def _progress_after(
    observed: Observed,
    step: Hold | Keep | Mint,
    minted: Minted,
    *,
    directory: Directory | None,
    told: NewToken | None,
    random: float,
) -> Status:
    """The status with its memory of attempts: failures, their aim, and when to try again."""
    before = observed.mailer.status
    if isinstance(minted, TokenError) and isinstance(step, Mint):
        failures = before.failed_attempts + 1 if before.last_attempt == step.aim.digest else 1
        pause = datetime.timedelta(seconds=wait_after_failure(minted, failures=failures, random=random))
        again = to_the_second(observed.now + pause)
        return msgspec.structs.replace(
            before,
            failed_attempts=failures,
            last_attempt=step.aim.digest,
            next_refresh=again,
            last_attempt_time=to_the_second(observed.now),
            last_failure_time=to_the_second(observed.now),
        )
    if _is_awaited(step, minted) or (isinstance(step, Keep) and step.problem):
        return before
    due = None if isinstance(step, Hold) or directory is None else to_the_second(directory.origin.refresh_at)
    asked = to_the_second(told.token.issued_at) if told else before.last_attempt_time
    if asked and before.last_attempt_time and not isinstance(minted, Token):
        asked = max(asked, before.last_attempt_time)  # an attempt for another aim may have failed since
    return msgspec.structs.replace(
        before,
        failed_attempts=0,
        last_attempt=None,
        next_refresh=due,
        last_attempt_time=asked,
        last_failure_time=None,
    )


def _conditions_after(
    observed: Observed,
    step: Hold | Keep | Mint,
    minted: Minted,
    *,
    directory: Directory | None,
    told: NewToken | None,
    login: Condition,
) -> tuple[Condition, ...]:
    problem = _problem_after(observed, step, minted)
    ready = conditions.ready(
        problem,
        usable=_usable(observed, directory),
        expires_at=directory.expires_at if directory else None,
        login=login,
    )
    before = observed.mailer.status
    since = conditions.reason_since(ready, before=before, now=observed.now)
    stalled = conditions.stalled(ready, since=since, now=observed.now)
    wanted = (
        ready,
        conditions.token_issued(problem, note=_note(observed, told)),
        login,
        *((stalled,) if stalled else ()),
        *_expiring(observed),
    )
    # Without a token for the spec as it is now, what is known of the login is about an earlier generation.
    kept = login in before.conditions and _login_aim(observed, step, directory) is None
    ours = tuple(
        conditions.carried(condition, before=before, generation=observed.mailer.metadata.generation, now=observed.now)
        for condition in wanted
        if not (kept and condition is login)
    )
    ours = (*ours, login) if kept else ours
    return conditions.merged(before.conditions, ours)


def _with_reason_time(status: Status, *, before: Status, now: datetime.datetime) -> Status:
    ready = status.condition(conditions.READY)
    since = conditions.reason_since(ready, before=before, now=now) if ready else None
    return msgspec.structs.replace(status, reason_transition_time=since)


def _expiring(observed: Observed) -> tuple[Condition, ...]:
    spec, end = observed.spec, observed.credential_end
    if end is None or isinstance(spec, InvalidSpec):
        return ()
    of_certificate = spec.credential.certificate is not None
    reason = conditions.CERTIFICATE_EXPIRING if of_certificate else conditions.CLIENT_SECRET_EXPIRING
    condition = conditions.credential_expiring(reason, end, now=observed.now)
    return (condition,) if condition else ()


def _usable(observed: Observed, directory: Directory | None) -> bool:
    """Whether the directory holds a valid token for this spec, and its mailbox and submission host."""
    spec = observed.spec
    if directory is None or isinstance(spec, InvalidSpec) or observed.now >= directory.expires_at:
        return False
    held, wanted = directory.settings, settings_of(spec, expires_at=None, revision=0)
    same_place = (held.mailbox, held.submission) == (wanted.mailbox, wanted.submission)
    return same_place and directory.origin.identity == token_identity(spec)


def _note(observed: Observed, told: NewToken | None) -> str:
    if told is not None:
        token, excess = told.token, excess_rights(told.token.roles)
        note = excess_note(excess) if excess else ""
        return " ".join(filter(None, (f"Obtained with {token.credential_ref}.", *token.warnings, note)))
    before = observed.mailer.status.condition(conditions.TOKEN_ISSUED)
    if before is not None and before.status == "True":
        return before.message
    return "The token in the Secret is the one that the spec asks for."


def _secret_after(observed: Observed, directory: Directory | None) -> Manifest | None:
    secret = observed.token_secret
    if directory is None:
        return None
    if directory == observed.directory and secret is not None and is_owned(secret, mailer=observed.mailer):
        return None
    files = files_of(directory.settings, token=directory.token, authorities=directory.authorities)
    return compose(mailer=observed.mailer, files=files, origin=directory.origin, replacing=secret)
