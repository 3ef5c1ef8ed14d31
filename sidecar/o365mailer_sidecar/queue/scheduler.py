"""Which spooled message is due when: a heap of times of the event loop, in seconds."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from heapq import heapify, heappop, heappush
from typing import Final

from o365mailer_contract.replies import Outcome
from o365mailer_contract.settings import Limits
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.errors import Damaged, Gone, StoreFailed
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.queue import retry
from o365mailer_sidecar.queue.finish import Finisher
from o365mailer_sidecar.queue.mailbox_health import MailboxHealth
from o365mailer_sidecar.spool.entry import QueueEntry
from o365mailer_sidecar.spool.spool import Spool
from o365mailer_sidecar.upstream.attempt import Attempt
from o365mailer_sidecar.upstream.blocks import NOT_ASKED
from o365mailer_sidecar.upstream.result import DAMAGED, Result, result_of
from o365mailer_sidecar.upstream.submit import Upstream

NEVER: Final = float("inf")


class RetryHeap:
    """Messages that wait. One on hold is never due."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, QueueEntry]] = []
        self.pushed = 0
        """Of two that are due at once the one that came first leaves first."""

    def __len__(self) -> int:
        return len(self.heap)

    def put(self, stored: QueueEntry, *, due: float) -> None:
        """It waits."""
        self.pushed += 1
        heappush(self.heap, (NEVER if stored.held else due, self.pushed, stored))

    @property
    def due(self) -> float:
        """When the next one is."""
        return self.heap[0][0] if self.heap else NEVER

    def pop(self) -> QueueEntry:
        """The next one, which waits no more."""
        return heappop(self.heap)[2]

    def leave_out(self, gone: Collection[QueueEntry]) -> None:
        """These do not wait any more."""
        self.heap = [entry for entry in self.heap if entry[2] not in gone]
        heapify(self.heap)

    def all_now(self) -> None:
        """Everything is due, but what is on hold, which leaves the table."""
        self.heap = [(0.0, number, stored) for _, number, stored in sorted(self.heap) if not stored.held]


# --- courier --------------------
# Takes what is in the spool to Exchange: by due time, a few at once, and never because a clock ticked.
#
# It sleeps until something is due, upstream is worth asking again, a message comes in, or the mailer directory
# changes. A message that is deferred waits on its own schedule (`retry`) and holds up no other. What is not a
# message's own (no token, Exchange away, the mailbox at rest) holds up all of them: then one is the probe, and the
# others wait for it.


async def _yes() -> bool:
    return True


