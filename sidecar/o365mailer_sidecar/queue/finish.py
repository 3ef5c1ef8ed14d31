"""What the relay does after each attempt to deliver a spooled message.

It writes the result to disk, then keeps the message for a retry, removes it, or moves it to the dead letters; then the
message has its audit record, and a notice is in the spool if the mailer asks for one. A recipient who has the message
is on disk as such before anything else happens: after a crash the relay sends a message again, but not for ever.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from o365mailer_contract.names import OUTCOME_DEAD
from o365mailer_contract.quantities import seconds
from o365mailer_contract.replies import Outcome
from o365mailer_contract.settings import Delivery
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.errors import Gone, StoreFailed
from o365mailer_sidecar.message.body import Body
from o365mailer_sidecar.message.envelope import Recipient
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.queue import notice
from o365mailer_sidecar.queue.notice import Failure
from o365mailer_sidecar.queue.retry import Expiry
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.spool.entry import Event, QueueEntry
from o365mailer_sidecar.spool.spool import Spool
from o365mailer_sidecar.telemetry.audit import MessageEnd
from o365mailer_sidecar.upstream.attempt import Attempt
from o365mailer_sidecar.upstream.result import RecipientVerdict, Result

EXPIRED: Final = "expired"
"""The reason of a message that the relay has tried for `delivery.spool.maxAge`."""


class Finisher:
    """Finishes attempts for all messages of a spool. `deliver` takes a notice that is in the spool."""

    def __init__(
        self, context: Context, spool: Spool, *, new_queue_id: Callable[[], str], deliver: Callable[[QueueEntry], None]
    ) -> None:
        self.spool, self.directory, self.clock = spool, context.directory, context.clock
        self.audit, self.log = context.audit, context.log
        self.new_queue_id, self.deliver = new_queue_id, deliver
        self.expiry = Expiry(self.clock)
        self.unwritten: dict[QueueEntry, Event] = {}
        """Results that the disk did not take: the message is not sent again until it does."""

    @property
    def delivery(self) -> Delivery:
        """The settings in use, or their defaults."""
        return self.directory.settings.delivery if self.directory.settings else Delivery()

    async def finish(
        self, stored: QueueEntry, message: Message, result: Result, attempt: Attempt, *, wait: float
    ) -> bool:
        """Write down the result of an attempt; whether the message stays queued, for an attempt in `wait` seconds.

        Raises Gone when a person has removed the message, Damaged when its file was changed and has been set aside.
        """
        verdicts = result.of(message.envelope)
        accepted = tuple(each.address for each in verdicts if each.outcome is Outcome.ACCEPTED)
        self.spool.remember(stored, accepted)
        due = [each for each in verdicts if each.outcome not in (Outcome.ACCEPTED, Outcome.REFUSED)]
        max_age = seconds(self.delivery.spool.max_age)
        expired = bool(due) and result.asked and self.expiry.over(stored.received, began=attempt.began, max_age=max_age)
        failed = [each for each in verdicts if each.outcome is Outcome.REFUSED or (expired and each in due)]
        if failed:
            await self._notify(message, failed)
        retried = bool(due) and not expired
        event = Event(
            at=self.clock.now(),
            event="attempt" if result.own else "note",
            outcome=result.outcome.value,
            reason=EXPIRED if expired else result.reason,
            reply=_text(result.reply),
            due=self.clock.now() + timedelta(seconds=wait) if retried else None,
            accepted=accepted,
            refused={each.address: _text(each.reply) for each in failed},
        )
        if retried:
            if result.own or event.accepted or event.refused:
                await self._record(stored, event)
            return True
        undelivered = len(failed) + stored.refused
        end = MessageEnd(
            message.envelope,
            outcome=OUTCOME_DEAD if undelivered else result.outcome.value,
            reason=event.reason,
            reply=result.reply,
            size=stored.size,
            seconds=max((self.clock.now() - stored.received).total_seconds(), 0.0),
            attempts=stored.attempts + result.own,
            upstream=attempt.upstream,
            undelivered=undelivered,
        )
        self.audit.ended(end)
        return not await self._leave(stored, event)

    async def _record(self, stored: QueueEntry, event: Event) -> None:
        """Append the event, synced if a recipient is settled: after a crash that recipient must not get it twice."""
        settles = bool(event.accepted or event.refused)
        try:
            await self.spool.record(stored, event, durable=settles)
        except StoreFailed as error:
            if settles:  # else the message may be sent again: on a full disk it must leave to make room
                self._write_later(stored, event, error)

    async def _leave(self, stored: QueueEntry, event: Event) -> bool:
        """Remove the message or move it to the dead letters. Returns whether it has left the queue."""
        try:
            if event.refused or stored.refused:
                await self.spool.move_to_dead(stored, event)
            else:
                await self.spool.remove(stored)
        except StoreFailed as error:
            self._write_later(stored, event, error)
            return False
        return True

    def _write_later(self, stored: QueueEntry, event: Event, error: StoreFailed) -> None:
        if not self.unwritten:
            self.log.event("spool_write_failed", level="error", reason=str(error))
        self.unwritten[stored] = event

    async def catch_up(self, stored: QueueEntry) -> None:
        """Write the result of the last attempt if the disk did not take it then.

        Raises StoreFailed when it does not take it now, Gone when no recipient is due, Damaged.
        """
        event = self.unwritten.pop(stored, None)
        if event is None:
            return
        try:
            await self.spool.record(stored, event, durable=True)
            if not stored.recipients:
                await self.spool.remove(stored)
                raise Gone
        except StoreFailed:
            self.unwritten[stored] = event
            raise

    async def _notify(self, message: Message, failed: list[RecipientVerdict]) -> None:
        """Store the notice before the failure is on disk: after a crash there are two notices rather than none."""
        recipients = {to.address: to for to in message.envelope.recipients}
        failures = [
            Failure(recipients.get(each.address) or Recipient(address=each.address), _text(each.reply))
            for each in failed
        ]
        to = notice.addressee(message, failures, notify=self.delivery.notify)
        settings = self.directory.settings
        if to is None or settings is None:
            return
        content = notice.composed(message, failures, mailbox=settings.mailbox, to=to)
        envelope = notice.envelope_for(to, mailbox=settings.mailbox, queue_id=self.new_queue_id())
        sent = Message(envelope, Body(content, not content.isascii()), self.clock.now())
        try:
            self.deliver(await self.spool.store(sent))
        except StoreFailed as error:
            self.log.event("notice_failed", level="warning", queue_id=message.queue_id, reason=str(error))


def _text(reply: Reply) -> str:
    return " ".join(word for word in (str(reply.code), reply.enhanced, reply.text) if word)
