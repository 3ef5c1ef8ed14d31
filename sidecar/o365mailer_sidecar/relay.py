"""What an app is told about its message, and when.

It gets 250 only after Exchange's 250. The app waits `confirmWithin` for it. Then a message whose end of data has not
left is withdrawn (451, and it will never arrive), and one that has left is waited for (RFC 1047: a 451 now could mean
two mails).

With a spool there is a second way to a 250: the message is on the relay's disk. It is stored there when Exchange is
known to be away, when Exchange defers it, when `confirmWithin` is over, and before a body leaves for only some of its
recipients.
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
from o365mailer_sidecar.telemetry.audit import MessageEnd
from o365mailer_sidecar.upstream.attempt import Attempt
from o365mailer_sidecar.upstream.result import Result, result_of
from o365mailer_sidecar.upstream.submit import Upstream

if TYPE_CHECKING:  # without a spool its modules stay on disk: half a MiB
    from o365mailer_sidecar.queue.accept import AppReply, PendingMessage, QueueAcceptor

NOTHING: Final = Reply(0, "", "")
"""The reply of a message that has no verdict."""


class Relay:
    """Takes messages from sessions (`smtp.commands.MessageHandler`)."""

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
        self.audit.ended(MessageEnd(envelope, _word(reply), reply, size, reason))

    def dropped(self, envelope: Envelope) -> None:
        """The app went away before its message was complete enough to try."""
        self.audit.ended(MessageEnd(envelope, "dropped", NOTHING, 0))

    async def submit(self, message: Message) -> Reply:
        """The reply for the app. Cancelled when the app has gone: a message that has not left yet is not sent."""
        attempt = Attempt(began=self.monotonic())
        pending = self.acceptor.pending(message, attempt) if self.acceptor else None
        task = None
        try:
            told = await pending.without_asking() if pending else None
            if not told:
                attempt.keep = pending.keep if pending else None
                task = asyncio.ensure_future(result_of(self.upstream, message, attempt, failed=self.log.failure))
                self.running[task] = attempt
                task.add_done_callback(self._ran)
                told = await self._answer(task, attempt, pending)
        except asyncio.CancelledError:
            self._gone(message, attempt, task)
            if pending:
                pending.let_go()
            raise
        reply, reason = told
        if reason:
            self._audit(message, attempt, _word(reply), reply, reason=reason)
        return reply

    async def _answer(
        self, task: asyncio.Task[Result], attempt: Attempt, pending: "PendingMessage | None"
    ) -> "AppReply":
        """Wait for the attempt, at most `confirmWithin` unless the message has left. Returns the reply for the app."""
        settings = self.directory.settings
        limit = (settings.delivery if settings else Delivery()).confirm_within
        await asyncio.wait({task}, timeout=seconds(limit))
        if not task.done() and pending and (told := await pending.overdue(task, limit=limit)):
            return told  # on disk: the attempt that is running decides
        if not task.done() and attempt.withdraw():
            task.cancel()
            return pending.refusal if pending else replies.filled(replies.NOT_CONFIRMED, within=limit), "time"
        if not task.done():
            await asyncio.wait({task})  # Exchange may have it: a 451 now could mean two mails
        if task.cancelled():  # the process ends
            if pending and (told := await pending.stopped()):
                return told
            words = replies.filled(replies.NO_VERDICT, reason="stopping")
            return words if attempt.committed else replies.UNFINISHED, "stopping"
        result = task.result()
        if self.acceptor:
            self.acceptor.scheduler.hear(result)
        return await pending.concluded(result) if pending else (result.reply, result.reason)

    def _ran(self, task: asyncio.Task[Result]) -> None:
        # Breaks the cycle attempt → keep → pending message → attempt, so that the body's file is closed now.
        self.running.pop(task).keep = None

    def _gone(self, message: Message, attempt: Attempt, task: asyncio.Task[Result] | None) -> None:
        """The app has gone and reads no reply. The audit says whether the message was sent."""
        if attempt.withdraw() or task is None:
            if task:
                task.cancel()
            self._audit(message, attempt, "dropped", NOTHING)
            return

        def orphaned(done: asyncio.Task[Result]) -> None:
            reply = NOTHING if done.cancelled() else done.result().reply
            self._audit(message, attempt, "orphaned", reply)

        task.add_done_callback(orphaned)

    async def drain(self, *, within: float) -> int:
        """Wait for the running attempts, `within` seconds at most, then withdraw those whose message has not left.

        Returns the number of messages that were sent and have no verdict.
        """
        if self.running:
            await asyncio.wait(set(self.running), timeout=max(within, 0))
        unknown = 0
        for task, attempt in list(self.running.items()):
            unknown += not attempt.withdraw()
            task.cancel()
        return unknown

    def _audit(self, message: Message, attempt: Attempt, outcome: str, reply: Reply, *, reason: str = "") -> None:
        spent = self.monotonic() - attempt.began
        size, upstream = len(message.body), attempt.upstream
        self.audit.ended(MessageEnd(message.envelope, outcome, reply, size, reason, spent, upstream))


def _word(reply: Reply) -> str:
    return Outcome.ACCEPTED.value if reply.code < 300 else "deferred" if reply.code < 500 else "refused"
