"""What can go wrong, as one tree::

    SidecarError
    ├── Refused             the app's command, message or session is refused; carries the reply
    ├── WrongCommandLine    a flag or an environment variable is wrong; its author has to fix it
    │   └── SpoolUnusable   the spool's directory keeps nothing through a crash, or cannot be written to
    ├── StoreFailed         the disk did not keep a message, or cannot read it back
    │   └── SpoolFull       no room for it: a limit, the disk, a quota
    ├── Damaged             a message on disk is not what was stored; the spool sets it aside
    ├── Gone                a spooled message is not to be sent: a person removed it or put it on hold
    ├── CannotListen        an address cannot be bound
    ├── NotReady            the mailer directory has nothing to relay with yet; a new directory heals it
    ├── Withdrawn           the app stopped waiting before the end of data was sent
    └── UpstreamError       no verdict from Exchange; time heals it
        ├── Away            not reached: name, TCP, TLS, greeting, EHLO
        │   ├── Distrusted  reached, but not to be trusted with a token (also ssl.SSLError)
        │   └── NotAdmitted reached, but its reply to AUTH is not about the token; carries the reply
        ├── TokenRefused    reached, but it refuses this token for this mailbox
        ├── Blocked         not tried, it would fail; carries the reason, the app's reply and the time of the next try
        └── Lost            the connection ended, timed out, or broke the protocol

Each module translates the exceptions of the system and of TLS where they arise: `smtp/dial.py`, `smtp/connection.py`,
`smtp/protocol.py`, `mailer.py`, `spool/`.
"""

from o365mailer_sidecar.reply import Reply


class SidecarError(Exception):
    """The base of all errors that this package raises on purpose."""


class Refused(SidecarError):
    """The app's command, message or session is refused with `reply`; with `close`, its session ends too."""

    def __init__(self, reply: Reply, *, close: bool = False) -> None:
        super().__init__(reply.text)
        self.reply = reply
        self.close = close


class WrongCommandLine(SidecarError, ValueError):
    """The message names the flag or the variable, and what it expects."""


class SpoolUnusable(WrongCommandLine):
    """The message names the directory, and what to change."""


class StoreFailed(SidecarError):
    """The message says why, and quotes nothing of the mail. What was stored before is still there."""


class SpoolFull(StoreFailed):
    """The message says what is used up."""


class Damaged(SidecarError):
    """The message says what is wrong with the file."""


class Gone(SidecarError):
    """A person decided that it is not to be sent."""


class CannotListen(SidecarError, OSError):
    """The message names the address, and what to change."""


class NotReady(SidecarError):
    """The message says what the mailer directory lacks."""


class Withdrawn(SidecarError):
    """Nothing was sent, and nothing may be sent any more."""


class UpstreamError(SidecarError):
    """No verdict from Exchange."""


class Away(UpstreamError, ConnectionError):
    """Exchange cannot be reached, or does not accept a session now."""


class Distrusted(Away):
    """The host could not prove that it is the submission host. No token was sent."""


class NotAdmitted(Away):
    """`reply` to AUTH is about the mailbox, or about this moment."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.code} {reply.enhanced} {reply.text}")
        self.reply = reply


class TokenRefused(UpstreamError, PermissionError):
    """AUTH was refused. The message is Exchange's own text, shortened, and the remedy if one is known."""


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
    """The connection ended, timed out, or broke the protocol. Before AUTH is done, `SmtpClient` makes it Away."""
