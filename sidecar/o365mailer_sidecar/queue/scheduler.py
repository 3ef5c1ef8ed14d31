"""Delivers spooled messages: by due time, a few at once.

The scheduler sleeps until a message is due, Exchange is worth asking again, a message comes in, or the mailer directory
changes. A deferred message waits on its own schedule (`retry`) and delays no other. What is not a message's own (no
token, Exchange cannot be reached, sending is paused) delays all of them: then one message is the probe, and the others
wait for its result.
"""

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
from o365mailer_sidecar.upstream.attempt import Attempt, Stage
from o365mailer_sidecar.upstream.blocks import NOT_ASKED
from o365mailer_sidecar.upstream.result import DAMAGED, Result, result_of
from o365mailer_sidecar.upstream.submit import Upstream

NEVER: Final = float("inf")


async def _yes() -> bool:
    return True


class Scheduler:
    """Times are those of the event loop, in seconds. `apps` counts the messages that apps wait for."""

    def __init__(
        self,
        context: Context,
        spool: Spool,
        upstream: Upstream,
        *,
        new_queue_id: Callable[[], str],
        apps: Callable[[], int],
    ) -> None:
        self.spool, self.upstream, self.apps = spool, upstream, apps
        self.directory, self.clock, self.dice, self.log = context.directory, context.clock, context.dice, context.log
        self.finisher = Finisher(context, spool, new_queue_id=new_queue_id, deliver=self.take)
        self.health = MailboxHealth(context, waiting=lambda: len(spool.messages))
        self.waiting: list[tuple[float, int, QueueEntry]] = []
        """A heap by due time, then by order of arrival. A message on hold is never due."""
        self.arrivals = 0
        self.running: dict[asyncio.Task[None], tuple[QueueEntry, Attempt]] = {}
        self.in_first_attempt: set[QueueEntry] = set()
        """In the spool while the attempt for the app is still running: the scheduler does not start another."""
        self.waker: asyncio.Future[None] | None = None
        self.recovered = False
        """All messages that were there at the start wait here."""
        self.last_round: tuple[float, float] | None = None
        """When the last round began and when it ends: everything is tried once more before the process ends."""
        self.hopeless = False
        """The last round cannot reach Exchange."""
        self.over = asyncio.Event()
        self.ended = False
        """The time of the last round is over: the result of another attempt could not be written down any more."""

    # --- What comes in ----------------------------------------------------------------------------------------------

    def take(self, stored: QueueEntry, *, after: float = 0.0) -> None:
        """Deliver this message, in `after` seconds at the earliest."""
        self.in_first_attempt.discard(stored)
        self.arrivals += 1
        due = NEVER if stored.held else self.clock.monotonic() + after
        heappush(self.waiting, (due, self.arrivals, stored))
        self.wake()

    def wake(self) -> None:
        """Look again whether a message can be sent: the mailer directory or the number of apps has changed."""
        if self.waker and not self.waker.done():
            self.waker.set_result(None)

    def hear(self, result: Result) -> None:
        """Learn from the result of an app's attempt: if Exchange could be reached, spooled messages can go too."""
        paused = self.health.paused_until
        self.health.hear(result)
        if paused and not self.health.paused_until:
            self.wake()

    def look_again(self) -> None:
        """End a pause: the mailer directory, or a person, has changed what may have been its reason."""
        self.health.paused_until = 0.0
        self.wake()

    def forget(self, gone: Collection[QueueEntry]) -> None:
        """Stop waiting for these messages: they have left the spool."""
        self.waiting = [entry for entry in self.waiting if entry[2] not in gone]
        heapify(self.waiting)

    def is_being_sent(self, stored: QueueEntry) -> bool:
        """Whether an attempt is running, the scheduler's or an app's."""
        return stored in self.in_first_attempt or any(stored is sent for sent, _ in self.running.values())

    def all_recovered(self) -> None:
        """Note that the scheduler has every message that was in the spool at the start."""
        self.recovered = True
        self.wake()

    # --- Which message, and when ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            until = self._start_what_is_due()
            self.waker = loop.create_future()
            timer = loop.call_at(until, self.wake) if until < NEVER else None
            try:
                await self.waker
            finally:
                self.waker = None
                if timer:
                    timer.cancel()

    def _start_what_is_due(self) -> float:
        """Start the attempts that can start. Returns the time until which there is nothing more to do."""
        wait = NEVER
        while self.waiting and len(self.running) < self._lanes() and not (self.hopeless or self.ended):
            now = self.clock.monotonic()
            wait = max(self.waiting[0][0], self._blocked_until(now))
            if wait > now:
                break
            self._start(heappop(self.waiting)[2])
            wait = NEVER
        if self.last_round:
            in_vain = self.hopeless or (self.waiting and wait > self.last_round[1])
            done = not self.running and (in_vain or (self.recovered and not self.waiting))
            (self.over.set if done else self.over.clear)()
        return wait

    def _lanes(self) -> int:
        """How many messages at once: one while it is a probe, else the connections that apps leave, at least one."""
        if self.health.failures:
            return 1
        limits = self.directory.settings.limits if self.directory.settings else Limits()
        return max(limits.connections - self.apps(), 1)

    def _blocked_until(self, now: float) -> float:
        """The time from which an attempt makes sense; `now` or earlier if it makes sense already."""
        if now < self.health.paused_until:
            return self.health.paused_until
        if blocked := self.upstream.blocked():
            return blocked.until
        # Only for a message that is due: a reserved moment that is not used is lost for apps.
        return self.upstream.reserve_moment(now=now) if self.waiting[0][0] <= now else now

    def _start(self, stored: QueueEntry) -> None:
        self.upstream.begin_spooled()
        attempt = Attempt(keep=_yes, paced=True)
        task = asyncio.ensure_future(self._deliver(stored, attempt))
        self.running[task] = stored, attempt
        task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        stored, _ = self.running.pop(task)
        if not task.cancelled() and (error := task.exception()):
            self.log.failure("scheduler_failed", error)
            self.take(stored, after=retry.LONGEST)
        self.wake()

    # --- One message ------------------------------------------------------------------------------------------------

    async def _deliver(self, stored: QueueEntry, attempt: Attempt) -> None:
        try:
            await self.finisher.catch_up(stored)
            message = await self.spool.open(stored)
            if not message.envelope.recipients:  # all are settled, and only the file is left
                message.body.close()
                await self.spool.remove(stored)
                return
        except (Damaged, Gone):
            return  # the spool has set it aside or struck it off, and reported it
        except StoreFailed:
            self.take(stored, after=retry.DEFERRED.pause(1, self.dice))
            return
        try:
            attempt.began = self.clock.monotonic()
            result = await result_of(self.upstream, message, attempt, failed=self.log.failure)
            attempt.settle()
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
        """Write down the result of an attempt, and plan the next attempt if recipients are due.

        When it returns, the file is true: a recipient who has the message does not get it again. Raises Damaged when a
        person changed the file meanwhile: it has been set aside, and there is no next attempt.
        """
        wait = self._pause(stored, result)
        try:
            due = await self.finisher.finish(stored, message, result, attempt, wait=wait)
        except Gone:
            return
        except Damaged:
            raise
        except Exception as error:  # noqa: BLE001  # a defect of ours must not strand a message
            self.log.failure("scheduler_failed", error)
            self.take(stored, after=retry.LONGEST)
            return
        finally:  # not before: until the result is written down, SIGHUP must not have the message sent again
            self.in_first_attempt.discard(stored)
        if not due:
            return
        if not self.last_round:
            self.take(stored, after=wait)
        elif attempt.began < self.last_round[0]:
            self.take(stored)
        elif result.outcome is Outcome.THROTTLED or result.reason == NOT_ASKED:
            self.take(stored, after=wait)  # it has not been tried yet: other pods used the mailbox

    def _pause(self, stored: QueueEntry, result: Result) -> float:
        """Seconds until the next attempt. A pause that is not the message's own ends for all messages alike."""
        if not result.own:
            return max(result.until - self.clock.monotonic(), 0.0)
        schedule = retry.THROTTLED if result.outcome is Outcome.THROTTLED else retry.DEFERRED
        return schedule.pause(stored.attempts + 1, self.dice)

    # --- The end ----------------------------------------------------------------------------------------------------

    def begin_last_round(self, *, within: float) -> None:
        """Try everything that is not on hold once more, for `within` seconds at most; what fails now stays."""
        now = self.clock.monotonic()
        self.last_round = now, now + within
        self.waiting = [(0.0, number, stored) for _, number, stored in sorted(self.waiting) if not stored.held]
        self.look_again()

    async def last_round_over(self) -> None:
        """Wait for the last round; a message that is still on its way at its end is cut off, and stays."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self.last_round[1] if self.last_round else None):
                self.wake()
                await self.over.wait()
        self.ended = True
        for task, (_, attempt) in list(self.running.items()):
            if attempt.stage is not Stage.SETTLED:
                attempt.withdraw()
                task.cancel()
        if self.running:
            await asyncio.wait(set(self.running))
