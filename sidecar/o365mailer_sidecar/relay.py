"""The port between the app's side and Exchange's: who is told what, and when.

250 only after Exchange's 250. The app waits `confirmWithin` for it; then a message whose end of data is not out yet is
withdrawn (451, and it will never arrive), and one that is out is waited for (RFC 1047: a 451 now could mean two mails).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from o365mailer_contract.quantities import octets, seconds
from o365mailer_contract.settings import Delivery, Limits, Settings
from o365mailer_sidecar import replies
from o365mailer_sidecar.attempt import Attempt
from o365mailer_sidecar.body import Body
from o365mailer_sidecar.dialogue import Terms
from o365mailer_sidecar.directory import MailerDirectory
from o365mailer_sidecar.envelope import Envelope
from o365mailer_sidecar.errors import Away, Held, Lost, NotReady, Refused, TokenRefused, Withdrawn
from o365mailer_sidecar.gauges import Gauges
from o365mailer_sidecar.journal import Journal
from o365mailer_sidecar.policy import policy_of
from o365mailer_sidecar.reply import Reply, shortened
from o365mailer_sidecar.upstream import Upstream
from o365mailer_sidecar.verdict import Outcome, verdict


class Relay:
    """Takes messages from sessions (`dialogue.Office`)."""

    def __init__(
        self,
        *,
        directory: MailerDirectory,
        upstream: Upstream,
        journal: Journal,
        gauges: Gauges,
        monotonic: Callable[[], float],
        scratch: Path | None = None,
    ) -> None:
        self.directory, self.upstream, self.journal, self.gauges = directory, upstream, journal, gauges
        self.monotonic, self.scratch = monotonic, scratch
        self.known: tuple[Settings | None, Terms] | None = None
        self.running: dict[asyncio.Task[Reply], Attempt] = {}

    def terms(self) -> Terms:
        """What the settings in use say, or their defaults while there are none."""
        settings = self.directory.settings
        if self.known is None or self.known[0] is not settings:
            limits, delivery = (settings.limits, settings.delivery) if settings else (Limits(), Delivery())
            terms = Terms(
                size_limit=octets(limits.message_size),
                line_endings=delivery.line_endings,
                policy=policy_of(settings) if settings else None,
                scratch=self.scratch,
            )
            self.known = settings, terms
        return self.known[1]

    def refused(self, envelope: Envelope, reply: Reply, *, size: int) -> None:
        """The session has refused the message itself: it is in the audit like those that Exchange refuses."""
        now = self.monotonic()
        self._audit(envelope, size=size, outcome=_word(reply), code=reply.code, enhanced=reply.enhanced, since=now)

    def dropped(self, envelope: Envelope) -> None:
        """The app went away before its message was complete enough to try."""
        self._audit(envelope, size=0, outcome="dropped", code=0, since=self.monotonic())

    async def submit(self, envelope: Envelope, body: Body) -> Reply:
        """The reply for the app. When cancelled, the app has gone: nothing sent yet is sent any more."""
        began, attempt = self.monotonic(), Attempt()
        task = asyncio.ensure_future(self._reply(envelope, body, attempt))
        self.running[task] = attempt
        task.add_done_callback(lambda done: self.running.pop(done, None))
        try:
            reply = await self._within(task, attempt)
        except asyncio.CancelledError:
            self._gone(envelope, body, task, attempt, began)
            raise
        word = _word(reply)
        self._audit(envelope, size=len(body), outcome=word, code=reply.code, enhanced=reply.enhanced, since=began)
        return reply

    async def _within(self, task: asyncio.Task[Reply], attempt: Attempt) -> Reply:
        settings = self.directory.settings
        limit = (settings.delivery if settings else Delivery()).confirm_within
        await _done(task, within=seconds(limit))
        if not task.done() and attempt.withdraw():
            task.cancel()
            return replies.filled(replies.NOT_CONFIRMED, within=limit)
        if not task.done():
            await asyncio.wait({task})
        if not task.cancelled():
            return task.result()
        return replies.filled(replies.NO_VERDICT, reason="stopping") if attempt.committed else replies.UNFINISHED

    async def _reply(self, envelope: Envelope, body: Body, attempt: Attempt) -> Reply:
        """What Exchange says, or why it says nothing, as one reply."""
        try:
            return verdict(*await self.upstream.transact(envelope, body, attempt))
        except Refused as refusal:
            return refusal.reply
        except NotReady as error:
            return replies.filled(replies.NOT_READY, reason=shortened(str(error)))
        except TokenRefused as error:
            mailbox = self.directory.settings.mailbox if self.directory.settings else ""
            return replies.filled(replies.TOKEN_REFUSED, mailbox=mailbox, answer=shortened(str(error)))
        except Away as error:
            return replies.filled(replies.AWAY, reason=shortened(str(error)))
        except Held as error:
            return error.reply
        except Lost as error:
            reply = replies.NO_VERDICT if attempt.committed else replies.LOST
            return replies.filled(reply, reason=shortened(str(error)))
        except Withdrawn:
            return replies.UNFINISHED
        except Exception as error:  # noqa: BLE001  # the app must get a reply, and never a 250 for a defect of ours
            self.journal.failure("relay_failed", error)
            return replies.BROKEN

    def _gone(self, envelope: Envelope, body: Body, task: asyncio.Task[Reply], attempt: Attempt, began: float) -> None:
        if attempt.withdraw():
            task.cancel()
            self._audit(envelope, size=len(body), outcome="dropped", code=0, since=began)
            return

        def orphaned(done: asyncio.Task[Reply]) -> None:
            code = 0 if done.cancelled() else done.result().code
            self._audit(envelope, size=len(body), outcome="orphaned", code=code, since=began)

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

    def _audit(
        self, envelope: Envelope, *, size: int, outcome: str, code: int, since: float, enhanced: str = ""
    ) -> None:
        """One record a message: no address, no header, no body."""
        self.gauges.count("messages_total", f'outcome="{outcome}"')
        if outcome == Outcome.ACCEPTED.value:
            self.gauges.count("message_bytes_total", by=size)
        self.journal.event(
            "message",
            queue_id=envelope.queue_id,
            outcome=outcome,
            code=code,
            enhanced=enhanced,
            size=size,
            recipients=len(envelope.recipients),
            seconds=round(self.monotonic() - since, 3),
        )


def _word(reply: Reply) -> str:
    return Outcome.ACCEPTED.value if reply.code < 300 else "deferred" if reply.code < 500 else "refused"


async def _done(task: asyncio.Task[Reply], *, within: float) -> None:
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
