"""Who answers for a message: the app, until it reads 250; then we do, and by then it is on disk or with Exchange.

A 250 for what is on disk never claims that Exchange has it.
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
from o365mailer_sidecar.message.policy import applied, policy_of
from o365mailer_sidecar.queue.scheduler import Scheduler
from o365mailer_sidecar.reply import Reply, shortened
from o365mailer_sidecar.spool.entry import QueueEntry
from o365mailer_sidecar.spool.spool import Spool
from o365mailer_sidecar.upstream.attempt import Attempt
from o365mailer_sidecar.upstream.blocks import TOKEN_REFUSED
from o365mailer_sidecar.upstream.result import Result
from o365mailer_sidecar.upstream.submit import Upstream

OURS: Final = ""
"""The reason of a reply behind which the message goes on: its record is written at its end."""

AppReply = tuple[Reply, str]
"""What the app is told, and the audit's reason; `OURS` where the message is not at its end."""


class QueueAcceptor:
    """The spool, as far as an app's messages are concerned."""

    def __init__(self, context: Context, spool: Spool, scheduler: Scheduler, upstream: Upstream) -> None:
        self.spool, self.scheduler, self.upstream = spool, scheduler, upstream
        self.directory, self.audit, self.clock = context.directory, context.audit, context.clock
        self.chores: set[asyncio.Task[None]] = set()

    def of(self, message: Message, attempt: Attempt) -> "PendingMessage | None":
        """The charge of a message; None while the mailbox is in doubt: then all is as without a spool."""
        return None if self.in_doubt else PendingMessage(self, message, attempt)

    @property
    def in_doubt(self) -> bool:
        """Whether the mailbox may not work at all (`doubt`)."""
        return self.scheduler.health.in_doubt

    def do(self, chore: Coroutine[Any, Any, None]) -> None:
        """Something that nobody waits for, but the end of the process."""
        task = asyncio.ensure_future(chore)
        self.chores.add(task)
        task.add_done_callback(self.chores.discard)

    async def done(self) -> None:
        """All of it."""
        while self.chores:
            await asyncio.wait(set(self.chores))


