"""The canary: when to try a mailer's login at Exchange, and what the condition Authenticated says of it. Pure.

A right that is missing in Exchange would otherwise be found by the first mail. So the controller logs in as a pod's
relay would, with the token in the Secret, and sends nothing: once for each new mailbox, application or host, then every
4.5 to 6 hours. A login that is refused is tried again after 1, 2, 5 and 10 minutes, then every 15.

What is known is in the status (`status.login` and the condition), so a restarted controller tries nothing sooner.

One attempt proves little, and a mailer that works must not stop being Ready because of one:

- Exchange says "not now" (432, 421, 451, a token that ends soon): nothing changes.
- No way to Exchange (DNS, TCP, TLS): Authenticated is Unknown. From True, only after three attempts. Port 587 is often
  open to pods and shut to the controller, so Ready does not depend on it.
- A refusal: from True, nothing changes until there were three over 15 minutes. For two hours after a new mailbox,
  application or host, the reason is LoginPending, because rights take that long to spread ("Role Based Access Control
  for Applications in Exchange Online", Limitations). Later the reason says what is refused, and Ready is False.
- After a refusal, only a login that works or a new mailbox, application or host changes the condition.
"""

import dataclasses
import datetime
import enum
import hashlib
from typing import Final

import msgspec

from o365mailer_operator.clock import to_the_second
from o365mailer_operator.controller import conditions
from o365mailer_operator.controller.mailer import Condition, Key, Login, Status
from o365mailer_operator.controller.token_secret import Directory
from o365mailer_operator.exchange.causes import SPREADING, Application, causes_of, headline, told
from o365mailer_operator.exchange.objects import object_name
from o365mailer_operator.exchange.result import Fault, LoginResult
from o365mailer_operator.token.bearer import claims_of, object_id_in, roles_in
from o365mailer_operator.token.schedule import share_of

_MINUTE: Final = datetime.timedelta(minutes=1)
USUAL: Final = datetime.timedelta(hours=6)
"""The longest time between two logins of a mailer."""
EARLIEST_SHARE: Final = 0.75
"""The share of USUAL that a mailer waits at least, by the hash of its UID: mailers do not stay in step."""
AFTER_REFUSALS: Final = tuple(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15))
"""The pause after the first refusal in a row, after the second, …; the last one after all further ones."""
AFTER_FAILURES: Final = tuple(minutes * _MINUTE for minutes in (5, 10, 15, 30, 60))
"""The same while Exchange is not reached or says "not now". They are longer: a shut port stays shut, and each attempt
may take ten seconds."""
JITTER: Final = 0.1
"""The share of such a pause by which it is longer or shorter, by the hash of the mailer's UID."""
ATTEMPTS: Final = 3
"""Attempts that contradict a login that worked. Refusals must also be spread over CONFIRMED_AFTER."""
CONFIRMED_AFTER: Final = 15 * _MINUTE
LEAST_LIFE: Final = 10 * _MINUTE
"""A login needs a token that is valid for so long, or for half of a short life: High Volume Email refuses one that is
about to end (535 5.7.142)."""
FRESH: Final = 2 * _MINUTE
"""Up to this age, a token belongs to a new mailer, whose login is tried at once."""
SPREAD: Final = 15 * _MINUTE
"""Within this time, the login of a mailer with an older token and no status is tried: a thousand of them may have been
restored, or come from a version without a canary."""

APART: Final = datetime.timedelta(seconds=10)
"""Between two logins of one mailer: something may change the mailer in a loop."""

