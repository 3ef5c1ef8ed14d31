"""Errands: the slow work of mailers, outside of their reconciles.

A reconcile waits for nothing but the API server. A token request or a login at Exchange may take seconds, or hang: it
is an errand. A reconcile that needs one starts it, ends, and leaves everything as it is. When the errand ends, its
result is kept here and the mailer becomes due. The next reconcile finds the result, and writes what follows from it.

How to add a kind of errand:

1. Make one `Errands` for it, as token_requests.py does, with a `kind` for the metrics.
2. Name what the work is for by a text, the aim: equal texts mean that the same work would be done again.
3. In the reconcile, ask `find(key)`. Nothing, or another aim: call `start`. `under way`: leave everything as it is. A
   result: decide, write, and call `drop` when it is written, or not wanted any more. Until then the result stays, so a
   write that fails is repeated without a second errand.
4. Ask `is_called(key)` at the beginning of each reconcile, and if so, call `passed(key)` at its end. Call `forget(key)`
   when the mailer is gone.

What is bounded: the errands that run, by their places. An errand that waits for a place holds nothing but names: no
grant, no certificates, no task. When there is a place for it, its mailer becomes due, and the reconcile that follows
builds the errand again and starts it. So 1,000 mailers that wait for a host which hangs cost no memory.
"""

import asyncio
import dataclasses
import datetime
import enum
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Generic, NamedTuple, TypeVar

from o365mailer_operator.clock import Clock
from o365mailer_operator.controller.lease import NotLeading
from o365mailer_operator.controller.mailer import Key
from o365mailer_operator.controller.metrics import Metrics

Result = TypeVar("Result")

HOST_PLACES: Final = 8
"""Errands to one host at once."""

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Something that only so many errands may use at once: a host, a tenant, an application, a mailbox."""

    name: str
    at_once: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Errand(Generic[Result]):
    """One piece of slow work."""

    aim: str
    """What it is for. Without secrets: it is kept as long as the result."""
    places: tuple[Place, ...]
    """All that it occupies while it runs. It waits until each of them has room."""
    run: Callable[[], Awaitable[Result]] = dataclasses.field(repr=False)
    """The work, with deadlines of its own that give good messages. It returns failures that a person should read. It
    may raise NotLeading: then nothing has come of it, and the next reconcile starts it again."""
    limit: float
    """Seconds after which it is cancelled: more than all deadlines in `run` together."""
    failure: Result
    """Its result if `limit` is reached, or if `run` raises what it should not."""
    shared: str = ""
    """Mailers whose errands have the same name here share one run and its result. Empty: not shared."""


@dataclasses.dataclass(frozen=True)
class Progress(Generic[Result]):
    """What is known of a mailer's errand: it is under way, or has brought a result."""

    aim: str
    result: Result | None = dataclasses.field(default=None, repr=False)

    @property
    def under_way(self) -> bool:
        """Whether it waits for a place or runs."""
        return self.result is None


class _State(enum.Enum):
    WAITING = enum.auto()
    CALLED = enum.auto()
    """Its places are taken, and a mailer was made due that will start it."""
    RUNNING = enum.auto()


@dataclasses.dataclass
class _Job:
    """One run, for one mailer or for several that share it."""

    name: str
    places: tuple[Place, ...]
    key: Key
    """The mailer that starts it, or has started it. While it runs, that mailer may be gone."""
    aims: dict[Key, str]
    """The mailers that want its result, and what each wants it for. While it runs, there may be none."""
    state: _State = _State.WAITING


