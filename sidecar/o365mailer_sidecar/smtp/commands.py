"""The arguments of SMTP commands, read: text in, envelope parts out, or the reply that says what is wrong.

Lax where clients are known to be and nothing is at stake (spaces behind the colon, no angle brackets, a UTF-8 address
without SMTPUTF8, which Exchange is told of all the same), strict about everything that would be handed on to Exchange.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.body import BodyReader, LineEndings
from o365mailer_sidecar.message.envelope import PLAIN, QUOTED, Envelope, Recipient, Sender, domains
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.policy import Policy
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.buffers import ReadBuffer, WriteBuffer

PATH: Final = re.compile(
    rf"\s*(?:<(?:@[^\s<>:]*:)?((?:{QUOTED}|{PLAIN})*)>|((?:{QUOTED}|{PLAIN})+))(?:\s+(.*))?", re.DOTALL
)
"""A path and what follows it. A source route is dropped, as RFC 5321 appendix C allows."""

PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e]+))?", re.ASCII)
"""esmtp-param of RFC 5321 §4.1.2."""

MAIL_PARAMETERS: Final = {
    "SIZE": re.compile(r"[0-9]{1,20}"),  # RFC 1870 §5
    "BODY": re.compile(r"7BIT|8BITMIME", re.IGNORECASE),  # RFC 6152; what the octets need is looked at, not this
    "SMTPUTF8": None,  # RFC 6531 §3.4
    "RET": re.compile(r"FULL|HDRS", re.IGNORECASE),  # RFC 3461 §4.3
    "ENVID": re.compile(r"[\x21-\x7e]{1,100}"),  # RFC 3461 §4.4
    "AUTH": re.compile(r"[\x21-\x7e]+"),  # RFC 4954 §5: taken and dropped, the mailbox is who sends
}
RCPT_PARAMETERS: Final = {
    "NOTIFY": re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*", re.IGNORECASE),
    "ORCPT": re.compile(r"[A-Za-z0-9-]+;[\x21-\x7e]{1,500}"),  # RFC 3461 §4.2
}
HANDED_ON: Final = frozenset({"RET", "ENVID", "NOTIFY", "ORCPT"})


def parse_command(line: bytes) -> tuple[str, bytes]:
    """The verb in capitals, and its argument. A verb that is not ASCII letters is the empty string."""
    verb, _, argument = line.partition(b" ")
    return _verb(verb), argument.strip()


@lru_cache(maxsize=32)  # an app says the same few
def _verb(word: bytes) -> str:
    return word.decode("ascii").upper() if word.isalpha() and word.isascii() else ""


@lru_cache(maxsize=8)  # and the same of itself
def parse_sender(argument: bytes) -> tuple[Sender, int]:
    """What `MAIL` says, and the size that it announces: bytes, or 0. Raises Refused."""
    address, given = _path_and_parameters(argument, b"FROM:", MAIL_PARAMETERS, replies.MAIL_SYNTAX)
    sender = Sender(address=address, smtputf8="SMTPUTF8" in given, parameters=_handed_on(given))
    return sender, int(given.get("SIZE") or 0)


def parse_recipient(argument: bytes) -> Recipient:
    """What `RCPT` says. Raises Refused."""
    address, given = _path_and_parameters(argument, b"TO:", RCPT_PARAMETERS, replies.RCPT_SYNTAX)
    if not address:
        raise Refused(replies.RCPT_SYNTAX)
    return Recipient(address=address, parameters=_handed_on(given))


def _path_and_parameters(
    argument: bytes, keyword: bytes, known: Mapping[str, re.Pattern[str] | None], syntax: Reply
) -> tuple[str, dict[str, str]]:
    if argument[: len(keyword)].upper() != keyword:
        raise Refused(syntax)
    try:
        text = argument[len(keyword) :].decode()
    except UnicodeDecodeError:
        raise Refused(replies.NOT_UTF8) from None
    match = PATH.fullmatch(text)
    if not match:
        raise Refused(syntax)
    address = match[1] if match[1] is not None else match[2]
    # What is the domain of a@b@c? Policy would judge one reading, and a reader behind us may take the other.
    if domains(address) > 1:
        raise Refused(replies.TWO_DOMAINS)
    return address, _parameters(match[3] or "", known)


def _parameters(text: str, known: Mapping[str, re.Pattern[str] | None]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in text.split():
        match = PARAMETER.fullmatch(word)
        if not match or match[1].upper() not in known:
            raise Refused(replies.UNKNOWN_PARAMETER)
        name, value = match[1].upper(), match[2]
        if name in given:
            raise Refused(replies.PARAMETER_TWICE)
        pattern = known[name]
        if (pattern is None) != (value is None) or (pattern and not pattern.fullmatch(value)):
            raise Refused(replies.PARAMETER_VALUE)
        given[name] = value or ""
    return given


def _handed_on(given: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in given.items() if name in HANDED_ON)


# --- dialogue --------------------
# What each command of an app does: SMTP's words on one side, an envelope and a body for the relay on the other.
#
# `session` finds commands by name: `smtp_` and the verb.


HOSTNAME: Final = "localhost"
"""Ours, in greeting and EHLO; fixed, because looking it up would ask the DNS for every session."""

AUTH_LINE_LIMIT: Final = 12288
"""Octets of AUTH and its continuations (RFC 4954 §4, §4.1)."""

RECIPIENT_LIMIT: Final = 1000
"""The most that Exchange Online can be set to take for one message (Set-Mailbox -RecipientLimits)."""

CAPABILITIES: Final = ("8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES", "DSN")
"""What EHLO announces behind SIZE: always the same, whatever upstream offers."""

QUIT: Final = re.compile(rb"^QUIT[ ]*\r\n", re.IGNORECASE | re.MULTILINE)
"""The command that announces an orderly end (RFC 5321 §4.1.1.10)."""

AUTH_CAPABILITY: Final = "AUTH PLAIN LOGIN"


@lru_cache(maxsize=1)
def greeting(size_limit: int, *, offer_auth: bool = True) -> bytes:
    """The reply to EHLO: the same for everybody while the limit (octets) is."""
    lines = (HOSTNAME, f"SIZE {size_limit}", *CAPABILITIES, *((AUTH_CAPABILITY,) if offer_auth else ()))
    return "".join([*(f"250-{line}\r\n" for line in lines[:-1]), f"250 {lines[-1]}\r\n"]).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """What a message is taken on."""

    size_limit: int
    """Octets."""
    line_endings: LineEndings
    offer_auth: bool = True
    """An app that finds no AUTH sends without, or says that it cannot; one that finds it may insist on a password."""
    policy: Policy | None = None
    """None while there are no settings: the message is judged when it is sent."""
    scratch: Path | None = None
    """Where large messages go; None: the system's temporary directory."""