class Scheduler:
    """The one who delivers. Nothing else takes a message out of the spool."""

    def __init__(
        self,
        context: Context,
        spool: Spool,
        upstream: Upstream,
        finisher: Finisher,
        *,
        apps: Callable[[], int],
    ) -> None:
        self.spool, self.upstream, self.finisher, self.apps = spool, upstream, finisher, apps
        self.directory, self.clock, self.dice, self.log = context.directory, context.clock, context.dice, context.log
        finisher.deliver = self.take
        self.health = MailboxHealth(context, waiting=lambda: len(spool.messages))
        self.heap = RetryHeap()
        self.flying: dict[asyncio.Task[None], tuple[QueueEntry, Attempt]] = {}
        self.entrusted: set[QueueEntry] = set()
        """On disk already, and in the hands of the attempt that an app waits for, or waited."""
        self.waker: asyncio.Future[None] | None = None
        self.recovered = False
        self.last_round: float | None = None
        """Until when everything is tried once more, a time of the event loop."""
        self.last_round_began = 0.0
        self.hopeless = False
        """The last round has found that there is no way to Exchange."""
        self.over = asyncio.Event()
        self.ended = False
        """The last round's time is over: what would begin now could not be written down any more."""

    # --- What comes in ----------------------------------------------------------------------------------------------

    def take(self, stored: QueueEntry, *, after: float = 0.0) -> None:
        """Deliver it, in so many seconds at the earliest."""
        self.entrusted.discard(stored)
        self.heap.put(stored, due=self.clock.monotonic() + after)
        self.wake()

    def wake(self) -> None:
        """Something has changed: the mailer directory, or how many apps want to be served."""
        if self.waker and not self.waker.done():
            self.waker.set_result(None)

    def hear(self, result: Result) -> None:
        """What an attempt for an app says: where it found its way, so will ours."""
        waited = self.health.paused_until
        self.health.hear(result)
        if waited and not self.health.paused_until:
            self.wake()

    def look_again(self) -> None:
        """The mailer directory, or the spool by hand, has changed: what was in the way may be gone."""
        self.health.paused_until = 0.0
        self.wake()

    def forget(self, gone: Collection[QueueEntry]) -> None:
        """These are not for it, for now."""
        self.heap.leave_out(gone)

    def has_in_hand(self, stored: QueueEntry) -> bool:
        """Whether somebody is at it already: it, or the attempt of an app."""
        return stored in self.entrusted or any(stored is flying for flying, _ in self.flying.values())

    def knows_all(self) -> None:
        """Everything that was there at start is known."""
        self.recovered = True
        self.wake()

    # --- The round --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self._sleep(until=self._start_what_is_due())

    def _start_what_is_due(self) -> float:
        """Start what can start; until when there is nothing to do, a time of the event loop."""
        wait = NEVER
        while self.heap and len(self.flying) < self._lanes() and not (self.hopeless or self.ended):
            now = self.clock.monotonic()
            wait = max(self.heap.due, self._obstructed_until(now))
            if wait > now:
                break
            self._start(self.heap.pop())
            wait = NEVER
        if self.last_round is not None:
            in_vain = self.hopeless or (self.heap and wait > self.last_round)
            done = not self.flying and (in_vain or (self.recovered and not self.heap))
            (self.over.set if done else self.over.clear)()
        return wait

    def _lanes(self) -> int:
        """As many at once as there are connections; less those that apps wait for; one where it is a probe."""
        if self.health.failures:
            return 1
        limits = self.directory.settings.limits if self.directory.settings else Limits()
        return max(limits.connections - self.apps(), 1)

    def _obstructed_until(self, now: float) -> float:
        """When it is worth asking Exchange; not after `now`: it is."""
        if now < self.health.paused_until:
            return self.health.paused_until
        if blocked := self.upstream.blocked():
            return blocked.until
        # Only for a message that is due: a reserved moment that is not used is lost for apps.
        return self.upstream.reserve_moment(now=now) if self.heap.due <= now else now

    def _start(self, stored: QueueEntry) -> None:
        self.upstream.begin_spooled()
        attempt = Attempt(keep=_yes, paced=True)
        task = asyncio.ensure_future(self._deliver(stored, attempt))
        self.flying[task] = stored, attempt
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        stored, _ = self.flying.pop(task)
        if not task.cancelled() and (error := task.exception()):
            self.log.failure("courier_failed", error)
            self.take(stored, after=retry.LONGEST)
        self.wake()

    async def _sleep(self, *, until: float) -> None:
        loop = asyncio.get_running_loop()
        self.waker = loop.create_future()
        timer = loop.call_at(until, self.wake) if until < NEVER else None
        try:
            await self.waker
        finally:
            self.waker = None
            if timer:
                timer.cancel()

    # --- One message ------------------------------------------------------------------------------------------------

    async def _deliver(self, stored: QueueEntry, attempt: Attempt) -> None:
        try:
            if not await self.finisher.caught_up(stored):
                raise StoreFailed
            message = await self.spool.open(stored)
            if not message.envelope.recipients:  # all are settled, and only the file is left
                message.body.close()
                await self.spool.remove(stored)
                return
        except (Damaged, Gone):
            return  # the spool has set it aside, counted it and said so
        except StoreFailed:
            self.take(stored, after=retry.DEFERRED.pause(1, self.dice))
            return
        try:
            attempt.began = self.clock.monotonic()
            result = await result_of(self.upstream, message, attempt, failed=self.log.failure)
            attempt.over = True
            self.hopeless = not self.health.learn(result) and self.last_round is not None
            self.log.event(
                "attempt",
                level="debug",
                queue_id=stored.queue_id,
                outcome=result.outcome.value,
                reason=result.reason,
                code=result.reply.code,
                enhanced=result.reply.enhanced,
            )
            if result.reason == DAMAGED:
                damage = Damaged("its file changed while it was sent; nothing was delivered")
                self.spool.set_aside(stored.queue_id, damage)
            else:
                with suppress(Damaged):
                    await self.settle(stored, message, result, attempt)
        finally:
            message.body.close()

    async def settle(self, stored: QueueEntry, message: Message, result: Result, attempt: Attempt) -> None:
        """Write down what an attempt came to, and plan the next if one is due.

        When it returns, what is on disk is true: what was taken is not sent again. Raises Damaged when the file was
        changed by hand meanwhile: it has been set aside, and there is no next attempt.
        """
        wait = self._pause(stored, result)
        try:
            again = await self.finisher.of(stored, message, result, attempt, wait=wait)
        except Gone:
            return
        except Damaged:
            raise
        except Exception as error:  # noqa: BLE001  # a defect of ours must not strand a message
            self.log.failure("courier_failed", error)
            self.take(stored, after=retry.LONGEST)
            return
        finally:  # not before: until it is written down who was served, a hang-up must not have it sent again
            self.entrusted.discard(stored)
        if not again:
            return
        if self.last_round is None:
            self.take(stored, after=wait)
        elif attempt.began < self.last_round_began:
            self.take(stored)
        elif result.outcome is Outcome.THROTTLED or result.reason == NOT_ASKED:
            self.take(stored, after=wait)  # somebody else was in the way: it has not been tried yet

    def _pause(self, stored: QueueEntry, result: Result) -> float:
        """Seconds until it is its turn again. What is not its own is waited for by all of them alike."""
        if not result.own:
            return max(result.until - self.clock.monotonic(), 0.0)
        schedule = retry.THROTTLED if result.outcome is Outcome.THROTTLED else retry.DEFERRED
        return schedule.pause(stored.attempts + 1, self.dice)

    # --- The end ----------------------------------------------------------------------------------------------------

    def begin_last_round(self, *, within: float) -> None:
        """Try everything once more, so many seconds at most; what fails now stays."""
        self.last_round_began = self.clock.monotonic()
        self.last_round = self.last_round_began + within
        self.heap.all_now()
        self.health.paused_until = 0.0
        self.wake()

    async def last_round_over(self) -> None:
        """Wait for it; what is still on its way at its end is cut off, and stays."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self.last_round):
                self.wake()
                await self.over.wait()
        self.ended = True
        for task, (_, attempt) in list(self.flying.items()):
            if not attempt.over:
                attempt.withdraw()
                task.cancel()
        if self.flying:
            await asyncio.wait(set(self.flying))
