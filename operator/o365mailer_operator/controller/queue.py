"""Which mailer is looked at when: a heap of due times, and bounded work in lanes.

A mailer is looked at once at a time. Mailers of one lane (one tenant) share a few places, and mailers that wait for a
place of their lane take none from others: a tenant that answers slowly delays itself alone.
"""

import asyncio
import collections
import dataclasses
import heapq
import itertools
from collections.abc import Awaitable, Callable
from typing import Final

from o365mailer_operator.controller.mailer import Key

WORKERS: Final = 64
"""Looks under way at once: each is a handful of small requests, and most of its time is waiting."""
LANE_WORKERS: Final = 2
"""Of them for one tenant: one may hang in a token request while the other serves those that only need a look."""
PAUSE: Final = 0.5
"""Seconds between two questions whether this replica leads again."""


@dataclasses.dataclass
class _Entry:
    due: float
    lane: str
    waiting: bool = False
    running: bool = False
    again: bool = False


class DueQueue:
    """Mailers and when each is due, in seconds of `clock` (monotonic); nothing else happens in here."""

    def __init__(self, *, clock: Callable[[], float], workers: int = WORKERS, lane_workers: int = LANE_WORKERS) -> None:
        self.clock = clock
        self.workers = workers
        self.lane_workers = lane_workers
        self.entries: dict[Key, _Entry] = {}
        self.heap: list[tuple[float, int, Key]] = []
        self.order = itertools.count()
        self.waiting: dict[str, collections.deque[Key]] = collections.defaultdict(collections.deque)
        self.busy: collections.Counter[str] = collections.Counter()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def running(self) -> int:
        """Looks under way."""
        return self.busy.total()

    @property
    def overdue(self) -> int:
        """Mailers that are due and wait for a place."""
        return sum(len(keys) for keys in self.waiting.values())

    def put(self, key: Key, *, lane: str, delay: float = 0.0) -> None:
        """Make a mailer due in `delay` seconds or leave it due earlier; while it is looked at, once more after that."""
        due = self.clock() + delay
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = _Entry(due=due, lane=lane)
        elif entry.running:
            entry.again, entry.lane = True, lane
            return
        else:
            entry.due, entry.lane = min(due, entry.due), lane
        self._push(key, entry)

    def take(self) -> list[tuple[Key, str]]:
        """What to look at now, with the lane of each. Every one must be handed back with `done`."""
        now = self.clock()
        while self.heap and self.heap[0][0] <= now:
            due, _, key = heapq.heappop(self.heap)
            entry = self.entries.get(key)
            if entry is not None and not (entry.running or entry.waiting) and entry.due == due:
                entry.waiting = True
                self.waiting[entry.lane].append(key)
        taken: list[tuple[Key, str]] = []
        for lane in list(self.waiting):
            taken.extend((key, lane) for key in self._take_from(lane))
        return taken

    def done(self, key: Key, lane: str, *, delay: float | None) -> None:
        """A look has ended; the next is due in `delay` seconds, or never (None)."""
        self.busy[lane] -= 1
        if not self.busy[lane]:
            del self.busy[lane]  # tenants come and go
        entry = self.entries[key]
        again, entry.running, entry.again = entry.again, False, False
        if delay is None and not again:
            del self.entries[key]
            return
        entry.due = self.clock() + (0.0 if again else delay or 0.0)
        self._push(key, entry)

    def next_due(self) -> float | None:
        """Seconds until something is due; None where nothing is known. Places that become free are not foreseen."""
        return max(0.0, self.heap[0][0] - self.clock()) if self.heap else None

    def _take_from(self, lane: str) -> list[Key]:
        keys = self.waiting[lane]
        taken: list[Key] = []
        while keys and self.busy[lane] < self.lane_workers and self.running < self.workers:
            key = keys.popleft()
            entry = self.entries[key]
            entry.waiting, entry.running = False, True
            self.busy[lane] += 1
            taken.append(key)
        if not keys:
            del self.waiting[lane]
        return taken

    def _push(self, key: Key, entry: _Entry) -> None:
        heapq.heappush(self.heap, (entry.due, next(self.order), key))


async def work(
    queue: DueQueue,
    look: Callable[[Key], Awaitable[float | None]],
    *,
    changed: asyncio.Event,
    leading: Callable[[], bool],
) -> None:
    """Look at every mailer when it is due, for ever; no look begins while `leading` says no.

    `look` gives the seconds until the next look, or None for never, and raises only what must end the process.
    Set `changed` after each `put`.
    """

    async def one(key: Key, lane: str) -> None:
        delay: float | None = None
        try:
            delay = await look(key)
        finally:
            queue.done(key, lane, delay=delay)
            changed.set()

    async with asyncio.TaskGroup() as group:
        while True:
            changed.clear()
            active = leading()
            for key, lane in queue.take() if active else ():
                group.create_task(one(key, lane), name=f"look at {key}")
            try:
                async with asyncio.timeout(queue.next_due() if active else PAUSE):
                    await changed.wait()
            except TimeoutError:
                continue
