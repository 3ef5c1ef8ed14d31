"""The port between the app's side and Exchange's: who is told what, and when.

250 only after Exchange's 250. The app waits `confirmWithin` for it; then a message whose end of data is not out yet is
withdrawn (451, and it will never arrive), and one that is out is waited for (RFC 1047: a 451 now could mean two mails).

With a spool there is a second way to a 250: the message is on our disk. It is taken when Exchange is known to be away,
when it defers, when `confirmWithin` is over, and before a body leaves for only some of its recipients.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from o365mailer_contract.quantities import byte_count, seconds
from o365mailer_contract.replies import Outcome
from o365mailer_contract.settings import Delivery, Limits, Settings
from o365mailer_sidecar import replies
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.policy import policy_of
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.server import SessionLimits
from o365mailer_sidecar.upstream.attempt import Attempt
from o365mailer_sidecar.upstream.result import Result, result_of
from o365mailer_sidecar.upstream.submit import Upstream

if TYPE_CHECKING:  # without a spool its modules stay on disk: half a MiB
    from o365mailer_sidecar.queue.accept import AppReply, PendingMessage, QueueAcceptor

NOTHING: Final = Reply(0, "", "")
"""The reply of a message that nobody has judged."""


class Relay:
    """Takes messages from sessions (`dialogue.MessageHandler`)."""

    def __init__(
        self,
        context: Context,
        upstream: Upstream,
        *,
        scratch: Path | None = None,
        acceptor: "QueueAcceptor | None" = None,
    ) -> None:
        self.directory, self.log, self.audit = context.directory, context.log, context.audit
        self.monotonic = context.clock.monotonic
        self.upstream, self.scratch, self.acceptor = upstream, scratch, acceptor
        self.known: tuple[Settings | None, SessionLimits] | None = None
        self.running: dict[asyncio.Task[Result], Attempt] = {}

    def limits(self) -> SessionLimits:
        """What the settings say as they are now, or their defaults while there are none."""
        self.directory.refresh()
        settings = self.directory.settings
        if self.known is None or self.known[0] is not settings:
            limits, delivery = (settings.limits, settings.delivery) if settings else (Limits(), Delivery())
            known = SessionLimits(
                size_limit=byte_count(limits.message_size),
                line_endings=delivery.line_endings,
                offer_auth=delivery.offer_auth,
                policy=policy_of(settings) if settings else None,
                scratch=self.scratch,
            )
            self.known = settings, known
        return self.known[1]

    def refused(self, envelope: Envelope, reply: Reply, *, size: int, reason: str) -> None:
        """The session has refused the message itself: it is in the audit like those that Exchange refuses."""
        self.audit.ended(envelope, outcome=_word(reply), reason=reason, reply=reply, size=size, seconds=0.0)

    def dropped(self, envelope: Envelope) -> None:
        """The app went away before its message was complete enough to try."""
        self.audit.ended(envelope, outcome="dropped", reply=NOTHING, size=0, seconds=0.0)

    async def submit(self, message: Message) -> Reply:
        """The reply for the app. When cancelled, the app has gone: nothing sent yet is sent any more."""
        attempt = Attempt(began=self.monotonic())
        pending = self.acceptor.pending(message, attempt) if self.acceptor else None
        told = await self._unasked(message, pending) if pending else None
        reply, reason = told or await self._asked(message, attempt, pending)
        if reason:
            self._audit(message, attempt, _word(reply), reply, reason=reason)
        return reply

    async def _unasked(self, message: Message, pending: "PendingMessage") -> "AppReply | None":
        try:
            return await pending.without_asking()
        except asyncio.CancelledError:
            pending.let_go()
            self._audit(message, pending.attempt, "dropped", NOTHING)
            raise

    async def _asked(self, message: Message, attempt: Attempt, pending: "PendingMessage | None") -> "AppReply":
        attempt.keep = pending.keep if pending else None
        task = asyncio.ensure_future(result_of(self.upstream, message, attempt, failed=self.log.failure))
        self.running[task] = attempt
        task.add_done_callback(self._ran)
        try:
            return await self._within(task, attempt, pending)
        except asyncio.CancelledError:
            self._gone(message, task, attempt)
            if pending:
                pending.let_go()
            raise

    def _ran(self, task: asyncio.Task[Result]) -> None:
        # A circle that holds the body, and its file, would wait for the garbage collector.
        self.running.pop(task).keep = None

    async def _within(
        self, task: asyncio.Task[Result], attempt: Attempt, pending: "PendingMessage | None"
    ) -> "AppReply":
        settings = self.directory.settings
        limit = (settings.delivery if settings else Delivery()).confirm_within
        await _done(task, within=seconds(limit))
        if not task.done():
            if pending and (told := await pending.overdue(task, limit=limit)):
                return told
            if not task.done() and attempt.withdraw():
                task.cancel()
                late = pending.refusal if pending else replies.filled(replies.NOT_CONFIRMED, within=limit)
                return late, "time"
            await asyncio.wait({task})
        if task.cancelled():
            if pending and (told := await pending.stopped()):
                return told
            stopped = replies.filled(replies.NO_VERDICT, reason="stopping") if attempt.committed else replies.UNFINISHED
            return stopped, "stopping"
        result = task.result()
        if self.acceptor:
            self.acceptor.scheduler.hear(result)
        return await pending.concluded(result) if pending else (result.reply, result.reason)

    def _gone(self, message: Message, task: asyncio.Task[Result], attempt: Attempt) -> None:
        if attempt.withdraw():
            task.cancel()
            self._audit(message, attempt, "dropped", NOTHING)
            return

        def orphaned(done: asyncio.Task[Result]) -> None:
            reply = NOTHING if done.cancelled() else done.result().reply
            self._audit(message, attempt, "orphaned", reply)

        task.add_done_callback(orphaned)

    async def drain(self, *, within: float) -> int:
        """Wait for what is in flight; withdraw what is not out by then. How many messages stay without a verdict."""
        if self.running:
            await asyncio.wait(set(self.running), timeout=max(within, 0))
        unknown = 0
        for task, attempt in list(self.running.items()):
            unknown += not attempt.withdraw()
            task.cancel()
        return unknown

    def _audit(self, message: Message, attempt: Attempt, outcome: str, reply: Reply, *, reason: str = "") -> None:
        self.audit.ended(
            message.envelope,
            outcome=outcome,
            reason=reason,
            reply=reply,
            size=len(message.body),
            seconds=self.monotonic() - attempt.began,
            upstream=attempt.upstream,
        )


def _word(reply: Reply) -> str:
    return Outcome.ACCEPTED.value if reply.code < 300 else "deferred" if reply.code < 500 else "refused"


async def _done(task: asyncio.Task[Result], *, within: float) -> None:
    """`asyncio.wait` for one task and so many seconds, at a third of the cost."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = loop.call_later(within, wake)
    task.add_done_callback(wake)
    try:
        await waiter
    finally:
        timer.cancel()
        task.remove_done_callback(wake)