_TLS: Final = frozenset({Fault.UNTRUSTED, Fault.WRONG_NAME, Fault.EXPIRED, Fault.NOT_YET_VALID})
_REFUSALS: Final = {
    "smtp-auth-disabled": conditions.SMTP_AUTH_DISABLED,
    "blocked-by-policy": conditions.LOGIN_BLOCKED,
    "app-not-allowed": conditions.APP_NOT_ALLOWED,
}
"""A reason of contract/replies.py → the condition's. Any other: LoginRefused."""
_HERE: Final = "the controller"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoginAim:
    """What a login is tried for, and with: the content of a token Secret."""

    mailbox: str
    host: str
    port: int
    authorities: str | None = dataclasses.field(repr=False)
    """PEM of the authorities to trust; None: the public ones."""
    token: str = dataclasses.field(repr=False)
    expires_at: datetime.datetime
    issued_at: datetime.datetime
    identity: str
    """Of the token: a digest of authority, scope and application."""

    @classmethod
    def of(cls, directory: Directory) -> "LoginAim":
        """The login that pods make with this directory."""
        settings = directory.settings
        return cls(
            mailbox=settings.mailbox,
            host=settings.submission.host,
            port=settings.submission.port,
            authorities=directory.authorities,
            token=directory.token,
            expires_at=directory.expires_at,
            issued_at=directory.origin.issued_at,
            identity=directory.origin.identity,
        )

    @property
    def subject(self) -> str:
        """A digest of what decides whether Exchange takes the login: mailbox, application, host. Not of the token."""
        parts = (self.identity, self.mailbox.lower(), self.host.lower(), str(self.port), self.authorities or "")
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Different for each subject and each token. Without secrets."""
        return f"{self.subject} {self.issued_at.isoformat()}"


@dataclasses.dataclass(frozen=True)
class Tried:
    """A login that was tried: for what, when, and what came of it."""

    aim: LoginAim
    at: datetime.datetime
    result: LoginResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """All that the next state depends on, in addition to the status before."""

    key: Key
    uid: str
    client_id: str
    now: datetime.datetime
    aim: LoginAim | None
    """None while there is no valid token for the spec, or the mailer is suspended."""
    again: bool = False
    """Whether a person has just changed the credential, or asked for a refresh."""
    tried: Tried | None = None


class Verdict(enum.Enum):
    """What an attempt says."""

    ACCEPTED = enum.auto()
    REFUSED = enum.auto()
    LATER = enum.auto()
    """Exchange is busy, or the token is about to end: nothing about the right to log in."""
    UNREACHED = enum.auto()
    """Exchange was not reached, or another server answered."""


def verdict_of(result: LoginResult) -> Verdict:
    """The verdict of one attempt."""
    if result.ok:
        return Verdict.ACCEPTED
    if result.busy or result.reason == "token-expired":
        return Verdict.LATER
    return Verdict.REFUSED if result.refused else Verdict.UNREACHED


def due(
    login: Login | None, aim: LoginAim | None, *, now: datetime.datetime, begun: datetime.datetime | None = None
) -> bool:
    """Whether to try the login now; `begun`: when this process last tried one for the mailer.

    A time far ahead comes from a wrong clock, or from a person who edited it.
    """
    if login is None or aim is None or aim.expires_at - now < min(LEAST_LIFE, (aim.expires_at - aim.issued_at) / 2):
        return False
    if begun is not None and begun <= now < begun + APART:
        return False
    return login.next_time is None or not now < login.next_time <= now + USUAL + SPREAD


def next_state(before: Status, seen: Seen) -> tuple[Login | None, Condition]:
    """`status.login` and Authenticated, after `seen`. The condition's transition time is not set, unless it is kept."""
    old = before.condition(conditions.AUTHENTICATED)
    if old is not None and old.reason == conditions.CANARY_OFF:
        old = None
    if seen.aim is None:
        return before.login, old or _not_tried("There is no valid token for this spec, or the mailer is suspended.")
    login = _followed(before.login, seen.aim, seen)
    kept = old if before.login is not None and before.login.subject == login.subject else None
    tried = seen.tried
    if tried is None or tried.aim.name != seen.aim.name:
        return login, kept or _not_tried("The login at Exchange is tried soon.")
    login = _counted(login, tried, uid=seen.uid)
    return login, _after(login, kept, tried, seen)


def off() -> Condition:
    """Authenticated where the installation tries no logins."""
    return conditions.authenticated(
        "Unknown",
        conditions.CANARY_OFF,
        "The controller tries no login at Exchange: the chart's value controller.canary is false. "
        "`o365mailer check NAME` tries one from your machine.",
    )


def _followed(login: Login | None, aim: LoginAim, seen: Seen) -> Login:
    """What is known of the logins for this aim, before another one is tried."""
    now = to_the_second(seen.now)
    if login is not None and login.subject == aim.subject:
        return msgspec.structs.replace(login, next_time=now) if seen.again else login
    fresh = login is not None or seen.now - aim.issued_at < FRESH
    wait = datetime.timedelta() if fresh else SPREAD * share_of(seen.uid)
    return Login(subject=aim.subject, since=now, next_time=to_the_second(now + wait))


def _counted(login: Login, tried: Tried, *, uid: str) -> Login:
    """What is known after one more attempt. An instant that lies ahead comes from a wrong clock: it counts as now."""
    share, now = share_of(uid), to_the_second(tried.at)
    refusals, failures, refused_since = login.refusals, login.failures, login.refused_since
    refused_since = min(refused_since, now) if refused_since else None
    match verdict_of(tried.result):
        case Verdict.ACCEPTED:
            refusals, failures, refused_since = 0, 0, None
            pause = USUAL * (EARLIEST_SHARE + (1 - EARLIEST_SHARE) * share)
        case Verdict.REFUSED:
            refusals, failures, refused_since = refusals + 1, 0, refused_since or now
            pause = _pause(AFTER_REFUSALS, refusals, share)
        case _:
            failures += 1
            pause = _pause(AFTER_FAILURES, failures, share)
    return msgspec.structs.replace(
        login,
        since=min(login.since, now),
        last_time=now,
        next_time=to_the_second(now + pause),
        refusals=refusals,
        refused_since=refused_since,
        failures=failures,
    )


