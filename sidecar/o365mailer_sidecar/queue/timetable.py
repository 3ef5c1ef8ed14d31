"""Which spooled message is due when: a heap of times of the event loop, in seconds."""

from collections.abc import Collection
from heapq import heapify, heappop, heappush
from typing import Final

from o365mailer_sidecar.spool.stored import Stored

NEVER: Final = float("inf")


class Timetable:
    """Messages that wait. One on hold is never due."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Stored]] = []
        self.pushed = 0
        """Of two that are due at once the one that came first leaves first."""

    def __len__(self) -> int:
        return len(self.heap)

    def put(self, stored: Stored, *, due: float) -> None:
        """It waits."""
        self.pushed += 1
        heappush(self.heap, (NEVER if stored.held else due, self.pushed, stored))

    @property
    def due(self) -> float:
        """When the next one is."""
        return self.heap[0][0] if self.heap else NEVER

    def pop(self) -> Stored:
        """The next one, which waits no more."""
        return heappop(self.heap)[2]

    def leave_out(self, gone: Collection[Stored]) -> None:
        """These do not wait any more."""
        self.heap = [entry for entry in self.heap if entry[2] not in gone]
        heapify(self.heap)

    def all_now(self) -> None:
        """Everything is due, but what is on hold, which leaves the table."""
        self.heap = [(0.0, number, stored) for _, number, stored in sorted(self.heap) if not stored.held]
