"""What all SMTP sessions with apps share, and what they need of the relay."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from o365mailer_sidecar.message.body import LineEndings
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.policy import Policy
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.timeouts import TIMEOUTS, Timeouts

if TYPE_CHECKING:
    from o365mailer_sidecar.smtp.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """What a session accepts, by the settings."""

    size_limit: int
    """Bytes of a message."""
    line_endings: LineEndings
    offer_auth: bool = True
    """Whether EHLO announces AUTH. Some apps insist on a password where it is announced."""
    policy: Policy | None = None
    """None while there are no settings: the message is judged when it is sent."""
    scratch: Path | None = None
    """Where large messages go; None: the system's temporary directory."""


class MessageHandler(Protocol):
    """What a session needs of the relay."""

    def limits(self) -> SessionLimits:
        """The limits by the settings as they are now."""

    async def submit(self, message: Message) -> Reply:
        """The final reply. The session cancels it when the app has gone."""

    def refused(self, envelope: Envelope, reply: Reply, *, size: int, reason: str) -> None:
        """The session has refused the message itself. `size` is in bytes, as far as the message was read."""

    def dropped(self, envelope: Envelope) -> None:
        """The app has gone before its message could be submitted."""


@dataclass(eq=False, slots=True, kw_only=True)
class SmtpServer:
    """The sessions of one process."""

    handler: MessageHandler
    log: EventLog
    queue_id: Callable[[], str]
    """Makes the queue id of a new message."""
    now: Callable[[], datetime]
    session_limit: int
    """Sessions at once; one more gets 421."""
    timeouts: Timeouts = TIMEOUTS
    sessions: set["Session"] = field(default_factory=set)

    def stop(self) -> None:
        """End each session as soon as it has no message in hand."""
        for session in list(self.sessions):
            session.stop()

    async def ended(self, *, within: float) -> None:
        """Wait until all sessions have ended, `within` seconds at most."""
        if self.sessions:
            await asyncio.wait({session.over for session in self.sessions}, timeout=within)

    def abort(self) -> None:
        """End all sessions at once."""
        for session in list(self.sessions):
            session.abort()
