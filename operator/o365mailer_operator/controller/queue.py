"""When each mailer is reconciled: a heap of due times, and bounded work in lanes.

A mailer has one reconcile at a time. Mailers of one lane (one tenant) share a few workers, and mailers that wait for a
worker of their lane take none from other lanes: a tenant that answers slowly delays only itself.
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
"""Reconciles at once: each is a few small requests, and waits most of the time."""
LANE_WORKERS: Final = 2
"""Of them for one tenant: one may hang in a token request while the other serves mailers that need no token."""
PAUSE: Final = 0.5
"""Seconds between two checks whether this replica leads again."""


@dataclasses.dataclass
class _Entry:
    due: float
    lane: str
    waiting: bool = False
    running: bool = False
    again: bool = False


class DueQueue:
    """Mailers and when each is due, in seconds of `clock` (monotonic)."""

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
        """Reconciles that have begun."""
        return self.busy.total()

    @property
    def overdue(self) -> int:
        """Mailers that are due and wait for a free worker."""
        return sum(len(keys) for keys in self.waiting.values())

    def put(self, key: Key, *, lane: str, delay: float = 0.0) -> None:
        """Make a mailer due in `delay` seconds or leave it due earlier. If its reconcile runs, another one follows."""
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
        """The mailers to reconcile now, each with its lane. Call `done` for every one."""
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
        """A reconcile has ended; the next is due in `delay` seconds, or never (None)."""
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
        """Seconds until a mailer is due; None without mailers. It does not know when a worker becomes free."""
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
    reconcile: Callable[[Key], Awaitable[float | None]],
    *,
    changed: asyncio.Event,
    leading: Callable[[], bool],
) -> None:
    """Reconcile every mailer when it is due, for ever; none begins while `leading` says no.

    `reconcile` gives the seconds until the next one, or None for never, and raises only what must end the process.
    Set `changed` after each `put`.
    """

    async def one(key: Key, lane: str) -> None:
        delay: float | None = None
        try:
            delay = await reconcile(key)
        finally:
            queue.done(key, lane, delay=delay)
            changed.set()

    async with asyncio.TaskGroup() as group:
        while True:
            changed.clear()
            active = leading()
            for key, lane in queue.take() if active else ():
                group.create_task(one(key, lane), name=f"reconcile {key}")
            try:
                async with asyncio.timeout(queue.next_due() if active else PAUSE):
                    await changed.wait()
            except TimeoutError:
                continue
