"""What an attempt means for a message in the spool: written to disk, told in the audit, and in a notice if due.

What was taken is durable before anybody relies on it: a message is sent again after a crash, not for ever.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from o365mailer_contract.names import OUTCOME_FAILED
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
from o365mailer_sidecar.upstream.attempt import Attempt
from o365mailer_sidecar.upstream.result import RecipientVerdict, Result

EXPIRED: Final = "expired"
"""The reason of a message that was tried for `delivery.spool.maxAge`."""


class Finisher:
    """One for all messages of a spool."""

    def __init__(
        self,
        context: Context,
        spool: Spool,
        *,
        queue_id: Callable[[], str],
    ) -> None:
        self.spool, self.directory, self.clock = spool, context.directory, context.clock
        self.audit, self.log, self.queue_id = context.audit, context.log, queue_id
        self.expiry = Expiry(self.clock)
        self.owed: dict[QueueEntry, Event] = {}
        """What happened and could not be written down yet: until it is, the message does not leave again."""
        self.deliver: Callable[[QueueEntry], None] = lambda _: None
        """Takes a notice; the courier puts itself here."""

    @property
    def delivery(self) -> Delivery:
        """The settings in use, or their defaults."""
        return self.directory.settings.delivery if self.directory.settings else Delivery()

    async def of(self, stored: QueueEntry, message: Message, result: Result, attempt: Attempt, *, wait: float) -> bool:
        """Whether recipients are left to try again, in `wait` seconds.

        Raises Gone when the message was taken away by hand, Damaged when its file was changed and has been set aside.
        """
        fates = result.of(message.envelope)
        self.spool.remember(stored, [fate.address for fate in fates if fate.outcome is Outcome.ACCEPTED])
        open_ = [fate for fate in fates if fate.outcome not in (Outcome.ACCEPTED, Outcome.REFUSED)]
        expired = bool(open_) and result.asked and self._expired(stored, attempt.began)
        lost = [fate for fate in fates if fate.outcome is Outcome.REFUSED or (expired and fate in open_)]
        if lost:
            await self._notify(message, lost)
        event = Event(
            at=self.clock.now(),
            event="attempt" if result.own else "note",
            outcome=result.outcome.value,
            reason=EXPIRED if expired else result.reason,
            reply=_line(result.reply),
            due=None if expired or not open_ else self.clock.now() + timedelta(seconds=wait),
            accepted=tuple(fate.address for fate in fates if fate.outcome is Outcome.ACCEPTED),
            refused={fate.address: _line(fate.reply) for fate in lost},
        )
        if open_ and not expired:
            if result.own or event.accepted or event.refused:
                await self._record(stored, event)
            return True
        self._tell(stored, message, result, attempt, lost=len(lost), reason=event.reason)
        return not await self._end(stored, event)

    def _expired(self, stored: QueueEntry, began: float) -> bool:
        max_age = seconds(self.delivery.spool.max_age)
        return self.expiry.over(stored.received, began=began, max_age=max_age)

    async def _record(self, stored: QueueEntry, event: Event) -> None:
        """Durably when somebody has been served by it: he must not be served again."""
        try:
            await self.spool.record(stored, event, durable=bool(event.accepted or event.refused))
        except StoreFailed as error:
            if event.accepted or event.refused:  # else nothing is doubled: on a full disk it must leave to make room
                self._owe(stored, event, error)

    async def _end(self, stored: QueueEntry, event: Event) -> bool:
        """Whether it has left the queue."""
        try:
            if event.refused or stored.refused:
                await self.spool.move_to_dead(stored, event)
            else:
                await self.spool.remove(stored)
        except StoreFailed as error:
            self._owe(stored, event, error)
            return False
        return True

    def _owe(self, stored: QueueEntry, event: Event, error: StoreFailed) -> None:
        if not self.owed:
            self.log.event("spool_write_failed", level="error", reason=str(error))
        self.owed[stored] = event

    async def caught_up(self, stored: QueueEntry) -> bool:
        """Whether all that happened to it is on disk. Raises Gone when nothing is left to do."""
        event = self.owed.get(stored)
        if event is None:
            return True
        try:
            del self.owed[stored]
            await self.spool.record(stored, event, durable=True)
            if not stored.recipients:
                await self.spool.remove(stored)
                raise Gone
        except StoreFailed:
            self.owed[stored] = event
            return False
        return True

    def _tell(
        self, stored: QueueEntry, message: Message, result: Result, attempt: Attempt, *, lost: int, reason: str
    ) -> None:
        dead = lost or stored.refused
        self.audit.ended(
            message.envelope,
            outcome=OUTCOME_FAILED if dead else result.outcome.value,
            reason=reason,
            reply=result.reply,
            size=stored.size,
            seconds=max((self.clock.now() - stored.received).total_seconds(), 0.0),
            attempts=stored.attempts + result.own,
            upstream=attempt.upstream,
            undelivered=lost + stored.refused,
        )

    # --- Notices ----------------------------------------------------------------------------------------------------

    async def _notify(self, message: Message, lost: list[RecipientVerdict]) -> None:
        """On disk before the failure is: a crash in between tells it twice, not never."""
        by_address = {to.address: to for to in message.envelope.recipients}
        failures = [Failure(by_address.get(fate.address, _nobody(fate)), _line(fate.reply)) for fate in lost]
        to = notice.audience(message, failures, notify=self.delivery.notify)
        settings = self.directory.settings
        if to is None or settings is None:
            return
        content = notice.composed(message, failures, mailbox=settings.mailbox, to=to)
        envelope = notice.envelope_for(to, mailbox=settings.mailbox, queue_id=self.queue_id())
        sent = Message(envelope, Body(content, not content.isascii()), self.clock.now())
        try:
            self.deliver(await self.spool.store(sent))
        except StoreFailed as error:
            self.log.event("notice_failed", level="warning", queue_id=message.queue_id, reason=str(error))


def _nobody(fate: RecipientVerdict) -> Recipient:
    return Recipient(address=fate.address)


def _line(reply: Reply) -> str:
    return " ".join(word for word in (str(reply.code), reply.enhanced, reply.text) if word)
