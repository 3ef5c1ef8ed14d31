"""One message over an authenticated connection: which commands share a write, and what may be sent when.

Where PIPELINING (RFC 2920) is offered, as much as may leave together does:

- one recipient, 64 KiB at most, CHUNKING (RFC 3030), on a connection used a moment ago: MAIL, RCPT and BDAT LAST in one
  write. Once BDAT has left, an end of the connection is ambiguous; that is why it must be fresh.
- one recipient otherwise, and always for a connection's first message: MAIL, RCPT and DATA in one write, then the
  message. 354 answers DATA and nothing else, so a host that speaks out of turn is found before an octet of the message
  leaves: the check that a connection has to pass once before a 250 from it is believed with several replies due.
- several recipients: MAIL and every RCPT in one write, then the message, only if every recipient was taken, or if it is
  safe on disk for the others.

DATA and BDAT are equals: DATA where CHUNKING is missing or where BDAT itself was refused.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from o365mailer_sidecar.errors import Lost
from o365mailer_sidecar.exchange.conversation import OUT_OF_TURN, Conversation
from o365mailer_sidecar.exchange.parameters import mail_arguments, rcpt_arguments
from o365mailer_sidecar.exchange.verdict import Answers, Outcome, outcome
from o365mailer_sidecar.mail.envelope import Envelope
from o365mailer_sidecar.mail.outgoing import Outgoing
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.timeouts import TIMEOUTS, Timeouts

FLIGHT_LIMIT: Final = 2**16
"""Octets of a message that may leave before its envelope is answered: what a refusal would waste."""

BDAT_DEFECTS: Final = frozenset({500, 501, 502, 503, 504, 555})
"""Codes that speak of the command BDAT, not of the message (RFC 5321 §4.2.2), after MAIL and RCPT were taken."""


class Progress(Protocol):
    """Who is told how far a message has come, and may stop it."""

    async def divide(self) -> bool:
        """Whether the message may go to those who were taken, though not all were. Durable when it says yes."""

    def begin_body(self) -> None:
        """The first octet of the message leaves now. Raises Withdrawn."""

    def commit(self) -> None:
        """The end of data leaves now: from here on Exchange may have the message. Raises Withdrawn."""

    def refused(self) -> None:
        """Exchange has said that it did not take what was committed."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message, and the conversation that it goes into."""

    conversation: Conversation
    envelope: Envelope
    outgoing: Outgoing
    progress: Progress
    extensions: Collection[str]
    """EHLO's keywords in lower case."""
    timeouts: Timeouts = TIMEOUTS

    def _mail(self) -> bytes:
        words = mail_arguments(
            self.envelope,
            size=len(self.outgoing),
            eight_bit=self.outgoing.eight_bit,
            utf8_headers=self.outgoing.utf8_headers,
            extensions=self.extensions,
        )
        return b" ".join((b"MAIL", *words)) + b"\r\n"

    def _recipients(self) -> list[bytes]:
        return [
            b" ".join((b"RCPT", *rcpt_arguments(to, extensions=self.extensions))) + b"\r\n"
            for to in self.envelope.recipients
        ]

    async def may_follow(self, recipients: Collection[Reply]) -> bool:
        """Whether the message may be sent after these replies to RCPT: to all, or to some with the rest in safety."""
        taken = sum(outcome(reply) is Outcome.ACCEPTED for reply in recipients)
        return taken > 0 and (taken == len(recipients) or await self.progress.divide())

    @property
    def single(self) -> bool:
        """Whether there is one recipient: none can be refused beside others that are taken."""
        return len(self.envelope.recipients) == 1

    @property
    def small(self) -> bool:
        """Whether it may leave before its envelope is answered."""
        return self.single and len(self.outgoing) <= FLIGHT_LIMIT

    async def command_by_command(self) -> Answers:
        """Each command when the one before was taken."""
        ask, limits = self.conversation.ask, self.timeouts
        (sender,) = await ask(self._mail(), timeout=limits.mail)
        if outcome(sender) is not Outcome.ACCEPTED:
            return Answers(sender=sender)
        taken = [(await ask(rcpt, timeout=limits.rcpt))[0] for rcpt in self._recipients()]
        return Answers(sender=sender, recipients=tuple(taken))

    async def pipelined(self) -> Answers:
        """The envelope in one write."""
        commands = [self._mail(), *self._recipients()]
        limit = max(self.timeouts.mail, self.timeouts.rcpt)
        sender, *recipients = await self.conversation.ask(b"".join(commands), replies=len(commands), timeout=limit)
        if outcome(sender) is not Outcome.ACCEPTED:
            return Answers(sender=sender)
        return Answers(sender=sender, recipients=tuple(recipients))

    async def envelope_and_data(self) -> Answers:
        """MAIL, one RCPT and DATA in one write, then the message."""
        limits, conversation = self.timeouts, self.conversation
        conversation.say(b"".join((self._mail(), *self._recipients(), b"DATA\r\n")), replies=3)
        heard = await conversation.hear(timeout=max(limits.mail, limits.rcpt, limits.data))
        if conversation.refused:
            heard = await conversation.hear(timeout=limits.rest, every=True)
        if conversation.fault == OUT_OF_TURN or not heard:
            raise Lost(conversation.fault)
        sender, *others = heard
        taken = all(outcome(reply) is Outcome.ACCEPTED for reply in heard[:2])
        answers = Answers(sender=sender, recipients=tuple(others[:1]) if outcome(sender) is Outcome.ACCEPTED else ())
        if any(reply.code >= 400 for reply in heard[:2]):
            if heard[-1].code == 354:
                conversation.fault = OUT_OF_TURN  # it waits for a message that it has refused
            return answers
        if len(heard) < 3 or not taken or outcome(heard[2]) is Outcome.ACCEPTED:
            raise Lost(conversation.fault or OUT_OF_TURN)
        return await self._started(answers, heard[2])

    async def in_one_flight(self) -> Answers:
        """Envelope and message in one write.

        A host that refuses the envelope reads the chunk all the same, and refuses it (RFC 3030 §2): its reply is waited
        for a moment, and where it does not come the connection is not used again.
        """
        content = self.outgoing.whole()
        flight = b"".join((self._mail(), *self._recipients(), b"BDAT %d LAST\r\n" % len(content), content))
        self.progress.begin_body()
        self.progress.commit()
        self.conversation.say(flight, replies=3)
        heard = await self.conversation.hear(timeout=self.timeouts.final)
        if self.conversation.refused:
            heard = await self.conversation.hear(timeout=self.timeouts.rest, every=True)
        return self._answers(heard)

    def _answers(self, heard: list[Reply]) -> Answers:
        sender, *others = heard or [Reply(0, "", "")]
        if sender.code >= 400 or (others and others[0].code >= 400):
            if len(heard) == 3 and outcome(heard[2]) is Outcome.ACCEPTED:
                self.conversation.fault = OUT_OF_TURN  # it may have the message all the same: not sent again
            else:
                self.progress.refused()
            return Answers(sender=sender, recipients=tuple(others[:1]) if outcome(sender) is Outcome.ACCEPTED else ())
        if len(heard) < 3:
            raise Lost(self.conversation.fault)
        if not all(outcome(reply) is Outcome.ACCEPTED for reply in heard[:2]) or self._one_too_many(heard[2]):
            raise Lost(OUT_OF_TURN)
        return Answers(sender=sender, recipients=(heard[1],), final=self._final(heard[2]))

    def _one_too_many(self, final: Reply) -> bool:
        """Whether more came than was due, so that this may be RCPT's reply. A 421 behind the verdict is a farewell."""
        farewell = final.enhanced and self.conversation.octets.startswith(b"421")
        return self.conversation.fault == OUT_OF_TURN and not farewell

    async def by_data(self, taken: Answers) -> Answers:
        """The message behind an envelope that was taken."""
        (start,) = await self.conversation.ask(b"DATA\r\n", timeout=self.timeouts.data)
        return await self._started(taken, start)

    async def _started(self, taken: Answers, start: Reply) -> Answers:
        if start.code != 354:
            return Answers(sender=taken.sender, recipients=taken.recipients, start=start)
        final = await self._send(b"", self.outgoing.stuffed(), b".\r\n")
        return Answers(sender=taken.sender, recipients=taken.recipients, start=start, final=final)

    async def by_bdat(self, taken: Answers) -> Answers:
        """The same, as one chunk."""
        final = await self._send(b"BDAT %d LAST\r\n" % len(self.outgoing), self.outgoing.blocks(), b"")
        return Answers(sender=taken.sender, recipients=taken.recipients, final=final)

    async def _send(self, before: bytes, blocks: Iterator[bytes], behind: bytes) -> Reply:
        """The message and its verdict. An early verdict ends the sending, and the connection."""
        conversation, held, begun = self.conversation, before, False
        self.progress.begin_body()
        for block in blocks:
            if begun and (await self._sent(held)):
                return self._early()
            held, begun = (block if begun else held + block), True
        # The last block leaves together with the end of data: a small message is one write.
        self.progress.commit()
        self._say(held + behind)
        heard = await conversation.hear(timeout=self.timeouts.final)
        if not heard:
            raise Lost(conversation.fault)
        return self._final(heard[0])

    def _say(self, octets: bytes) -> None:
        if self.conversation.owed:
            self.conversation.go_on(octets)
        else:
            self.conversation.say(octets, replies=1)

    async def _sent(self, block: bytes) -> bool:
        """Whether the host has spoken before the message was out."""
        self._say(block)
        await self.conversation.drain(timeout=self.timeouts.block)
        return self.conversation.answered

    def _early(self) -> Reply:
        heard, fault = self.conversation.replies, self.conversation.fault
        self.conversation.fault = fault or OUT_OF_TURN
        if not heard:
            raise Lost(fault)
        if outcome(heard[0]) is Outcome.ACCEPTED:
            raise Lost("the message was accepted before it was sent")
        return heard[0]

    @staticmethod
    def _final(reply: Reply) -> Reply:
        """RFC 3463 §3.2: X.1.X is about addresses. A 250 of that kind answers MAIL or RCPT, not the message."""
        if reply.code == 250 and reply.enhanced.startswith("2.1."):
            raise Lost(OUT_OF_TURN)
        return reply
