"""The conditions of a mailer, and the closed vocabulary of their reasons. Pure.

- TokenIssued: whether the last attempt to get a token succeeded, and if not, why.
- Ready: whether the Secret holds a token that pods can submit mail with now. A failing refresh leaves Ready True with
  the reason RefreshFailing until the last token expires: mail still flows, and a person should act before it stops.
  A login that Exchange refuses for good makes it False.
- Authenticated: whether Exchange lets the application log in as the mailbox (canary.py).
- Stalled: Ready is False, and will stay so until a person acts. It is there only while it is True. Tools that know no
  O365Mailer (Flux, kpt, Argo CD) call an object failed if it has Stalled, and wait for it if it only is not Ready:
  https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md, read 2026-11-28.
- CredentialExpiring: the certificate, or the client secret by its `expiresAt`, ends within 21 days. It is there only
  while it is True. Its message becomes more urgent 7 days and one day before the end, with an Event each time.

Conventions: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
(typical status properties), read 2026-11-23.
"""

import dataclasses
import datetime
from typing import Final, Literal

import msgspec

from o365mailer_operator.clock import to_the_second
from o365mailer_operator.controller.mailer import Condition, Status
from o365mailer_operator.token.aadsts import CODES
from o365mailer_operator.token.errors import HOST_NOT_ALLOWED, INVALID_SPEC, Reason, TokenError
from o365mailer_operator.token.errors import REASONS as TOKEN_REASONS
from o365mailer_operator.token.schedule import urgency

READY: Final = "Ready"
TOKEN_ISSUED: Final = "TokenIssued"
"""The type of a condition, and its reason while it is True."""
AUTHENTICATED: Final = "Authenticated"
"""The same."""
STALLED: Final = "Stalled"
CREDENTIAL_EXPIRING: Final = "CredentialExpiring"
BAD_WHEN_TRUE: Final = frozenset({STALLED, CREDENTIAL_EXPIRING})
"""They are there only while they are True."""
OWN_TYPES: Final = frozenset({READY, TOKEN_ISSUED, AUTHENTICATED, *BAD_WHEN_TRUE})
"""Every type that this controller sets, or has set in an earlier version. Other types belong to other writers."""

TOKEN_VALID: Final = "TokenValid"
REFRESH_FAILING: Final = "RefreshFailing"
SUSPENDED: Final = "Suspended"
SECRET_NAME_TAKEN: Final = "SecretNameTaken"
SECRET_WRITE_REFUSED: Final = Reason("SecretWriteRefused", "a quota, a policy or a missing right", transient=True)
"""Tried again soon: the token is there already, so no other is asked for."""

CERTIFICATE_EXPIRING: Final = "CertificateExpiring"
CLIENT_SECRET_EXPIRING: Final = "ClientSecretExpiring"
EXCESS_ROLES: Final = "ExcessRoles"
"""Of an Event alone: TokenIssued has it in its message."""

LOGIN_NOT_TRIED: Final = "LoginNotTried"
CANARY_OFF: Final = "CanaryOff"
LOGIN_PENDING: Final = "LoginPending"
"""Refused, and rights may still spread."""
LOGIN_REFUSED: Final = "LoginRefused"
SMTP_AUTH_DISABLED: Final = "SmtpAuthDisabled"
LOGIN_BLOCKED: Final = "LoginBlockedByPolicy"
APP_NOT_ALLOWED: Final = "AppNotAllowed"
EXCHANGE_UNREACHABLE: Final = "ExchangeUnreachable"
EXCHANGE_NOT_TRUSTED: Final = "ExchangeNotTrusted"

