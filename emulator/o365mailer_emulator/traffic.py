"""The use of each mailbox: its slots, their busy time, the 432s, the pace.

Tests measure a fleet that shares a mailbox by it: how long its slots were busy, how often a client found none.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Use:
    """The use of one mailbox. Times are epoch seconds; ``busy`` is the sum of the finished submissions' seconds."""

    running: dict[int, float] = field(default_factory=dict)
    peak: int = 0
    submissions: int = 0
    crowded: int = 0
    busy: float = 0
    first_began: float | None = None
    last_ended: float | None = None
    paced: deque[float] = field(default_factory=deque)


class Traffic:
    """Every mailbox by its address in lower case."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tickets = itertools.count(1)
        self._uses: defaultdict[str, Use] = defaultdict(Use)

    def clear(self) -> None:
        """Forgets everything. A submission in progress is not counted when it ends."""
        self._uses.clear()

    def running(self, mailbox: str) -> int:
        """Submissions in progress."""
        return len(self._uses[mailbox.lower()].running)

    def refused(self, mailbox: str) -> None:
        """Counts a 432."""
        self._uses[mailbox.lower()].crowded += 1

    def begin(self, mailbox: str) -> int:
        """A submission takes a slot; the ticket gives it back."""
        use, now, ticket = self._uses[mailbox.lower()], self._clock(), next(self._tickets)
        use.running[ticket] = now
        use.submissions += 1
        use.peak = max(use.peak, len(use.running))
        use.first_began = use.first_began or now
        return ticket

    def end(self, mailbox: str, ticket: int) -> None:
        """Frees the slot, before the client gets its reply."""
        use, now = self._uses[mailbox.lower()], self._clock()
        began = use.running.pop(ticket, None)
        if began is not None:
            use.busy += now - began
            use.last_ended = now

    def late(self, mailbox: str, *, pace: int, seconds: float) -> float:
        """Seconds by which this message's reply is late if ``pace`` messages are allowed in ``seconds``."""
        paced, now = self._uses[mailbox.lower()].paced, self._clock()
        turn = max(now, paced[-pace] + seconds) if len(paced) >= pace else now
        paced.append(turn)
        if len(paced) > pace:
            paced.popleft()
        return turn - now

    def shown(self, mailbox: str) -> dict[str, Any]:
        """The figures of one mailbox for JSON. A running submission counts as busy until now."""
        use, now = self._uses[mailbox.lower()], self._clock()
        return {
            "slotBusySeconds": use.busy + sum(now - began for began in use.running.values()),
            "submissions": use.submissions,
            "inProgress": len(use.running),
            "inProgressPeak": use.peak,
            "crowded": use.crowded,
            "firstBegan": use.first_began,
            "lastEnded": use.last_ended,
        }