class PendingMessage:
    """One message of an app, and its place in the spool once it has one."""

    __slots__ = ("acceptor", "attempt", "message", "refusal", "storing")

    def __init__(self, acceptor: QueueAcceptor, message: Message, attempt: Attempt) -> None:
        self.acceptor, self.message, self.attempt = acceptor, message, attempt
        self.refusal = replies.BROKEN
        """What an app is told whose message found no room."""
        self.storing: asyncio.Task[QueueEntry] | None = None

    async def take(self) -> QueueEntry:
        """On disk, durably, when it returns; once, however many ask and whoever of them gives up. Raises StoreFailed.

        What failed is not tried again: an fsync that failed once may report success the second time, with the data gone
        (https://wiki.postgresql.org/wiki/Fsync_Errors).
        """
        if not self.storing:
            store = self.acceptor.spool.store(self.message)
            self.storing = asyncio.ensure_future(store)
            self.storing.add_done_callback(self._stored)
        return await asyncio.shield(self.storing)

    def _stored(self, done: asyncio.Task[QueueEntry]) -> None:
        """The courier may see it from now on. A failure that nobody waits for any more is no defect."""
        if not done.cancelled() and not done.exception():
            self.acceptor.scheduler.entrusted.add(done.result())

    async def keep(self) -> bool:
        """Take it, for who depends on it: whether it is on disk."""
        try:
            await self.take()
        except StoreFailed:
            return False
        return True

    def let_go(self) -> None:
        """The app has not read our 250: what is on disk goes."""
        if self.storing:
            self.acceptor.do(self._give_back())

    async def _give_back(self) -> None:
        if self.storing and await self.keep():
            stored = self.storing.result()
            self.acceptor.scheduler.entrusted.discard(stored)
            with suppress(Gone, StoreFailed):
                await self.acceptor.spool.remove(stored)

    # --- What the app is told ---------------------------------------------------------------------------------------

    async def without_asking(self) -> AppReply | None:
        """While there is no point in asking Exchange: on disk. What is not allowed now will not be later either."""
        blocked = self.acceptor.upstream.blocked()
        if not blocked or blocked.reason == TOKEN_REFUSED:
            return None
        settings = self.acceptor.directory.settings
        try:
            if settings:
                applied(policy_of(settings), self.message.envelope, self.message.header)
            stored = await self.take()
        except Refused as refusal:
            return refusal.reply, "policy"
        except StoreFailed as error:
            return _no_room(error), "spool"
        self.acceptor.scheduler.take(stored)
        return self._queued(blocked.reply.text)

    async def overdue(self, task: asyncio.Task[Result], *, limit: str) -> AppReply | None:
        """The app's time is over: on disk, and the attempt that is running decides. None: it has ended, or no room.

        One that still waits for its turn ends, and the courier has it: such attempts, with their bodies in memory,
        would grow in number as long as apps are quicker than Exchange.
        """
        try:
            stored = await self.take()
        except StoreFailed as error:
            self.refusal = _no_room(error)
            return None
        if task.done():
            return None
        if not self.attempt.underway and self.attempt.withdraw():
            task.cancel()
            self.acceptor.scheduler.take(stored)
        else:
            self.attempt.overdue = True
            task.add_done_callback(self._landed)
        return self._queued(f"no verdict within {limit}")

    async def stopped(self) -> AppReply | None:
        """The process ends before the attempt. On disk it is the next one's: an app that came again would double it."""
        return self._queued("the relay is stopping") if self.storing and await self.keep() else None

    def _landed(self, task: asyncio.Task[Result]) -> None:
        if not task.cancelled():  # else the process ends, and the message is on disk
            self.acceptor.scheduler.hear(task.result())
            self.acceptor.do(self._settle_unheard(task.result()))

    async def concluded(self, result: Result) -> AppReply:
        """The attempt has ended while the app waits."""
        if result.outcome in (Outcome.ACCEPTED, Outcome.REFUSED) and not result.fates:
            if self.storing:
                await self._give_back()
            return result.reply, result.reason
        if result.outcome is Outcome.UNAUTHORIZED and not self.storing and self.acceptor.in_doubt:
            return result.reply, result.reason
        try:
            await self.take()
        except StoreFailed as error:
            # Where Exchange may have it, nothing is truer than its silence.
            return (result.reply if self.attempt.committed else _no_room(error)), "spool"
        try:
            await self._settle(result)
        except Damaged as damage:
            return self._told_damaged(result, damage)
        return self._told_apart(result) if result.fates else self._queued(result.reply.text)

    async def _settle(self, result: Result) -> None:
        stored = await self.take()
        await self.acceptor.scheduler.settle(stored, self.message, result, self.attempt)

    async def _settle_unheard(self, result: Result) -> None:
        """The same when the app has read its 250 already."""
        with suppress(Damaged):  # set aside, and told
            await self._settle(result)

    def _told_damaged(self, result: Result, damage: Damaged) -> AppReply:
        """Its file was set aside. An app that sends it again would double it for those that Exchange took it for."""
        taken = sum(fate.outcome is Outcome.ACCEPTED for fate in result.fates)
        if not taken:
            reply = result.reply if self.attempt.committed else _no_room(StoreFailed(str(damage)))
            return reply, "spool"
        words = {"taken": taken, "all": len(result.fates), "reason": damage}
        return replies.filled(replies.SET_ASIDE, **words), OURS

    def _queued(self, reason: str) -> AppReply:
        self.acceptor.audit.count("queued")
        words = shortened(reason.partition(";")[0])
        return replies.filled(replies.QUEUED, reason=words), OURS

    def _told_apart(self, result: Result) -> AppReply:
        """One reply for many (RFC 5321 has one): any that was taken is a 250, and its text counts the rest."""
        counts = dict.fromkeys(Outcome, 0)
        for fate in result.fates:
            counts[fate.outcome] += 1
        taken, refused = counts[Outcome.ACCEPTED], counts[Outcome.REFUSED]
        queued = len(result.fates) - taken - refused
        if queued:
            self.acceptor.audit.count("queued")
        worst = next(fate for fate in result.fates if fate.outcome is not Outcome.ACCEPTED)
        words = shortened(f"{worst.reply.code} {worst.reply.enhanced} {worst.reply.text}")
        reply = replies.DIVIDED if taken else replies.QUEUED_DIVIDED
        numbers = {"taken": taken, "queued": queued, "refused": refused, "all": len(result.fates)}
        return replies.filled(reply, said=words, **numbers), OURS


def _no_room(error: StoreFailed) -> Reply:
    return replies.filled(replies.NO_ROOM, reason=shortened(str(error)))
