"""How far one message has come, shared by who sends it and who waits for it.

Both run on one event loop, so a flag that is set is seen: a message is either withdrawn or committed, never both.
"""

from dataclasses import dataclass

from o365mailer_sidecar.errors import Withdrawn


@dataclass(slots=True)
class Attempt:
    """Not committed: Exchange cannot have the message. Committed: it may."""

    begun: bool = False
    committed: bool = False
    withdrawn: bool = False
    overdue: bool = False
    """Nobody waits for it any more, and it is out: should it come back, it is withdrawn."""

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
        self.begun = self.committed = False
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
