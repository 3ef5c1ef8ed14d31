"""What can go wrong, as one tree::

    SidecarError
    ├── Refused             the app's command, message or session is refused; carries the reply
    ├── WrongCommandLine    a flag or an environment variable cannot be used; nobody but its writer heals it
    │   └── SpoolUnusable   the spool's directory keeps nothing through a crash, or cannot be written to
    ├── StoreFailed         a disk did not keep a message, or does not give it back
    │   └── SpoolFull       no room for it: a limit, the disk, a quota
    ├── Damaged             a message on disk is not what was stored; the spool sets it aside
    ├── Gone                a spooled message is not to be sent: removed, or put on hold, by hand
    ├── CannotListen        an address cannot be bound
    ├── NotReady            the mailer directory has nothing to relay with yet; a new directory heals it
    ├── Withdrawn           the app stopped waiting before the last octet was sent
    └── UpstreamError       no verdict from Exchange; time heals it
        ├── Away            not reached: name, TCP, TLS, greeting, EHLO
        │   ├── Distrusted  reached, and not to be trusted with a token (also ssl.SSLError's cases)
        │   └── NotAdmitted reached, and AUTH was answered with something that is not about the token; carries the reply
        ├── TokenRefused    reached, and it does not take this token for this mailbox
        ├── Blocked         known beforehand: not asked; carries the reason, the app's reply, and until when
        └── Lost            the connection ended, or fell silent, in the middle of a transaction

The system's and TLS' exceptions are translated where they arise: in `dialer`, `connection`, `starttls`, `directory`.
"""

from o365mailer_sidecar.reply import Reply


class SidecarError(Exception):
    """Everything this package raises on purpose."""


class Refused(SidecarError):
    """What the app did is refused with `reply`; with `close`, its session ends too."""

    def __init__(self, reply: Reply, *, close: bool = False) -> None:
        super().__init__(reply.text)
        self.reply = reply
        self.close = close


class WrongCommandLine(SidecarError, ValueError):
    """The message names the flag or the variable, and what it expects."""


class SpoolUnusable(WrongCommandLine):
    """The message names the directory, and what to change."""


class StoreFailed(SidecarError):
    """The message says why, without a word of what was in the mail. Nothing that was kept before is lost."""


class SpoolFull(StoreFailed):
    """The message says what is used up."""


class Damaged(SidecarError):
    """The message says how that was seen."""


class Gone(SidecarError):
    """Not to be sent, as a person decided."""


class CannotListen(SidecarError, OSError):
    """The message names the address, and what to change."""


class NotReady(SidecarError):
    """The message says what the mailer directory lacks."""


class Withdrawn(SidecarError):
    """Nothing was sent, and nothing may be sent any more."""


class UpstreamError(SidecarError):
    """No verdict from Exchange."""


class Away(UpstreamError, ConnectionError):
    """Exchange cannot be reached, or does not want to talk now."""


class Distrusted(Away):
    """What answers is not, or not provably, the submission host: no token was sent."""


class NotAdmitted(Away):
    """`reply` to AUTH speaks of the mailbox, or of the moment."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.code} {reply.enhanced} {reply.text}")
        self.reply = reply


class TokenRefused(UpstreamError, PermissionError):
    """AUTH was refused; the message is Exchange's own words, shortened, and the remedy where one is known."""


class Blocked(UpstreamError):
    """The relay knows already that an attempt would fail, so it makes none."""

    def __init__(self, reason: str, reply: Reply, *, until: float) -> None:
        super().__init__(reply.text)
        self.reason = reason
        """A word of the log and the metric (`upstream.blocks`)."""
        self.reply = reply
        """For an app that waits and has no spool."""
        self.until = until
        """When the next attempt makes sense: a time of the event loop in seconds. Infinity: when the mailer directory
        changes."""


class Lost(UpstreamError, ConnectionError):
    """The connection ended, or timed out, after AUTH."""
