"""When each mailer is reconciled: a heap of due times, and a bound on how many reconciles run at once.

A mailer has one reconcile at a time. A reconcile waits for the API server alone (errands.py does what is slow), so one
bound for all mailers is enough: none holds its place for long. Namespaces take turns: a user who makes thousands of
mailers, or changes them in a loop, delays the mailers of another namespace by one reconcile.
"""

import asyncio
import collections
import dataclasses
import heapq
import itertools
from collections.abc import Awaitable, Callable
from typing import Final

from o365mailer_operator.controller.mailer import Key

WORKERS: Final = 16
"""Reconciles at once: each is a few small requests of milliseconds. Each may have a connection to the API server, which
is kept and takes a third of a MiB, so more would cost memory and gain no time."""
PAUSE: Final = 0.5
"""Seconds between two checks whether this replica leads again."""


@dataclasses.dataclass
class _Entry:
    due: float
    waiting: bool = False
    running: bool = False
    again: float | None = None
    """When the reconcile after the running one is due, at the latest."""


class DueQueue:
    """Mailers and when each is due, in seconds of `clock` (monotonic)."""

    def __init__(self, *, clock: Callable[[], float], workers: int = WORKERS) -> None:
        self.clock = clock
        self.workers = workers
        self.entries: dict[Key, _Entry] = {}
        self.heap: list[tuple[float, int, Key]] = []
        self.order = itertools.count()
        self.waiting: dict[str, collections.deque[Key]] = {}
        """By namespace; the first is the next to have its turn. None is empty."""
        self.running = 0
        """Reconciles that have begun."""

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def overdue(self) -> int:
        """Mailers that are due and wait for a free worker."""
        return sum(map(len, self.waiting.values()))

    @property
    def busy(self) -> bool:
        """Whether a reconcile runs, or should run now."""
        return bool(self.running or self.waiting or self.next_due() == 0)

    def put(self, key: Key, *, delay: float = 0.0) -> None:
        """Make a mailer due in `delay` seconds or leave it due earlier. If its reconcile runs, another one follows."""
        due = self.clock() + delay
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = _Entry(due=due)
        elif entry.running:
            entry.again = due if entry.again is None else min(due, entry.again)
            return
        elif entry.due <= due:
            return
        else:
            entry.due = due
        self._push(key, entry)

    def take(self) -> list[Key]:
        """The mailers to reconcile now. Call `done` for every one."""
        now = self.clock()
        while self.heap and self.heap[0][0] <= now:
            due, _, key = heapq.heappop(self.heap)
            entry = self.entries.get(key)
            if entry is not None and not (entry.running or entry.waiting) and entry.due == due:
                entry.waiting = True
                self.waiting.setdefault(key.namespace, collections.deque()).append(key)
        taken: list[Key] = []
        while self.waiting and self.running < self.workers:
            namespace, keys = next(iter(self.waiting.items()))
            key = keys.popleft()
            del self.waiting[namespace]
            if keys:
                self.waiting[namespace] = keys  # after all others
            entry = self.entries[key]
            entry.waiting, entry.running = False, True
            self.running += 1
            taken.append(key)
        return taken

    def done(self, key: Key, *, delay: float | None) -> None:
        """A reconcile has ended; the next is due in `delay` seconds, or never (None)."""
        self.running -= 1
        entry = self.entries[key]
        again, entry.running, entry.again = entry.again, False, None
        if delay is None and again is None:
            del self.entries[key]
            return
        entry.due = self.clock() + (delay or 0.0) if again is None else again
        self._push(key, entry)

    def next_due(self) -> float | None:
        """Seconds until a mailer is due; None without mailers. It does not know when a worker becomes free."""
        return max(0.0, self.heap[0][0] - self.clock()) if self.heap else None

    def clear(self) -> None:
        """Forget every mailer whose reconcile has not begun."""
        self.entries = {key: entry for key, entry in self.entries.items() if entry.running}
        self.heap.clear()
        self.waiting.clear()

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

    async def one(key: Key) -> None:
        delay: float | None = None
        try:
            delay = await reconcile(key)
        finally:
            queue.done(key, delay=delay)
            changed.set()

    async with asyncio.TaskGroup() as group:
        while True:
            changed.clear()
            active = leading()
            for key in queue.take() if active else ():
                group.create_task(one(key), name=f"reconcile {key}")
            try:
                async with asyncio.timeout(queue.next_due() if active else PAUSE):
                    await changed.wait()
            except TimeoutError:
                continue