class Errands(Generic[Result]):
    """All errands of one kind. Used from one event loop.

    `due` makes a mailer due at once. `kind` is a label of the metrics.
    """

    def __init__(self, kind: str, *, due: Callable[[Key], None], clock: Clock, metrics: Metrics) -> None:
        self.kind = kind
        self.due = due
        self.clock = clock
        self.seconds = metrics.errand_seconds.labels(kind)
        metrics.errands_running.labels(kind).set_function(lambda: self.running)
        metrics.errands_waiting.labels(kind).set_function(lambda: self.waiting)
        self.closed = False
        self.occupied: Counter[str] = Counter()
        self.jobs: dict[str, _Job] = {}
        """By name, the oldest first."""
        self.wanted: dict[Key, _Job] = {}
        self.results: dict[Key, Progress[Result]] = {}
        self.begun: dict[Key, datetime.datetime] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.turns: dict[str, int] = {}
        """Of the namespaces whose errands wait or run, when each last had its turn: a number that grows."""

    @property
    def running(self) -> int:
        """Errands that run."""
        return len(self.tasks)

    @property
    def waiting(self) -> int:
        """Mailers whose errand waits for a place."""
        return sum(len(job.aims) for job in self.jobs.values() if job.state is not _State.RUNNING)

    def find(self, key: Key) -> Progress[Result] | None:
        """The mailer's errand; None if there is none, or if this mailer is to start it now."""
        job = self.wanted.get(key)
        if job is None:
            return self.results.get(key)
        return None if self.is_called(key) else Progress(job.aims[key])

    def last_begun(self, key: Key) -> datetime.datetime | None:
        """When the mailer's last errand began to run; None if it has had none."""
        return self.begun.get(key)

    def start(self, key: Key, errand: Errand[Result]) -> None:
        """Run the errand now, or as soon as there is a place for it. It replaces the mailer's errand for another aim.

        The same errand again changes nothing.
        """
        job = self.wanted.get(key)
        if job is not None and job.aims[key] == errand.aim:
            if self.is_called(key):
                self._run(job, errand)
            return
        self.drop(key)
        if self.closed:
            return
        name = errand.shared or f"{key} {errand.aim}"
        job = self.jobs.get(name)
        if job is not None:  # of another mailer, or of this one before it changed its mind twice
            self.wanted[key] = job
            job.aims[key] = errand.aim
            if job.state is _State.RUNNING:
                self.begun[key] = self.clock.now()
            return
        job = self.jobs[name] = self.wanted[key] = _Job(name, errand.places, key, {key: errand.aim})
        if self._has_room(job):
            self._occupy(job)
            self._run(job, errand)

    def drop(self, key: Key) -> None:
        """The mailer's result is used, or is not wanted any more. An errand that runs goes on without it."""
        self.results.pop(key, None)
        job = self.wanted.pop(key, None)
        if job is None:
            return
        called = job.state is _State.CALLED and job.key == key  # `wanted` does not have it any more
        del job.aims[key]
        if job.state is _State.RUNNING:
            return
        if not job.aims:
            del self.jobs[job.name]
        elif job.key == key:
            job.key = next(iter(job.aims))
        if called:
            self._release(job)
            job.state = _State.WAITING
            self._call()

    def is_called(self, key: Key) -> bool:
        """Whether the mailer's next reconcile is to start its errand. Ask before the reconcile, for `passed`."""
        job = self.wanted.get(key)
        return job is not None and job.state is _State.CALLED and job.key == key

    def passed(self, key: Key) -> None:
        """The reconcile of a mailer that was called has ended. If it started nothing, others get the places."""
        if self.is_called(key):
            self.drop(key)

    def forget(self, key: Key) -> None:
        """The mailer is gone."""
        self.drop(key)
        self.begun.pop(key, None)

    def close(self) -> None:
        """Begin no more errands. Those that run go on."""
        self.closed = True
        for job in [job for job in self.jobs.values() if job.state is not _State.RUNNING]:
            if job.state is _State.CALLED:
                self._release(job)
            for key in job.aims:
                del self.wanted[key]
            del self.jobs[job.name]

    def cancel(self) -> None:
        """End the errands that run. What they would have brought is lost."""
        self.close()
        for task in self.tasks:
            task.cancel()

    def _run(self, job: _Job, errand: Errand[Result]) -> None:
        job.state = _State.RUNNING
        now = self.clock.now()
        self.begun.update(dict.fromkeys(job.aims, now))
        task = asyncio.create_task(self._errand(job, errand), name=f"{self.kind} {job.key}")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _errand(self, job: _Job, errand: Errand[Result]) -> None:
        result: Result | None = None
        began = self.clock.monotonic()
        try:
            async with asyncio.timeout(errand.limit) as limit:
                result = await errand.run()
        except NotLeading:
            pass
        except Exception:
            told = "was cancelled at its limit" if limit.expired() else "failed by a defect of the controller"
            log.exception(f"an errand {told}", extra={"kind": self.kind, "mailer": str(job.key)})
            result = errand.failure
        finally:
            self.seconds.observe(self.clock.monotonic() - began)
            self._end(job, result)

    def _end(self, job: _Job, result: Result | None) -> None:
        del self.jobs[job.name]
        self._release(job)
        for key, aim in job.aims.items():
            del self.wanted[key]
            if result is not None:
                self.results[key] = Progress(aim, result)
            self.due(key)
        self._call()

    def _call(self) -> None:
        """Give free places to the errands that wait: make the mailers due that will start them.

        Namespaces take turns, and in each the oldest is the first. Otherwise a user who makes a thousand mailers that
        name another's application would let that application wait for all of them.
        """
        present = {job.key.namespace for job in self.jobs.values()}
        self.turns = {namespace: turn for namespace, turn in self.turns.items() if namespace in present}
        waiting = [job for job in self.jobs.values() if job.state is _State.WAITING]
        for job in sorted(waiting, key=lambda job: self.turns.get(job.key.namespace, 0)):
            if self._has_room(job):
                self._occupy(job)
                job.state = _State.CALLED
                self.due(job.key)

    def _has_room(self, job: _Job) -> bool:
        return all(self.occupied[place.name] < place.at_once for place in job.places)

    def _occupy(self, job: _Job) -> None:
        self.occupied.update(place.name for place in job.places)
        self.turns[job.key.namespace] = max(self.turns.values(), default=0) + 1

    def _release(self, job: _Job) -> None:
        for place in job.places:
            self.occupied[place.name] -= 1
            if not self.occupied[place.name]:
                del self.occupied[place.name]
