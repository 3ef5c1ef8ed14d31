"""The settings document `mailer.json`: everything that the relay needs except the token. It contains no secret.

Within a schema version, changes only add members. A reader ignores members that it does not know, unless `requires`
names them. `requires` lists the members that *restrict* (who may send, where mail may go). A reader that does not know
one of them must not relay, because it would relay more than it may.
"""

import datetime
from typing import Annotated, Final, Literal

import msgspec

from o365mailer_contract.quantities import DURATION_PATTERN, LONGEST, SIZE_PATTERN, whole

SCHEMA_VERSION: Final = 1

RESTRICTIONS: Final = frozenset({"senders.allowed", "recipients.allowedDomains", "recipients.redirectTo"})
"""The paths of the restricting members that this version knows and obeys."""

SENDER_PATTERN: Final = r"^[^\s@<>]*@[^\s@<>]+$"
DOMAIN_PATTERN: Final = r"^[^\s@<>*.]+(\.[^\s@<>*.]+)*$"
HOST_PATTERN: Final = r"^([A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$"
"""A name with valid DNS labels (RFC 1035 §2.3.4), or an address."""

Duration = Annotated[str, msgspec.Meta(pattern=whole(DURATION_PATTERN), max_length=LONGEST)]
Size = Annotated[str, msgspec.Meta(pattern=whole(SIZE_PATTERN), max_length=LONGEST)]
Instant = Annotated[datetime.datetime, msgspec.Meta(tz=True)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
MAILBOX_PATTERN: Final = r"^[^\x00-\x20\x7f-\xa0@<>]+@[^\x00-\x20\x7f-\xa0@<>]+$"
"""No control characters, because \x01 ends a field of the XOAUTH2 response that contains the address."""
Mailbox = Annotated[str, msgspec.Meta(pattern=whole(MAILBOX_PATTERN), max_length=254)]
"""An address; at most 254 bytes (RFC 5321 §4.5.3.1.3 less the angle brackets)."""
SenderPattern = Annotated[str, msgspec.Meta(pattern=whole(SENDER_PATTERN), max_length=254)]
"""An address, or `@domain` (also written `*@domain`) for all addresses of one domain."""
Domain = Annotated[str, msgspec.Meta(pattern=whole(DOMAIN_PATTERN), max_length=253)]
"""One domain, without its subdomains."""
NOTIFY_PATTERN: Final = r"^(sender|[^\x00-\x20\x7f-\xa0@<>]+@[^\x00-\x20\x7f-\xa0@<>]+)$"
Notify = Annotated[str, msgspec.Meta(pattern=whole(NOTIFY_PATTERN), max_length=254)]
"""The word `sender`, or a mailbox's address."""


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of a document. Its members are in camelCase, and unknown ones are ignored."""


class Submission(Part, frozen=True):
    """Where mail is submitted (RFC 6409)."""

    host: Annotated[str, msgspec.Meta(pattern=whole(HOST_PATTERN), max_length=253)]
    port: Port = 587
    tls: Literal["starttls"] = "starttls"


class Limits(Part, frozen=True):
    """The limits of one relay."""

    connections: Annotated[int, msgspec.Meta(ge=1, le=3)] = 3
    """The most connections to Exchange at once. A mailbox has three (Microsoft, "Concurrent connections limit")."""
    message_size: Size = "35Mi"
    """The most bytes of one message, announced as SIZE. 35 MB is Exchange Online's default for sending."""
    messages_per_minute: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """The pace of one relay; None: no limit. It is not a restriction in the sense of `requires`: mail only waits."""


class Spool(Part, frozen=True):
    """The limits of a spool. A relay without a spool directory ignores them."""

    max_age: Duration = "48h"
    """How long the relay tries to deliver a message, from the app's end of data."""
    max_size: Size = "512Mi"
    """The most bytes of queued messages. The next message gets 452."""
    max_messages: Annotated[int, msgspec.Meta(ge=1)] = 20_000
    """The most queued messages. The next one gets 452. Each takes some hundred bytes of memory."""
    keep_dead: Duration = "168h"
    """How long the relay keeps a dead letter."""


class Delivery(Part, frozen=True):
    """How the relay accepts and confirms a message."""

    confirm_within: Duration = "8s"
    """How long the app waits for Exchange's verdict, from its end of data.

    The default is less than the 10 s after which Keycloak and others give up (docs/apps.md), so the relay is first."""
    line_endings: Literal["Normalize", "Reject"] = "Normalize"
    """What happens to a lone LF in a body: it becomes CRLF, or the message is refused."""
    offer_auth: bool = True
    """EHLO announces AUTH PLAIN LOGIN, for apps that require a login. The relay accepts any password."""
    notify: Notify | None = None
    """Who gets a mail about a spooled message that failed for good: `sender`, an address, or None."""
    spool: Spool = Spool()


class Senders(Part, frozen=True):
    """Who may send, by reverse-path and by From."""

    allowed: Annotated[tuple[SenderPattern, ...], msgspec.Meta(max_length=100)] = ()
    """In addition to the mailbox itself, which always may send."""
    on_mismatch: Literal["Reject", "Rewrite"] = "Reject"
    """A message of another sender is refused, or is sent as the mailbox with its author in Reply-To."""
    null_reverse_path: Literal["Mailbox", "Keep"] = "Mailbox"
    """What an app's `MAIL FROM:<>` becomes: the mailbox without notifications, or `<>` as it is.

    Exchange accepts only senders that the mailbox may send as, and may refuse `<>`."""


class Recipients(Part, frozen=True):
    """Where mail may go."""

    allowed_domains: Annotated[tuple[Domain, ...], msgspec.Meta(max_length=100)] = ()
    """Empty: all domains."""
    redirect_to: Mailbox | None = None
    """Every message goes to this address and to no other."""
    max_per_message: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000
    """1000 is the most that Exchange Online can be set to take (Set-Mailbox -RecipientLimits)."""


class Settings(Part, frozen=True):
    """The whole document."""

    schema_version: int
    revision: Annotated[int, msgspec.Meta(ge=0)]
    """It grows with every change of the mailer directory."""
    mailbox: Mailbox
    """The mailbox that the relay authenticates as."""
    submission: Submission
    expires_at: Instant | None = None
    """When the token in the same directory expires, UTC."""
    limits: Limits = Limits()
    delivery: Delivery = Delivery()
    senders: Senders = Senders()
    recipients: Recipients = Recipients()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_addresses: bool = False
    """The audit record of a message names its sender and its recipients."""
    requires: tuple[str, ...] = ()


class InvalidSettings(ValueError):
    """The document is unusable. Only a new document helps."""


class NewerSchema(InvalidSettings):
    """A newer controller wrote the document, in a schema that this version cannot read."""


class UnknownRestriction(InvalidSettings):
    """`requires` names a member that this version does not know, so it could relay what is not allowed."""


class _Head(msgspec.Struct, rename="camel"):
    schema_version: int


def decode(document: bytes) -> Settings:
    """The settings in a `mailer.json`.

    Raises InvalidSettings (with the path of the wrong member), NewerSchema, UnknownRestriction.
    """
    try:
        version = msgspec.json.decode(document, type=_Head).schema_version
        if version > SCHEMA_VERSION:
            raise NewerSchema(
                f"schemaVersion is {version} and this version reads {SCHEMA_VERSION}: "
                "restart the pod to get a newer sidecar"
            )
        settings = msgspec.json.decode(document, type=Settings)
    except msgspec.MsgspecError as error:
        raise InvalidSettings(str(error)) from None
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"not UTF-8: {error.reason}") from None
    except RecursionError:
        raise InvalidSettings("nested too deeply") from None
    unknown = sorted(set(settings.requires) - RESTRICTIONS)
    if unknown:
        raise UnknownRestriction(
            f"requires {', '.join(unknown)}, which this version does not know: restart the pod to get a newer sidecar"
        )
    return settings


def restrictions(senders: Senders, recipients: Recipients) -> tuple[str, ...]:
    """The restricting members that are set, for `requires`."""
    given = {
        "senders.allowed": senders.allowed,
        "recipients.allowedDomains": recipients.allowed_domains,
        "recipients.redirectTo": recipients.redirect_to,
    }
    return tuple(name for name, value in given.items() if value)


def encode(settings: Settings) -> bytes:
    """The `mailer.json` of these settings, for people to read: indented, sorted, with all defaults written out."""
    return msgspec.json.format(msgspec.json.encode(settings, order="sorted"), indent=2) + b"\n"
