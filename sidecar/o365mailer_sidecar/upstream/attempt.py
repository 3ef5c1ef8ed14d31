"""How far one message has come, shared by the code that sends it and the code that waits for it.

Both run on one event loop, so a stage that is set is seen: a message is either withdrawn or committed, never both.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from o365mailer_sidecar.errors import Withdrawn


class Stage(Enum):
    """Of one attempt."""

    WAITING = "waiting"
    """For its moment, or for a connection."""
    UNDERWAY = "underway"
    """It has a connection."""
    SENDING = "sending"
    """The first byte of the body has left."""
    COMMITTED = "committed"
    """The end of data has left: from now on Exchange may have the message."""
    SETTLED = "settled"
    """The queue has its result, and only has to write it down."""
    WITHDRAWN = "withdrawn"
    """This attempt will not send the message."""


ALLOWED: Final = {
    Stage.WAITING: (Stage.UNDERWAY, Stage.SETTLED, Stage.WITHDRAWN),
    Stage.UNDERWAY: (Stage.SENDING, Stage.UNDERWAY, Stage.WAITING, Stage.SETTLED, Stage.WITHDRAWN),
    Stage.SENDING: (Stage.COMMITTED, Stage.WAITING, Stage.SETTLED, Stage.WITHDRAWN),
    Stage.COMMITTED: (Stage.WAITING, Stage.SETTLED, Stage.WITHDRAWN),
    Stage.SETTLED: (),
    Stage.WITHDRAWN: (Stage.SETTLED, Stage.WITHDRAWN),
}
"""Exchange can hand a message back (432): then it waits again, or is withdrawn, from any stage. UNDERWAY follows itself
when a connection turns out to be dead and another is taken."""


@dataclass(slots=True)
class Attempt:
    """One try to deliver one message."""

    stage: Stage = Stage.WAITING
    last: bool = False
    """Whether the message is to be withdrawn if Exchange hands it back: the app does not wait for it any more."""
    keep: Callable[[], Awaitable[bool]] | None = None
    """Puts the message on disk, and says whether it is there; None: there is no spool."""
    paced: bool = False
    """Whether it has waited for its moment by `limits.messagesPerMinute`."""
    began: float = 0.0
    """A time of the event loop."""
    upstream: float = 0.0
    """Seconds in Exchange, from the first command to the last reply."""

    @property
    def sending(self) -> bool:
        """Whether a byte of the body has left."""
        return self.stage in (Stage.SENDING, Stage.COMMITTED)

    @property
    def committed(self) -> bool:
        """Whether Exchange may have the message."""
        return self.stage is Stage.COMMITTED

    @property
    def withdrawn(self) -> bool:
        """Whether it will not be sent."""
        return self.stage is Stage.WITHDRAWN

    async def divide(self) -> bool:
        """Exchange does not accept all recipients: whether the message may go to those that it accepts.

        Only if it is on disk: otherwise the other recipients would never get it after a crash.
        """
        return self.keep is not None and await self.keep()

    def begin(self) -> None:
        """It has a connection. Raises Withdrawn."""
        self._advance(Stage.UNDERWAY)

    def begin_body(self) -> None:
        """The first byte of the body leaves now. Raises Withdrawn."""
        self._advance(Stage.SENDING)

    def commit(self) -> None:
        """The end of data leaves now. Raises Withdrawn."""
        self._advance(Stage.COMMITTED)

    def returned(self) -> None:
        """Exchange has said 432: what has left of the message is void, and it waits for another connection."""
        self._advance(Stage.WITHDRAWN if self.last else Stage.WAITING)

    def settle(self) -> None:
        """The queue has its result."""
        self._advance(Stage.SETTLED)

    def withdraw(self) -> bool:
        """Whether the message will not be sent: False if it is out already."""
        self.last = True
        if self.stage in (Stage.COMMITTED, Stage.SETTLED):
            return False
        self.stage = Stage.WITHDRAWN
        return True

    def _advance(self, stage: Stage) -> None:
        if stage not in ALLOWED[self.stage]:
            # To cancel the task is not enough: asyncio.wait_for (before 3.12) returns its result, cancellation or not,
            # when both come at once.
            if self.withdrawn:
                raise Withdrawn
            raise RuntimeError(f"an attempt is {self.stage.value}, and cannot be {stage.value}")
        self.stage = stage
