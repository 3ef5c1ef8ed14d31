"""What to write after a step: the token Secret and the mailer's status. Pure."""

import dataclasses
import datetime

import msgspec

from o365mailer_contract import names
from o365mailer_operator.controller import conditions
from o365mailer_operator.controller.conditions import Problem
from o365mailer_operator.controller.decision import Aim, Hold, Keep, Mint, Situation
from o365mailer_operator.controller.mailer import Condition, Manifest, Status
from o365mailer_operator.controller.token_secret import Directory, Origin, compose, is_owned, revision_in
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.credential import fingerprint
from o365mailer_operator.token.directory import files_of, same_but_revision, settings_of
from o365mailer_operator.token.errors import InvalidSpec, TokenError
from o365mailer_operator.token.grant import token_identity
from o365mailer_operator.token.schedule import refresh_due, wait_after_failure
from o365mailer_operator.token.spec import Spec

Outcome = Token | TokenError | None
"""What a Mint came to; None for every other step."""


@dataclasses.dataclass(frozen=True)
class Conclusion:
    """What to write."""

    secret: Manifest | None
    """None where the token Secret is right as it is."""
    status: Status
    look_at: datetime.datetime | None = None
    """When to look again, if that is sooner than usual."""

    @property
    def ready(self) -> bool:
        """Whether pods can submit mail once this is written."""
        condition = self.status.condition(conditions.READY)
        return condition is not None and condition.status == "True"


def conclude(situation: Situation, step: Hold | Keep | Mint, outcome: Outcome, *, random: float) -> Conclusion:
    """What follows from a step and its outcome; `random` is from [0, 1)."""
    directory = _directory_after(situation, step, outcome)
    problem = _problem_after(step, outcome)
    progress = _progress_after(situation, step, outcome, directory=directory, random=random)
    status = msgspec.structs.replace(
        progress,
        observed_generation=situation.mailer.metadata.generation,
        secret_name=names.token_secret_name(situation.mailer.metadata.name) if directory else None,
        token_expiry=directory.expires_at if directory else None,
        token_revision=directory.settings.revision if directory else progress.token_revision,
        last_refresh=_to_the_second(directory.origin.issued_at) if directory else None,
        conditions=_conditions_after(situation, outcome, directory=directory, problem=problem),
    )
    until = step.until if isinstance(step, Keep) else None
    return Conclusion(secret=_secret_after(situation, directory), status=status, look_at=until)


def _directory_after(situation: Situation, step: Hold | Keep | Mint, outcome: Outcome) -> Directory | None:
    directory = situation.directory
    if isinstance(step, Hold):
        return directory
    if isinstance(outcome, Token):
        return Directory(
            token=outcome.value,
            settings=settings_of(step.spec, expires_at=outcome.expires_at, revision=_next_revision(situation)),
            authorities=step.grant.submission_authorities,
            origin=_origin(outcome, step.aim, uid=situation.mailer.metadata.uid, salt=situation.salt),
        )
    if directory is None or directory.origin.identity != step.aim.identity:
        return directory  # another application's token: what stands beside it stays beside it
    return _brought_up_to_date(directory, step, revision=_next_revision(situation))


def _brought_up_to_date(directory: Directory, step: Keep | Mint, *, revision: int) -> Directory:
    wanted = settings_of(step.spec, expires_at=directory.settings.expires_at, revision=revision)
    authorities = step.grant.submission_authorities
    if same_but_revision(wanted, directory.settings) and authorities == directory.authorities:
        return directory
    return dataclasses.replace(directory, settings=wanted, authorities=authorities)


def _next_revision(situation: Situation) -> int:
    # The status remembers the count while the Secret is away, so that a sidecar never sees it go back.
    return max(revision_in(situation.token_secret), situation.mailer.status.token_revision) + 1