REASONS: Final = TOKEN_REASONS | {
    TOKEN_VALID,
    TOKEN_ISSUED,
    REFRESH_FAILING,
    SUSPENDED,
    SECRET_NAME_TAKEN,
    SECRET_WRITE_REFUSED.word,
    CERTIFICATE_EXPIRING,
    CLIENT_SECRET_EXPIRING,
    EXCESS_ROLES,
    AUTHENTICATED,
    LOGIN_NOT_TRIED,
    CANARY_OFF,
    LOGIN_PENDING,
    LOGIN_REFUSED,
    SMTP_AUTH_DISABLED,
    LOGIN_BLOCKED,
    APP_NOT_ALLOWED,
    EXCHANGE_UNREACHABLE,
    EXCHANGE_NOT_TRUSTED,
}
"""Every reason that a condition, an Event or a metric's label can have; docs/troubleshooting.md explains each."""


STALLED_AT_ONCE: Final = frozenset(
    {
        INVALID_SPEC.word,
        HOST_NOT_ALLOWED.word,
        SECRET_NAME_TAKEN,
        SUSPENDED,
        *(CODES[number].reason for number in (90002, 90038, 900382, 900432, 7000112)),
    }
)
"""What neither time nor another controller fixes: the spec, the installation, a wrong tenant, a disabled application.
A missing Secret is none of them, because another tool may be about to write it. Nor is an unknown application: Entra
needs minutes to replicate a new one."""
STALLED_AFTER: Final = datetime.timedelta(minutes=15)
"""For every other reason, if it has not changed for so long."""

MESSAGE_LIMIT: Final = 4096
"""Characters of a message: one that names a Secret's thousand keys would be refused, and the whole status with it."""


UNSEEN: Final = "\ufffd"
"""In place of each character of a message that cannot be seen. A mailbox may have ones that start a new line or reverse
the order, and so disguise a command that an administrator copies."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why a token is not kept fresh: a reason of the vocabulary, and a text with cause and remedy."""

    reason: str
    message: str

    @classmethod
    def of(cls, error: TokenError) -> "Problem":
        """The problem that an error of the token package is."""
        return cls(reason=error.reason, message=str(error))


def token_issued(problem: Problem | None, *, note: str) -> Condition:
    """TokenIssued; `note` is the message where there is no problem."""
    if problem is None:
        return _condition(TOKEN_ISSUED, "True", TOKEN_ISSUED, note)
    return _condition(TOKEN_ISSUED, "False", problem.reason, problem.message)


def authenticated(status: Literal["True", "False", "Unknown"], reason: str, message: str) -> Condition:
    """Authenticated; canary.py has its rules."""
    return _condition(AUTHENTICATED, status, reason, message)


def refused_for_good(condition: Condition | None) -> bool:
    """Whether this Authenticated says that pods cannot submit mail."""
    return condition is not None and condition.status == "False" and condition.reason != LOGIN_PENDING


def ready(
    problem: Problem | None, *, usable: bool, expires_at: datetime.datetime | None, login: Condition | None = None
) -> Condition:
    """Ready; `usable`: the Secret holds a valid token for this spec; `login`: Authenticated."""
    if not usable:
        reason, message = (
            (problem.reason, problem.message) if problem else (TOKEN_ISSUED, "The token is being written.")
        )
        return _condition(READY, "False", reason, message)
    if login is not None and refused_for_good(login):
        return _condition(READY, "False", login.reason, login.message)
    if problem is None:
        return _condition(READY, "True", TOKEN_VALID, "Pods can submit mail.")
    until = f"{expires_at:%Y-%m-%dT%H:%M:%SZ}" if expires_at else "its end"
    if problem.reason == SUSPENDED:
        return _condition(READY, "True", SUSPENDED, f"Pods can submit mail until {until}. {problem.message}")
    text = f"Pods can submit mail until {until}, but the controller cannot get the next token. {problem.message}"
    return _condition(READY, "True", REFRESH_FAILING, text)


def reason_since(ready: Condition, *, before: Status, now: datetime.datetime) -> datetime.datetime:
    """When Ready took its status and its reason. Its transition time tells only of its status."""
    old = before.condition(READY)
    if old is None or (old.status, old.reason) != (ready.status, ready.reason):
        return to_the_second(now)
    return before.reason_transition_time or old.last_transition_time