def _pause(pauses: tuple[datetime.timedelta, ...], number: int, share: float) -> datetime.timedelta:
    return pauses[min(number, len(pauses)) - 1] * (1 - JITTER + 2 * JITTER * share)


def _after(login: Login, kept: Condition | None, tried: Tried, seen: Seen) -> Condition:
    """The condition after an attempt that `login` counts."""
    worked = kept is not None and kept.status == "True"
    refused = kept is not None and kept.status == "False"
    match verdict_of(tried.result):
        case Verdict.ACCEPTED:
            return _accepted(tried, seen)
        case Verdict.REFUSED:
            confirmed = _confirmed(login, tried.at)
            if kept is not None and worked and not confirmed:
                return kept
            early = tried.at < login.since + SPREADING
            return _pending(login, tried, seen) if early or not confirmed else _refused(tried, seen)
        case Verdict.LATER:
            if kept is None or kept.reason == conditions.LOGIN_NOT_TRIED:
                return _not_tried(f"Exchange was busy ({tried.result.reply}). The login is tried again soon.")
            return kept
        case Verdict.UNREACHED:
            if kept is not None and (refused or (worked and login.failures < ATTEMPTS)):
                return kept
            return _unreached(tried, seen)


def _confirmed(login: Login, at: datetime.datetime) -> bool:
    return (
        login.refusals >= ATTEMPTS and login.refused_since is not None and at - login.refused_since >= CONFIRMED_AFTER
    )


def _not_tried(message: str) -> Condition:
    return conditions.authenticated("Unknown", conditions.LOGIN_NOT_TRIED, message)


def _accepted(tried: Tried, seen: Seen) -> Condition:
    return conditions.authenticated(
        "True",
        conditions.AUTHENTICATED,
        f"Exchange lets the application log in as {tried.aim.mailbox}. Some rights are checked only when a message is "
        f"sent (430): o365mailer send-test {seen.key.name} -n {seen.key.namespace} --to ADDRESS sends one.",
    )


def _pending(login: Login, tried: Tried, seen: Seen) -> Condition:
    until = login.since + SPREADING
    patience = (
        f"This may heal by itself: rights take up to 2 hours to spread. The controller tries again, and Ready does not "
        f"depend on it until {until:%H:%M} UTC."
        if tried.at < until
        else "The controller tries again before it relies on it."
    )
    return conditions.authenticated("False", conditions.LOGIN_PENDING, _refusal(tried, seen, patience))


def _refused(tried: Tried, seen: Seen) -> Condition:
    rule = tried.result.rule
    reason = _REFUSALS.get(rule.reason if rule else "", conditions.LOGIN_REFUSED)
    now = f"o365mailer refresh {seen.key.name} -n {seen.key.namespace}"
    again = f"The controller tries again every 15 minutes; {now} makes it try now."
    return conditions.authenticated("False", reason, _refusal(tried, seen, again))


def _refusal(tried: Tried, seen: Seen, then: str) -> str:
    """The line that `kubectl get` can show, then the causes and the commands."""
    result, claims = tried.result, claims_of(tried.aim.token)
    application = Application(
        client_id=seen.client_id,
        mailbox=tried.aim.mailbox,
        object_id=object_id_in(claims),
        roles=roles_in(claims),
        name=object_name(seen.key.name, seen.key.namespace),
    )
    cause, remedy = told(
        causes_of(result, application, here=_HERE),
        now=tried.at,
        setup=f"o365mailer setup {seen.key.name} -n {seen.key.namespace}",
    )
    return "\n".join((headline(result, tried.aim.mailbox), then, cause, remedy))


def _unreached(tried: Tried, seen: Seen) -> Condition:
    result = tried.result
    reason = conditions.EXCHANGE_NOT_TRUSTED if result.fault in _TLS else conditions.EXCHANGE_UNREACHABLE
    application = Application(client_id=seen.client_id, mailbox=tried.aim.mailbox)
    cause, remedy = told(causes_of(result, application, here=_HERE), now=tried.at, setup="")
    head = headline(result, tried.aim.mailbox)
    head = f"{head[:1].upper()}{head[1:]}"
    local = (
        "This was seen from the controller alone, and Ready does not depend on it: port "
        f"{result.port} is often open to pods and shut to the controller. Where it stays shut, set the chart's value "
        "controller.canary to false."
    )
    return conditions.authenticated("Unknown", reason, "\n".join((head, cause, remedy, local)))
