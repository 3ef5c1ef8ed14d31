"""What MAIL and RCPT say to Exchange: addresses and parameters, as bytes, for what it announced."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Lost, Refused
from o365mailer_sidecar.message.envelope import Envelope, Recipient
from o365mailer_sidecar.message.outgoing import Outgoing
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.protocol import OUT_OF_TURN, SmtpProtocol, line
from o365mailer_sidecar.timeouts import TIMEOUTS, Timeouts

PATH: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s<>"]++)*')
"""An address that stays within its angle brackets: spaces and brackets in quotes alone (RFC 5321 §4.1.2)."""

WORD: Final = re.compile(r"[\x21-\x7e]+")
"""A parameter that stays one."""


def mail_arguments(
    envelope: Envelope,
    *,
    size: int,
    eight_bit: bool,
    utf8_headers: bool,
    utf8_written: bool = False,
    extensions: Collection[str],
) -> list[bytes]:
    """The arguments of MAIL. `extensions` are EHLO's keywords in lower case; `size` is in bytes.

    An address or a header field in UTF-8 needs SMTPUTF8 (RFC 6531 §3.4). For what the app wrote into its header
    (`utf8_headers`) it is said where the app said it; for what the relay wrote (`utf8_written`) it is said always.

    Raises Refused when the message needs what is not announced (nothing is re-coded), and for an address or a parameter
    that would end its place in the command: Exchange would read another address than policy has judged.
    """
    words = [f"FROM:{_path(envelope.sender.address)}"]
    if "size" in extensions:
        words.append(f"SIZE={size}")
    if eight_bit and "8bitmime" not in extensions:
        raise Refused(replies.NO_8BITMIME)
    if eight_bit:
        words.append("BODY=8BITMIME")
    needed = envelope.internationalized or utf8_written or (envelope.sender.smtputf8 and utf8_headers)
    if needed and "smtputf8" not in extensions:
        only_ours = utf8_written and not envelope.internationalized
        raise Refused(replies.NO_SMTPUTF8_WRITTEN if only_ours else replies.NO_SMTPUTF8)
    if needed or (envelope.sender.smtputf8 and "smtputf8" in extensions):
        words.append("SMTPUTF8")
    if "dsn" in extensions:
        words.extend(_words(envelope.sender.parameters))
    return [word.encode() for word in words]


def rcpt_arguments(recipient: Recipient, *, extensions: Collection[str]) -> list[bytes]:
    """The arguments of RCPT. Raises Refused."""
    words = [f"TO:{_path(recipient.address)}", *(_words(recipient.parameters) if "dsn" in extensions else ())]
    return [word.encode() for word in words]


def _path(address: str) -> str:
    if not PATH.fullmatch(address):
        raise Refused(replies.NOT_ONE_COMMAND)
    return f"<{address}>"


def _words(parameters: Iterable[str]) -> Iterable[str]:
    if not all(map(WORD.fullmatch, parameters)):
        raise Refused(replies.NOT_ONE_COMMAND)
    return parameters


# --- delivery --------------------
# One message over an authenticated connection: which commands share a write, and what may be sent when.
#
# Where PIPELINING (RFC 2920) is offered:
#
# - one recipient: MAIL, RCPT and DATA in one write, then the message; - several recipients: MAIL and every RCPT in
# one write. DATA follows only when every recipient was taken, or when the message is safe on disk for the others:
# after a 354 only the end of the connection keeps the message back.
#
# The message itself leaves after the 354 that answers its own DATA. A host that closes an idle connection, as every
# host may, does so before that: the message is still ours, and goes over another connection. Rejected: BDAT (RFC
# 3030) in one write with the envelope. It saves a round trip, and makes such a close ambiguous.


class Progress(Protocol):
    """Who is told how far a message has come, and may stop it."""

    async def divide(self) -> bool:
        """Whether the message may go to those who were taken, though not all were. Durable when it says yes."""

    def begin_body(self) -> None:
        """The first byte of the message leaves now. Raises Withdrawn."""

    def commit(self) -> None:
        """The end of data leaves now: from here on Exchange may have the message. Raises Withdrawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """All replies of one transaction. What was not reached is None or missing."""

    sender: Reply
    recipients: tuple[Reply, ...] = ()
    start: Reply | None = None
    """To DATA; 354 if the message could follow."""
    final: Reply | None = None
    """To the end of data."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One message, and the conversation that it goes into."""

    protocol: SmtpProtocol
    envelope: Envelope
    outgoing: Outgoing
    progress: Progress
    extensions: Collection[str]
    """EHLO's keywords in lower case."""
    timeouts: Timeouts = TIMEOUTS

    def _mail(self) -> bytes:
        words = mail_arguments(
            self.envelope,
            size=self.outgoing.size,
            eight_bit=self.outgoing.eight_bit,
            utf8_headers=self.outgoing.utf8_headers,
            utf8_written=self.outgoing.utf8_written,
            extensions=self.extensions,
        )
        return b" ".join((b"MAIL", *words))

    def _recipients(self) -> list[bytes]:
        return [
            b" ".join((b"RCPT", *rcpt_arguments(to, extensions=self.extensions))) for to in self.envelope.recipients
        ]

    async def may_follow(self, recipients: Collection[Reply]) -> bool:
        """Whether the message may be sent after these replies to RCPT: to all, or to some with the rest in safety."""
        taken = sum(reply.positive for reply in recipients)
        return taken > 0 and (taken == len(recipients) or await self.progress.divide())

    @property
    def single(self) -> bool:
        """Whether there is one recipient: none can be refused beside others that are taken."""
        return len(self.envelope.recipients) == 1

    async def command_by_command(self) -> Answers:
        """Each command when the one before was taken."""
        ask, limits = self.protocol.ask, self.timeouts
        mail, recipients = self._mail(), self._recipients()
        for command in recipients:
            line(command)  # one that cannot be sent is found before MAIL has left
        (sender,) = await ask(mail, timeout=limits.mail)
        if not sender.positive:
            return Answers(sender=sender)
        taken = [(await ask(rcpt, timeout=limits.rcpt))[0] for rcpt in recipients]
        return Answers(sender=sender, recipients=tuple(taken))

    async def pipelined(self) -> Answers:
        """The envelope in one write."""
        limit = max(self.timeouts.mail, self.timeouts.rcpt)
        sender, *recipients = await self.protocol.ask(self._mail(), *self._recipients(), timeout=limit)
        if not sender.positive:
            return Answers(sender=sender)
        return Answers(sender=sender, recipients=tuple(recipients))

    async def envelope_and_data(self) -> Answers:
        """MAIL, one RCPT and DATA in one write, then the message."""
        limits, protocol = self.timeouts, self.protocol
        protocol.say(self._mail(), *self._recipients(), b"DATA")
        heard = await protocol.hear(timeout=max(limits.mail, limits.rcpt, limits.data))
        if protocol.refused:
            heard = await protocol.hear(timeout=limits.rest, every=True)
        if protocol.fault == OUT_OF_TURN or not heard:
            raise Lost(protocol.fault)
        sender, *others = heard
        taken = all(reply.positive for reply in heard[:2])
        answers = Answers(sender=sender, recipients=tuple(others[:1]) if sender.positive else ())
        if any(reply.code >= 400 for reply in heard[:2]):
            if heard[-1].code == 354:
                protocol.fault = OUT_OF_TURN  # it waits for a message that it has refused
            return answers
        if len(heard) < 3 or not taken or heard[2].positive:
            raise Lost(protocol.fault or OUT_OF_TURN)
        return await self._started(answers, heard[2])

    async def by_data(self, taken: Answers) -> Answers:
        """The message after an envelope that was taken."""
        (start,) = await self.protocol.ask(b"DATA", timeout=self.timeouts.data)
        return await self._started(taken, start)

    async def _started(self, taken: Answers, start: Reply) -> Answers:
        final = await self._send() if start.code == 354 else None
        return Answers(sender=taken.sender, recipients=taken.recipients, start=start, final=final)

    async def _send(self) -> Reply:
        """The message and its verdict. An early verdict ends the sending, and the connection."""
        if self.protocol.fault:  # the host has gone after its 354: the message is still ours
            raise Lost(self.protocol.fault)
        blocks = self.outgoing.stuffed()
        self.progress.begin_body()
        held = next(blocks)
        for block in blocks:
            if await self._sent(held):
                return self._early()
            held = block
        # The last block leaves together with the end of data: a small message is one write.
        self.progress.commit()
        self.protocol.send(held + b".\r\n")
        heard = await self.protocol.hear(timeout=self.timeouts.final)
        if not heard:
            raise Lost(self.protocol.fault)
        return self._final(heard[0])

    async def _sent(self, block: bytes) -> bool:
        """Whether the host has spoken before the message was out."""
        self.protocol.send(block)
        await self.protocol.drain(timeout=self.timeouts.block)
        return self.protocol.answered

    def _early(self) -> Reply:
        heard, fault = self.protocol.replies, self.protocol.fault
        self.protocol.fault = fault or OUT_OF_TURN
        if not heard:
            raise Lost(fault)
        if heard[0].positive:
            raise Lost("the message was accepted before it was sent")
        return heard[0]

    @staticmethod
    def _final(reply: Reply) -> Reply:
        """RFC 3463 §3.2: X.1.X is about addresses. A 250 of that kind answers MAIL or RCPT, not the message."""
        if reply.code == 250 and reply.enhanced.startswith("2.1."):
            raise Lost(OUT_OF_TURN)
        return reply
