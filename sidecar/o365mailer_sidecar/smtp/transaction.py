"""One mail transaction as the client runs it (RFC 5321 §3.3): MAIL, RCPT, DATA, the message.

If the host offers PIPELINING (RFC 2920), commands share a write:

- One recipient: MAIL, RCPT and DATA.
- Several recipients: MAIL and every RCPT. DATA follows if the host accepts all of them, or if the message is safe on
  disk for the others: after a 354 only the end of the connection keeps the message back.

The message leaves after the 354 that answers its own DATA. If the host has closed an idle connection, which it may, the
client notices before that, and the message goes over another connection. Rejected: BDAT (RFC 3030) in one write with
MAIL and RCPT. It saves a round trip, but then such a close no longer tells whether the host has the message.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Lost, Refused
from o365mailer_sidecar.message.envelope import ADDRESS, PARAMETER, Recipient
from o365mailer_sidecar.message.outgoing import Outgoing
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.protocol import Fault, SmtpProtocol, line
from o365mailer_sidecar.timeouts import Timeouts


class Answers(NamedTuple):
    """All replies of one transaction. What was not reached is None or missing."""

    sender: Reply
    recipients: Sequence[Reply] = ()
    start: Reply | None = None
    """To DATA; 354 if the message could follow."""
    final: Reply | None = None
    """To the end of data."""


class Progress(Protocol):
    """Told how far a message has come; may stop it."""

    async def divide(self) -> bool:
        """Whether the message may go to the accepted recipients alone. If so, it is on disk for the others."""

    def begin_body(self) -> None:
        """The first byte of the message leaves now. Raises Withdrawn."""

    def commit(self) -> None:
        """The end of data leaves now: from here on the host may have the message. Raises Withdrawn."""


def mail_command(outgoing: Outgoing, extensions: Collection[str]) -> bytes:
    """MAIL for this message. `extensions` are EHLO's keywords in lower case.

    An address or a header field in UTF-8 needs SMTPUTF8 (RFC 6531 §3.4). For what the app wrote into its header, the
    parameter is given if the app gave it; for what the relay wrote, always.

    Raises Refused if the host does not announce what the message needs (nothing is re-coded), and for an address or a
    parameter that would end its place in the command: the host would read another address than policy has checked.
    """
    envelope = outgoing.envelope
    sender = envelope.sender
    words = [f"MAIL FROM:{_path(sender.address)}"]
    if "size" in extensions:
        words.append(f"SIZE={outgoing.size}")
    if outgoing.eight_bit:
        if "8bitmime" not in extensions:
            raise Refused(replies.NO_8BITMIME)
        words.append("BODY=8BITMIME")
    needed = envelope.internationalized or outgoing.utf8_written or (sender.smtputf8 and outgoing.utf8_headers)
    if needed and "smtputf8" not in extensions:
        only_ours = outgoing.utf8_written and not envelope.internationalized
        raise Refused(replies.NO_SMTPUTF8_WRITTEN if only_ours else replies.NO_SMTPUTF8)
    if needed or (sender.smtputf8 and "smtputf8" in extensions):
        words.append("SMTPUTF8")
    if "dsn" in extensions and sender.parameters:
        words.extend(_words(sender.parameters))
    return " ".join(words).encode()


def rcpt_command(recipient: Recipient, extensions: Collection[str]) -> bytes:
    """RCPT for this recipient. Raises Refused as `mail_command` does for an address or a parameter."""
    words = [f"RCPT TO:{_path(recipient.address)}"]
    if "dsn" in extensions and recipient.parameters:
        words.extend(_words(recipient.parameters))
    return " ".join(words).encode()


def _path(address: str) -> str:
    if not ADDRESS.fullmatch(address):
        raise Refused(replies.NOT_ONE_COMMAND)
    return f"<{address}>"


def _words(parameters: Iterable[str]) -> Iterable[str]:
    if not all(map(PARAMETER.fullmatch, parameters)):
        raise Refused(replies.NOT_ONE_COMMAND)
    return parameters


class Transaction:
    """One message on an authenticated connection whose host announced these extensions."""

    def __init__(
        self,
        protocol: SmtpProtocol,
        outgoing: Outgoing,
        progress: Progress,
        extensions: Collection[str],
        limits: Timeouts,
    ) -> None:
        self.protocol, self.outgoing, self.progress, self.limits = protocol, outgoing, progress, limits
        self.pipelining = "pipelining" in extensions
        self.mail = mail_command(outgoing, extensions)
        self.recipients = [rcpt_command(to, extensions) for to in outgoing.envelope.recipients]

    async def run(self) -> Answers:
        """Offer the message; send it if every recipient is accepted, or if `progress` allows less.

        Raises Lost, Refused, and what `progress` raises.
        """
        if self.pipelining and len(self.recipients) == 1:
            return await self._all_at_once()
        answers = await (self._pipelined() if self.pipelining else self._one_by_one())
        accepted = sum(reply.positive for reply in answers.recipients)
        if not accepted or (accepted < len(answers.recipients) and not await self.progress.divide()):
            return answers
        (start,) = await self.protocol.ask(b"DATA", timeout=self.limits.data)
        return await self._started(answers, start)

    async def _one_by_one(self) -> Answers:
        for command in self.recipients:
            line(command)  # one that must not be sent is found before MAIL has left
        (sender,) = await self.protocol.ask(self.mail, timeout=self.limits.mail)
        if not sender.positive:
            return Answers(sender)
        return Answers(
            sender, [(await self.protocol.ask(rcpt, timeout=self.limits.rcpt))[0] for rcpt in self.recipients]
        )

    async def _pipelined(self) -> Answers:
        limit = max(self.limits.mail, self.limits.rcpt)
        sender, *recipients = await self.protocol.ask(self.mail, *self.recipients, timeout=limit)
        return Answers(sender, recipients if sender.positive else ())

    async def _all_at_once(self) -> Answers:
        """MAIL, one RCPT and DATA in one write, then the message."""
        limits, protocol = self.limits, self.protocol
        protocol.say(self.mail, *self.recipients, b"DATA")
        heard = await protocol.hear(timeout=max(limits.mail, limits.rcpt, limits.data))
        if protocol.refused:
            heard = await protocol.hear(timeout=limits.rest, every=True)
        if protocol.fault is Fault.OUT_OF_TURN or not heard:
            raise Lost(protocol.why)
        sender, recipients = heard[0], heard[1:2]
        answers = Answers(sender, recipients if sender.positive else ())
        if sender.code >= 400 or (recipients and recipients[0].code >= 400):
            if heard[-1].code == 354:
                protocol.fail(Fault.OUT_OF_TURN)  # it waits for a message that it has refused
            return answers
        if len(heard) < 3 or not (sender.positive and recipients[0].positive) or heard[2].positive:
            protocol.fail(Fault.OUT_OF_TURN)
            raise Lost(protocol.why)
        return await self._started(answers, heard[2])

    async def _started(self, answers: Answers, start: Reply) -> Answers:
        """The message after a 354."""
        if start.code != 354:
            return answers._replace(start=start)
        protocol, progress = self.protocol, self.progress
        if protocol.fault:  # the host has gone after its 354: it does not have the message
            raise Lost(protocol.why)
        blocks = self.outgoing.stuffed()
        progress.begin_body()
        held = next(blocks)
        for block in blocks:
            protocol.send(held)
            if not await protocol.drained(timeout=self.limits.block):
                return answers._replace(start=start, final=self._early())
            held = block
        # The last block leaves together with the end of data: a small message is one write.
        progress.commit()
        protocol.send(held + b".\r\n")
        heard = await protocol.hear(timeout=self.limits.final)
        if not heard:
            raise Lost(protocol.why)
        final = heard[0]
        # RFC 3463 §3.2: X.1.X is about addresses. A 250 of that kind answers MAIL or RCPT, not the message.
        if final.code == 250 and final.enhanced.startswith("2.1."):
            raise Lost(Fault.OUT_OF_TURN.value)
        return Answers(answers.sender, answers.recipients, start, final)

    def _early(self) -> Reply:
        """A refusal before the message was sent whole. It ends the connection."""
        heard = self.protocol.replies
        self.protocol.fail(Fault.OUT_OF_TURN)
        if not heard:
            raise Lost(self.protocol.why)
        if heard[0].positive:
            raise Lost("the message was accepted before it was sent")
        return heard[0]