def _origin(token: Token, aim: Aim, *, uid: str, salt: bytes) -> Origin:
    due = refresh_due(issued_at=token.issued_at, expires_at=token.expires_at, refresh_at=token.refresh_at, uid=uid)
    return Origin(
        identity=aim.identity,
        fingerprint=fingerprint(aim.credential, salt=salt),
        refresh_request=aim.refresh_request,
        issued_at=token.issued_at,
        refresh_at=due,
    )


def _problem_after(step: Hold | Keep | Mint, outcome: Outcome) -> Problem | None:
    if isinstance(outcome, TokenError):
        return Problem.of(outcome)
    return None if isinstance(step, Mint) else step.problem


def _progress_after(
    situation: Situation, step: Hold | Keep | Mint, outcome: Outcome, *, directory: Directory | None, random: float
) -> Status:
    """The status with what it remembers of attempts: failures, their aim, and when to try again."""
    before = situation.mailer.status
    if isinstance(outcome, TokenError) and isinstance(step, Mint):
        failures = before.failures + 1 if before.attempt == step.aim.digest else 1
        pause = datetime.timedelta(seconds=wait_after_failure(outcome, failures=failures, random=random))
        again = _to_the_second(situation.now + pause)
        return msgspec.structs.replace(
            before,
            failures=failures,
            attempt=step.aim.digest,
            next_refresh=again,
            last_attempt_time=_to_the_second(situation.now),
        )
    if isinstance(step, Keep) and (step.problem or step.until):
        return before
    due = None if isinstance(step, Hold) or directory is None else _to_the_second(directory.origin.refresh_at)
    asked = _to_the_second(outcome.issued_at) if isinstance(outcome, Token) else before.last_attempt_time
    return msgspec.structs.replace(before, failures=0, attempt=None, next_refresh=due, last_attempt_time=asked)


def _conditions_after(
    situation: Situation, outcome: Outcome, *, directory: Directory | None, problem: Problem | None
) -> tuple[Condition, ...]:
    wanted = (
        conditions.ready(
            problem,
            usable=_usable(situation, directory),
            expires_at=directory.expires_at if directory else None,
        ),
        conditions.token_issued(problem, note=_note(situation, outcome)),
    )
    before = situation.mailer.status
    ours = tuple(
        conditions.carried(condition, before=before, generation=situation.mailer.metadata.generation, now=situation.now)
        for condition in wanted
    )
    return conditions.merged(before.conditions, ours)


def _usable(situation: Situation, directory: Directory | None) -> bool:
    """Whether the directory holds a live token for what the spec asks, beside its mailbox and submission host."""
    spec = situation.spec
    if directory is None or isinstance(spec, InvalidSpec) or situation.now >= directory.expires_at:
        return False
    return directory.origin.identity == token_identity(spec) and _serves(directory, spec)


def _serves(directory: Directory, spec: Spec) -> bool:
    wanted = settings_of(spec, expires_at=None, revision=0)
    held = directory.settings
    return (held.mailbox, held.submission) == (wanted.mailbox, wanted.submission)


def _note(situation: Situation, outcome: Outcome) -> str:
    if isinstance(outcome, Token):
        return " ".join((f"Obtained with the Secret {outcome.credential_ref}.", *outcome.warnings))
    before = situation.mailer.status.condition(conditions.TOKEN_ISSUED)
    if before is not None and before.status == "True":
        return before.message
    return "The token in the Secret is the one that the spec asks for."


def _secret_after(situation: Situation, directory: Directory | None) -> Manifest | None:
    secret = situation.token_secret
    if directory is None:
        return None
    if directory == situation.directory and secret is not None and is_owned(secret, mailer=situation.mailer):
        return None
    files = files_of(directory.settings, token=directory.token, authorities=directory.authorities)
    return compose(mailer=situation.mailer, files=files, origin=directory.origin, replacing=secret)


def _to_the_second(instant: datetime.datetime) -> datetime.datetime:
    """As Kubernetes writes times, so that what is read back equals what was written."""
    return instant.replace(microsecond=0)
