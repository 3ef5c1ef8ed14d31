"""How far one message has come, shared by who sends it and who waits for it.

Both run on one event loop, so a flag that is set is seen: a message is either withdrawn or committed, never both.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from o365mailer_sidecar.errors import Withdrawn


@dataclass(slots=True)
class Attempt:
    """Not committed: Exchange cannot have the message. Committed: it may."""

    begun: bool = False
    committed: bool = False
    withdrawn: bool = False
    underway: bool = False
    """It has a connection, and talks to Exchange."""
    overdue: bool = False
    """Nobody waits for it any more, and it is out: should it come back, it is withdrawn."""
    over: bool = False
    """Its verdict is known: what is left is to write it down."""
    keep: Callable[[], Awaitable[bool]] | None = None
    """Puts the message on disk, and says whether it is there; None: there is no spool."""
    divided: bool = False
    """Some of its recipients were not taken, and it may go to the others."""
    paced: bool = False
    """It has its moment by the mailer's pace already (`Upstream.begin_spooled`)."""
    began: float = 0.0
    """When it began, a time of the event loop."""
    upstream: float = 0.0
    """Seconds that Exchange had a part in."""

    async def divide(self) -> bool:
        """Not all recipients were taken: whether the message may go to those who were.

        Only when it is on disk: else a crash behind the last octet would leave the others with nobody.
        """
        if self.keep and not self.divided:
            self.divided = await self.keep()
        return self.divided

    def begin_body(self) -> None:
        """The first octet leaves now."""
        self._check()
        self.begun = True

    def commit(self) -> None:
        """The end of data leaves now."""
        self._check()
        self.committed = True

    def refused(self) -> None:
        """Exchange has said that it did not take what was on its way: the message is ours again."""
        self.begun = self.committed = self.underway = False
        self.withdrawn = self.overdue

    def withdraw(self) -> bool:
        """Whether the message will not be sent: False when it is out already."""
        self.overdue = True
        self.withdrawn = not self.committed
        return self.withdrawn

    def _check(self) -> None:
        # A cancelled task is not enough: asyncio.wait_for (before 3.12) returns its result, cancellation or not, when
        # both come at once.
        if self.withdrawn:
            raise Withdrawn