def stalled(ready: Condition, *, since: datetime.datetime, now: datetime.datetime) -> Condition | None:
    """Stalled, if it is True; `since` is when Ready took its reason."""
    if ready.status != "False" or (ready.reason not in STALLED_AT_ONCE and now < since + STALLED_AFTER):
        return None
    return _condition(STALLED, "True", ready.reason, ready.message)


def credential_expiring(reason: str, end: datetime.datetime, *, now: datetime.datetime) -> Condition | None:
    """CredentialExpiring, from 21 days before the end; `reason` says of what."""
    urgent = urgency(end - now)
    if urgent is None:
        return None
    what, remedy = _RENEWAL[reason]
    ends = f"{'ended' if end <= now else 'ends'} on {end:%Y-%m-%d} at {end:%H:%M} UTC"
    text = f"The {what} {ends}. {urgent}. After its end, Entra gives no token. {remedy}"
    return _condition(CREDENTIAL_EXPIRING, "True", reason, text)


_RENEWAL: Final = {
    CERTIFICATE_EXPIRING: (
        "certificate",
        "Renew it, and upload the new one to the app registration before the Secret has it.",
    ),
    CLIENT_SECRET_EXPIRING: (
        "client secret (expiresAt)",
        "Create a new one in Entra, put its Value into the Secret, and correct expiresAt.",
    ),
}


def excess_roles(text: str) -> Condition:
    """What the Event about a token with more rights than mail needs is made from."""
    return _condition(TOKEN_ISSUED, "Unknown", EXCESS_ROLES, text)


def carried(wanted: Condition, *, before: Status, generation: int, now: datetime.datetime) -> Condition:
    """The condition to write: its transition time moves only when its status does."""
    old = before.condition(wanted.type)
    unchanged = old is not None and old.status == wanted.status
    since = old.last_transition_time if old is not None and unchanged else to_the_second(now)
    return msgspec.structs.replace(wanted, observed_generation=generation, last_transition_time=since)


def merged(before: tuple[Condition, ...], ours: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """The conditions to write: `ours`, and those of other writers. A condition of our types that `ours` lacks goes."""
    by_type = {condition.type: condition for condition in ours}
    kept = [by_type.get(each.type, each) for each in before if each.type in by_type or each.type not in OWN_TYPES]
    present = {condition.type for condition in kept}
    return (*kept, *(condition for condition in ours if condition.type not in present))


def news_in(condition: Condition) -> tuple[str, ...]:
    """What makes a change of a condition an Event: its status and reason. CredentialExpiring keeps these until the end
    while it becomes more urgent, so its message counts, too."""
    message = (condition.message,) if condition.type == CREDENTIAL_EXPIRING else ()
    return (condition.status, condition.reason, *message)


def changes(before: Status, after: Status) -> tuple[Condition, ...]:
    """The conditions that have news (`news_in`). Where two give the same reason, Ready alone is in it. That no
    login was tried yet is no news, and Stalled only repeats Ready."""

    def is_news(condition: Condition) -> bool:
        if condition.reason in (LOGIN_NOT_TRIED, CANARY_OFF) or condition.type == STALLED:
            return False
        old = before.condition(condition.type)
        return old is None or news_in(old) != news_in(condition)

    news = [condition for condition in after.conditions if is_news(condition)]
    told = {condition.reason for condition in news if condition.type == READY}
    return tuple(condition for condition in news if condition.type == READY or condition.reason not in told)


_UNSET: Final = datetime.datetime.min.replace(tzinfo=datetime.UTC)


def _condition(kind: str, status: str, reason: str, message: str) -> Condition:
    message = "".join(letter if letter == "\n" or letter.isprintable() else UNSEEN for letter in message)
    if len(message) > MESSAGE_LIMIT:
        message = f"{message[: MESSAGE_LIMIT - 1]}…"
    document = {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": _UNSET}
    return msgspec.convert(document, Condition)