class MessageHandler(Protocol):
    """The port behind the counter: what a session needs of the rest."""

    def terms(self) -> SessionLimits:
        """As they are now."""

    async def submit(self, message: Message) -> Reply:
        """The final reply. Cancelled when the app has gone."""

    def refused(self, envelope: Envelope, reply: Reply, *, size: int, reason: str) -> None:
        """The session has refused the message itself. `size` in bytes, as far as it was read."""

    def dropped(self, envelope: Envelope) -> None:
        """The app has gone before its message could be submitted."""


@dataclass(slots=True)
class EnvelopeDraft:
    """An envelope while the app is still writing it."""

    queue_id: str
    sender: Sender
    size: int
    """Bytes, as announced; 0 when they were not."""
    recipients: list[Recipient] = field(default_factory=list)
    refusal: Reply | None = None
    """The reply to the last recipient that was refused."""

    def envelope(self, *, protocol: str) -> Envelope:
        """The finished envelope."""
        return Envelope(
            queue_id=self.queue_id, sender=self.sender, recipients=tuple(self.recipients), protocol=protocol
        )


class Commands:
    """The state of one conversation, and its commands. `session` reads the lines and calls them."""

    read_buffer: ReadBuffer
    write_buffer: WriteBuffer

    def __init__(
        self,
        *,
        handler: MessageHandler,
        queue_id: Callable[[], str],
        now: Callable[[], datetime],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.loop = loop
        self.handler, self.new_queue_id, self.now = handler, queue_id, now
        self.greeted = self.authenticated = False
        self.protocol_name = ""
        self.transaction: EnvelopeDraft | None = None
        self.bad_commands = 0
        self.relaying = False
        self.heard_at = loop.time()

    async def line(self, limit: int) -> bytes:
        """The app's next line without its CRLF. Raises Refused, EOFError."""
        raise NotImplementedError

    def say(self, reply: Reply, queue_id: str = "") -> None:
        """Send a reply; it leaves with the next one when commands are waiting already (RFC 2920 §3.2)."""
        self.write_buffer.put(reply.line(queue_id))

    async def smtp_EHLO(self, argument: bytes) -> None:  # noqa: N802, ARG002  # the verb, as SMTP writes it
        """Announce what this relay can; the argument is not looked at, and may be missing, as Exchange lets it be."""
        self._end_transaction()
        self.greeted, self.protocol_name = True, "ESMTP"
        terms = self.handler.terms()
        self.write_buffer.put(greeting(terms.size_limit, offer_auth=terms.offer_auth))

    async def smtp_HELO(self, argument: bytes) -> None:  # noqa: N802, ARG002
        """The greeting of old clients."""
        self._end_transaction()
        self.greeted, self.protocol_name = True, "SMTP"
        self.write_buffer.put(f"250 {HOSTNAME}\r\n".encode())

    async def smtp_MAIL(self, argument: bytes) -> None:  # noqa: N802
        """Begin a message."""
        if not self.greeted:
            raise Refused(replies.NEED_EHLO)
        if self.transaction:
            raise Refused(replies.NESTED_MAIL)
        terms = self.handler.terms()
        transaction = EnvelopeDraft(self.new_queue_id(), *parse_sender(argument))
        if transaction.size > terms.size_limit:
            reply = replies.filled(replies.TOO_BIG, limit=terms.size_limit)
            self._audit_refusal(transaction, reply, reason="content")
            raise Refused(reply)
        try:
            if terms.policy:
                terms.policy.check_sender(transaction.sender.address)
        except Refused as refusal:
            self._audit_refusal(transaction, refusal.reply, reason="policy")
            raise
        self.transaction = transaction
        self.say(replies.SENDER_OK)

    async def smtp_RCPT(self, argument: bytes) -> None:  # noqa: N802
        """Add a recipient; whether it exists is Exchange's to say."""
        if not self.transaction:
            raise Refused(replies.NEED_MAIL)
        recipient = parse_recipient(argument)
        try:
            if len(self.transaction.recipients) >= RECIPIENT_LIMIT:
                raise Refused(replies.TOO_MANY_RECIPIENTS)
            if policy := self.handler.terms().policy:
                policy.check_recipient(recipient.address, taken=len(self.transaction.recipients))
        except Refused as refusal:
            self.transaction.refusal = refusal.reply
            raise
        self.transaction.recipients.append(recipient)
        self.say(replies.RECIPIENT_OK)

    async def smtp_DATA(self, argument: bytes) -> None:  # noqa: N802
        """Take the message, and answer with its verdict."""
        transaction = self.transaction
        if not transaction:
            raise Refused(replies.NEED_MAIL)
        if argument:
            raise Refused(replies.NO_ARGUMENT)
        if not transaction.recipients:
            raise Refused(replies.NEED_RCPT)
        terms = self.handler.terms()
        reader = BodyReader(size_limit=terms.size_limit, line_endings=terms.line_endings, scratch=terms.scratch)
        envelope = transaction.envelope(protocol=self._protocol())
        try:
            if len(self.read_buffer):
                raise Refused(replies.PIPELINED_DATA, close=True)
            self.say(replies.START_DATA)
            await self._read_body(reader, limit=terms.size_limit)
            message = Message(envelope, reader.body(), self.now())
        except Refused as refusal:
            self.transaction = None
            self.handler.refused(envelope, refusal.reply, size=reader.size, reason="content")
            if refusal.close:
                raise
            self.say(refusal.reply, transaction.queue_id)
        except (EOFError, asyncio.CancelledError):
            self.transaction = None
            self.handler.dropped(envelope)
            raise
        else:
            self.transaction = None
            self.say(await self._verdict(message), transaction.queue_id)
        await self.write_buffer.drain()

    async def _read_body(self, reader: BodyReader, *, limit: int) -> None:
        """Up to the end of data. Raises Refused, EOFError."""
        await self.write_buffer.drain()
        while (behind := reader.feed(await self.read_buffer.chunk())) is None:
            if reader.size > 2 * limit:  # an app that does not stop is not waited for
                raise Refused(replies.filled(replies.TOO_BIG, limit=limit), close=True)
        self.read_buffer.put_back(behind)
        if self.has_gone():
            raise EOFError

    async def _verdict(self, message: Message) -> Reply:
        self.relaying = True
        try:
            return await self.handler.submit(message)
        finally:
            self.relaying, self.heard_at = False, self.loop.time()

    def has_gone(self) -> bool:
        """Whether the app has closed its sending side without QUIT: then nothing says that it reads what we answer."""
        return self.read_buffer.ended and not QUIT.search(self.read_buffer.octets)

    def _end_transaction(self) -> None:
        """Forget the message, which was not sent; it is in the audit if that is because of our own rules."""
        transaction, self.transaction = self.transaction, None
        if transaction and transaction.refusal:
            self._audit_refusal(transaction, transaction.refusal, reason="policy")

    def _audit_refusal(self, transaction: EnvelopeDraft, reply: Reply, *, reason: str) -> None:
        envelope = transaction.envelope(protocol=self._protocol())
        self.handler.refused(envelope, reply, size=transaction.size, reason=reason)

    def _protocol(self) -> str:
        return self.protocol_name + "A" if self.authenticated and self.protocol_name == "ESMTP" else self.protocol_name

    async def smtp_RSET(self, argument: bytes) -> None:  # noqa: N802
        """Forget the message."""
        if argument:
            raise Refused(replies.NO_ARGUMENT)
        self._end_transaction()
        self.say(replies.OK)

    async def smtp_NOOP(self, argument: bytes) -> None:  # noqa: N802, ARG002  # RFC 5321 §4.1.1.9 allows one
        """Nothing."""
        self.say(replies.OK)

    async def smtp_QUIT(self, argument: bytes) -> None:  # noqa: N802
        """End the session."""
        if argument:
            raise Refused(replies.NO_ARGUMENT)
        raise Refused(replies.BYE, close=True)

    async def smtp_HELP(self, argument: bytes) -> None:  # noqa: N802, ARG002
        """Say which commands there are."""
        self.say(replies.HELP)

    async def smtp_VRFY(self, argument: bytes) -> None:  # noqa: N802, ARG002
        """Nobody can know before Exchange does."""
        self.say(replies.VRFY)

    async def smtp_EXPN(self, argument: bytes) -> None:  # noqa: N802, ARG002
        """Lists are Exchange's."""
        raise Refused(replies.NOT_IMPLEMENTED)

    async def smtp_STARTTLS(self, argument: bytes) -> None:  # noqa: N802, ARG002
        """Never offered, and asked for all the same by apps that were configured for another host."""
        raise Refused(replies.NO_TLS)

    async def smtp_AUTH(self, argument: bytes) -> None:  # noqa: N802
        """Take any credentials and forget them: apps were configured with a password and cannot do without."""
        if not self.greeted:
            raise Refused(replies.NEED_EHLO)
        if not self.handler.terms().offer_auth:
            raise Refused(replies.AUTH_NOT_OFFERED)
        if self.authenticated:
            raise Refused(replies.AUTH_AGAIN)
        mechanism, _, initial = argument.partition(b" ")
        prompts = {b"PLAIN": (b"",), b"LOGIN": (b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6")}.get(mechanism.upper())
        if prompts is None:
            raise Refused(replies.AUTH_MECHANISM)
        for prompt in prompts[1:] if initial.strip() else prompts:
            self.write_buffer.put(b"334 " + prompt + b"\r\n")
            if await self.line(AUTH_LINE_LIMIT) == b"*":
                raise Refused(replies.AUTH_CANCELLED)
        self.authenticated = True
        self.say(replies.AUTH_OK)
