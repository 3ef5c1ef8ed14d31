"""Takes a message of an app into the queue, and decides the app's reply.

Until the app reads 250, the app is responsible for the message. After it, the relay is, and the message is on disk or
with Exchange. A 250 for a message on disk never says that Exchange has it.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from o365mailer_contract.replies import Outcome
from o365mailer_sidecar import replies
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.errors import Damaged, Gone, Refused, StoreFailed
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.policy import policy_of
from o365mailer_sidecar.queue.scheduler import Scheduler
from o365mailer_sidecar.reply import Reply, shortened
from o365mailer_sidecar.spool.entry import QueueEntry
from o365mailer_sidecar.spool.spool import Spool
from o365mailer_sidecar.upstream.attempt import Attempt, Stage
from o365mailer_sidecar.upstream.blocks import TOKEN_REFUSED
from o365mailer_sidecar.upstream.result import Result
from o365mailer_sidecar.upstream.submit import Upstream

NOT_SETTLED: Final = ""
"""The audit's reason of a reply for a message that stays in the queue: its record is written when it is settled."""

AppReply = tuple[Reply, str]
"""The reply for the app, and the audit's reason or `NOT_SETTLED`."""


class QueueAcceptor:
    """The queue, as the relay uses it for messages of apps."""

    def __init__(self, context: Context, spool: Spool, scheduler: Scheduler, upstream: Upstream) -> None:
        self.spool, self.scheduler, self.upstream = spool, scheduler, upstream
        self.directory, self.audit = context.directory, context.audit
        self.background: set[asyncio.Task[None]] = set()

    def pending(self, message: Message, attempt: Attempt) -> "PendingMessage | None":
        """The message, for as long as its app waits. None while the mailbox is in doubt: then nothing is queued."""
        return None if self.in_doubt else PendingMessage(self, message, attempt)

    @property
    def in_doubt(self) -> bool:
        """Whether the mailbox may not work at all (`MailboxHealth`)."""
        return self.scheduler.health.in_doubt

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it in the background; `done` waits for it."""
        task = asyncio.ensure_future(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def done(self) -> None:
        """Wait until nothing runs in the background."""
        while self.background:
            await asyncio.wait(set(self.background))


class PendingMessage:
    """A message that an app waits for, and its place in the spool once it has one.

    The relay asks at each point where the app's reply may be due: before an attempt (`without_asking`), when the app's
    time is over (`overdue`), when the process ends (`stopped`) and after the attempt (`concluded`).
    """

    __slots__ = ("acceptor", "attempt", "message", "refusal", "storing")

    def __init__(self, acceptor: QueueAcceptor, message: Message, attempt: Attempt) -> None:
        self.acceptor, self.message, self.attempt = acceptor, message, attempt
        self.refusal = replies.BROKEN
        """The reply when there is no room for the message."""
        self.storing: asyncio.Task[QueueEntry] | None = None

    # --- On disk ----------------------------------------------------------------------------------------------------

    async def store(self) -> QueueEntry:
        """Store the message, once, however often it is called or cancelled; durable when it returns.

        Raises StoreFailed. What failed is not tried again: an fsync that failed once may report success the second
        time, with the data gone (https://wiki.postgresql.org/wiki/Fsync_Errors).
        """
        if not self.storing:
            self.storing = asyncio.ensure_future(self.acceptor.spool.store(self.message))
            self.storing.add_done_callback(self._stored)
        return await asyncio.shield(self.storing)

    def _stored(self, done: asyncio.Task[QueueEntry]) -> None:
        # `exception` also marks a failure as seen: if nothing waits for it any more, it is no defect.
        if not done.cancelled() and not done.exception():
            self.acceptor.scheduler.in_first_attempt.add(done.result())

    async def keep(self) -> bool:
        """Store the message; whether it is on disk."""
        try:
            await self.store()
        except StoreFailed:
            return False
        return True

    def let_go(self) -> None:
        """The app has gone without reading a 250: remove the message from the disk."""
        if self.storing:
            self.acceptor.run(self._remove())

    async def _remove(self) -> None:
        if self.storing and await self.keep():
            stored = self.storing.result()
            self.acceptor.scheduler.in_first_attempt.discard(stored)
            with suppress(Gone, StoreFailed):
                await self.acceptor.spool.remove(stored)

    # --- The app's reply --------------------------------------------------------------------------------------------

    async def without_asking(self) -> AppReply | None:
        """Queue the message if Exchange is not worth asking now. A policy that refuses it now would refuse it later."""
        blocked = self.acceptor.upstream.blocked()
        if not blocked or blocked.reason == TOKEN_REFUSED:
            return None
        settings = self.acceptor.directory.settings
        try:
            if settings:
                policy_of(settings).applied(self.message)
            stored = await self.store()
        except Refused as refusal:
            return refusal.reply, "policy"
        except StoreFailed as error:
            return _no_room(error), "spool"
        self.acceptor.scheduler.take(stored)
        return self._queued(blocked.reply.text)

    async def overdue(self, task: asyncio.Task[Result], *, limit: str) -> AppReply | None:
        """Queue the message when the app's time is over; None if the attempt has ended, or there is no room.

        An attempt that still waits for a connection ends, and the scheduler makes the next: such attempts, with their
        bodies in memory, would grow in number as long as apps are quicker than Exchange. One that is out goes on.
        """
        try:
            stored = await self.store()
        except StoreFailed as error:
            self.refusal = _no_room(error)
            return None
        if task.done():
            return None
        if self.attempt.stage is Stage.WAITING and self.attempt.withdraw():
            task.cancel()
            self.acceptor.scheduler.take(stored)
        else:
            self.attempt.last = True
            task.add_done_callback(self._ended_late)
        return self._queued(f"no verdict within {limit}")

    def _ended_late(self, task: asyncio.Task[Result]) -> None:
        if not task.cancelled():  # else the process ends, and the message is on disk
            self.acceptor.scheduler.hear(task.result())
            self.acceptor.run(self._settle_late(task.result()))

    async def _settle_late(self, result: Result) -> None:
        with suppress(Damaged):  # the spool has set the file aside and reported it
            await self._settle(result)

    async def stopped(self) -> AppReply | None:
        """The process ends before the attempt. A message on disk is the next process's: a 451 would double it."""
        return self._queued("the relay is stopping") if self.storing and await self.keep() else None

    async def concluded(self, result: Result) -> AppReply:
        """The attempt has ended while the app waits."""
        if result.outcome in (Outcome.ACCEPTED, Outcome.REFUSED) and not result.recipients:
            if self.storing:
                await self._remove()
            return result.reply, result.reason
        if result.outcome is Outcome.UNAUTHORIZED and not self.storing and self.acceptor.in_doubt:
            return result.reply, result.reason
        try:
            await self.store()
        except StoreFailed as error:  # if Exchange may have it, only its own reply is true
            return (result.reply if self.attempt.committed else _no_room(error)), "spool"
        try:
            await self._settle(result)
        except Damaged as damage:
            return self._set_aside(result, damage)
        return self._divided(result) if result.recipients else self._queued(result.reply.text)

    async def _settle(self, result: Result) -> None:
        await self.acceptor.scheduler.settle(await self.store(), self.message, result, self.attempt)

    def _set_aside(self, result: Result, damage: Damaged) -> AppReply:
        """The reply after the file was set aside. A 451 would double the message for recipients who have it."""
        taken = sum(each.outcome is Outcome.ACCEPTED for each in result.recipients)
        if not taken:
            reply = result.reply if self.attempt.committed else _no_room(StoreFailed(str(damage)))
            return reply, "spool"
        words = {"taken": taken, "all": len(result.recipients), "reason": damage}
        return replies.filled(replies.SET_ASIDE, **words), NOT_SETTLED

    def _queued(self, reason: str) -> AppReply:
        self.acceptor.audit.count("queued")
        words = shortened(reason.partition(";")[0])
        return replies.filled(replies.QUEUED, reason=words), NOT_SETTLED

    def _divided(self, result: Result) -> AppReply:
        """One reply for several verdicts (RFC 5321 has one): 250 if a recipient was taken; its text counts the rest."""
        counts = dict.fromkeys(Outcome, 0)
        for each in result.recipients:
            counts[each.outcome] += 1
        taken, refused = counts[Outcome.ACCEPTED], counts[Outcome.REFUSED]
        queued = len(result.recipients) - taken - refused
        if queued:
            self.acceptor.audit.count("queued")
        worst = next(each for each in result.recipients if each.outcome is not Outcome.ACCEPTED)
        words = shortened(f"{worst.reply.code} {worst.reply.enhanced} {worst.reply.text}")
        reply = replies.DIVIDED if taken else replies.QUEUED_DIVIDED
        numbers = {"taken": taken, "queued": queued, "refused": refused, "all": len(result.recipients)}
        return replies.filled(reply, said=words, **numbers), NOT_SETTLED


def _no_room(error: StoreFailed) -> Reply:
    return replies.filled(replies.NO_ROOM, reason=shortened(str(error)))
