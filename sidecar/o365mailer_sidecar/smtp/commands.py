"""The commands of an app: how their arguments are read, and what each command does.

The relay accepts harmless mistakes that known clients make: spaces after the colon, no angle brackets, a UTF-8 address
without SMTPUTF8 (the relay says SMTPUTF8 to Exchange). It is strict about everything that goes on to Exchange.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Final

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.body import BodyReader
from o365mailer_sidecar.message.envelope import PLAIN, QUOTED, Envelope, Recipient, Sender, domains
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.buffers import ReadBuffer, WriteBuffer
from o365mailer_sidecar.smtp.server import SmtpServer

PATH: Final = re.compile(
    rf"\s*(?:<(?:@[^\s<>:]*:)?((?:{QUOTED}|{PLAIN})*)>|((?:{QUOTED}|{PLAIN})+))(?:\s+(.*))?", re.DOTALL
)
"""A path and what follows it. A source route is dropped, as RFC 5321 appendix C allows."""

PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e]+))?", re.ASCII)
"""esmtp-param of RFC 5321 §4.1.2."""

MAIL_PARAMETERS: Final = {
    "SIZE": re.compile(r"[0-9]{1,20}"),  # RFC 1870 §5
    "BODY": re.compile(r"7BIT|8BITMIME", re.IGNORECASE),  # RFC 6152; the bytes themselves say what they need
    "SMTPUTF8": None,  # RFC 6531 §3.4
    "RET": re.compile(r"FULL|HDRS", re.IGNORECASE),  # RFC 3461 §4.3
    "ENVID": re.compile(r"[\x21-\x7e]{1,100}"),  # RFC 3461 §4.4
    "AUTH": re.compile(r"[\x21-\x7e]+"),  # RFC 4954 §5: accepted and dropped, the mailbox is the sender
}
RCPT_PARAMETERS: Final = {
    "NOTIFY": re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*", re.IGNORECASE),
    "ORCPT": re.compile(r"[A-Za-z0-9-]+;[\x21-\x7e]{1,500}"),  # RFC 3461 §4.2
}
HANDED_ON: Final = frozenset({"RET", "ENVID", "NOTIFY", "ORCPT"})

HOSTNAME: Final = "localhost"
"""Ours, in greeting and EHLO; fixed, because looking it up would ask the DNS for every session."""

AUTH_LINE_LIMIT: Final = 12288
"""Bytes of AUTH and its continuations (RFC 4954 §4, §4.1)."""

RECIPIENT_LIMIT: Final = 1000
"""The most that Exchange Online can be set to accept for one message (Set-Mailbox -RecipientLimits)."""

CAPABILITIES: Final = ("8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES", "DSN")
"""What EHLO announces after SIZE: always the same, whatever upstream offers."""

AUTH_CAPABILITY: Final = "AUTH PLAIN LOGIN"

AUTH_PROMPTS: Final = {b"PLAIN": (b"",), b"LOGIN": (b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6")}
"""What each mechanism asks for (RFC 4616; LOGIN asks for "Username:" and "Password:" in base64)."""

QUIT: Final = re.compile(rb"^QUIT[ ]*\r\n", re.IGNORECASE | re.MULTILINE)
"""The command that announces an orderly end (RFC 5321 §4.1.1.10)."""


@lru_cache(maxsize=1)
def greeting(size_limit: int, *, offer_auth: bool = True) -> bytes:
    """The reply to EHLO; `size_limit` is in bytes."""
    lines = (HOSTNAME, f"SIZE {size_limit}", *CAPABILITIES, *((AUTH_CAPABILITY,) if offer_auth else ()))
    return "".join([*(f"250-{line}\r\n" for line in lines[:-1]), f"250 {lines[-1]}\r\n"]).encode()


class Commands:
    """The state of one session's dialogue. The session reads the lines; `obey` does what they say."""

    def __init__(
        self,
        server: SmtpServer,
        read_buffer: ReadBuffer,
        write_buffer: WriteBuffer,
        *,
        line: Callable[[int], Awaitable[bytes]],
    ) -> None:
        self.server, self.handler = server, server.handler
        self.read_buffer, self.write_buffer, self.line = read_buffer, write_buffer, line
        self.protocol = ""
        """SMTP or ESMTP by the app's greeting; empty before that."""
        self.authenticated = False
        self.finished = False
        """The app has said QUIT."""
        self.relaying = False
        """A message waits for its verdict."""
        # The mail transaction (RFC 5321 §3.3), while there is a sender:
        self.sender: Sender | None = None
        self.queue_id = ""
        self.size = 0
        """Bytes, as MAIL announced them; 0 when it announced none."""
        self.recipients: list[Recipient] = []
        self.refusal: Reply | None = None
        """The reply to the last recipient that was refused."""

    def say(self, reply: Reply, queue_id: str = "") -> None:
        """Send a reply; it leaves with the next one when commands are waiting already (RFC 2920 §3.2)."""
        self.write_buffer.pending.append(reply.line(queue_id))

    def app_has_gone(self) -> bool:
        """Whether the app has closed its sending side without QUIT: then it may not read the reply."""
        return self.read_buffer.ended and not QUIT.search(self.read_buffer.data)

    async def obey(self, line: bytes) -> None:
        """Do what one line says, without its CRLF. Raises Refused as the command does, and for an unknown one."""
        verb, _, argument = line.partition(b" ")
        command = COMMANDS.get(verb.upper())
        if not command:
            raise Refused(replies.UNKNOWN_COMMAND)
        await command(self, argument.strip())

    # --- Before a message ---------------------------------------------------------------------------------------------

    async def ehlo(self, argument: bytes) -> None:  # noqa: ARG002
        """Announce what the relay can. The argument is not looked at, and may be missing, as with Exchange."""
        self.end_transaction()
        self.protocol = "ESMTP"
        limits = self.handler.limits()
        self.write_buffer.pending.append(greeting(limits.size_limit, offer_auth=limits.offer_auth))

    async def helo(self, argument: bytes) -> None:  # noqa: ARG002
        """Greet a client that knows no ESMTP."""
        self.end_transaction()
        self.protocol = "SMTP"
        self.write_buffer.pending.append(f"250 {HOSTNAME}\r\n".encode())

    async def auth(self, argument: bytes) -> None:
        """Accept any credentials and forget them: an app that is configured with a password may insist on a login.

        Raises Refused out of order, for a mechanism that is not offered, and when the app cancels.
        """
        if not self.protocol:
            raise Refused(replies.NEED_EHLO)
        if not self.handler.limits().offer_auth:
            raise Refused(replies.AUTH_NOT_OFFERED)
        if self.authenticated:
            raise Refused(replies.AUTH_AGAIN)
        mechanism, _, initial = argument.partition(b" ")
        prompts = AUTH_PROMPTS.get(mechanism.upper())
        if prompts is None:
            raise Refused(replies.AUTH_MECHANISM)
        for prompt in prompts[1:] if initial.strip() else prompts:
            self.write_buffer.pending.append(b"334 " + prompt + b"\r\n")
            if await self.line(AUTH_LINE_LIMIT) == b"*":
                raise Refused(replies.AUTH_CANCELLED)
        self.authenticated = True
        self.say(replies.AUTH_OK)

    # --- A message ----------------------------------------------------------------------------------------------------

    async def mail(self, argument: bytes) -> None:
        """Begin a message. Raises Refused out of order, for bad syntax, and for a sender that may not send."""
        if not self.protocol:
            raise Refused(replies.NEED_EHLO)
        if self.sender:
            raise Refused(replies.NESTED_MAIL)
        limits = self.handler.limits()
        self.sender, self.size = parse_sender(argument)
        self.queue_id, self.recipients, self.refusal = self.server.queue_id(), [], None
        try:
            if self.size > limits.size_limit:
                raise Refused(replies.filled(replies.TOO_BIG, limit=limits.size_limit))
            if limits.policy:
                limits.policy.check_sender(self.sender.address)
        except Refused as refusal:
            reason = "content" if self.size > limits.size_limit else "policy"
            self.handler.refused(self._envelope(), refusal.reply, size=self.size, reason=reason)
            raise
        self.say(replies.SENDER_OK)

    async def rcpt(self, argument: bytes) -> None:
        """Add a recipient; whether it exists is for Exchange to say.

        Raises Refused out of order, for bad syntax, for a domain that is not allowed, and for one recipient too many.
        """
        if not self.sender:
            raise Refused(replies.NEED_MAIL)
        recipient = parse_recipient(argument)
        try:
            if len(self.recipients) >= RECIPIENT_LIMIT:
                raise Refused(replies.TOO_MANY_RECIPIENTS)
            if policy := self.handler.limits().policy:
                policy.check_recipient(recipient.address, taken=len(self.recipients))
        except Refused as refusal:
            self.refusal = refusal.reply
            raise
        self.recipients.append(recipient)
        self.say(replies.RECIPIENT_OK)

    async def data(self, argument: bytes) -> None:
        """Read the message, hand it to the relay, and answer with the verdict.

        Raises Refused out of order, and where the session must end; EOFError and CancelledError when the app has gone.
        """
        if not self.sender:
            raise Refused(replies.NEED_MAIL)
        if argument:
            raise Refused(replies.NO_ARGUMENT)
        if not self.recipients:
            raise Refused(replies.NEED_RCPT)
        limits, envelope = self.handler.limits(), self._envelope()
        reader = BodyReader(size_limit=limits.size_limit, line_endings=limits.line_endings, scratch=limits.scratch)
        try:
            await self._read_body(reader)
            message = Message(envelope, reader.body(), self.server.now())
        except Refused as refusal:
            self.handler.refused(envelope, refusal.reply, size=reader.size, reason="content")
            if refusal.close:
                raise
            self.say(refusal.reply, envelope.queue_id)
        except (EOFError, asyncio.CancelledError):
            self.handler.dropped(envelope)
            raise
        else:
            self.relaying = True
            try:
                reply = await self.handler.submit(message)
            finally:
                self.relaying = False
            self.say(reply, envelope.queue_id)
        await self.write_buffer.drain()

    async def _read_body(self, reader: BodyReader) -> None:
        """From 354 to the end of data. Raises Refused, EOFError."""
        if self.read_buffer.data:
            raise Refused(replies.PIPELINED_DATA, close=True)
        self.say(replies.START_DATA)
        await self.write_buffer.drain()
        while (after := reader.feed(await self.read_buffer.chunk())) is None:
            if reader.size > 2 * reader.size_limit:  # an app that does not stop is not waited for
                raise Refused(replies.filled(replies.TOO_BIG, limit=reader.size_limit), close=True)
        if after:
            self.read_buffer.put_back(after)
        if self.app_has_gone():
            raise EOFError

    def _envelope(self) -> Envelope:
        """The envelope from the commands so far. Ends the transaction."""
        assert self.sender  # noqa: S101  # for the type checker
        protocol = "ESMTPA" if self.authenticated and self.protocol == "ESMTP" else self.protocol
        envelope = Envelope(
            queue_id=self.queue_id, sender=self.sender, recipients=tuple(self.recipients), protocol=protocol
        )
        self.sender = None
        return envelope

    def end_transaction(self) -> None:
        """Forget a message that was not sent. If our own rules refused a recipient, the audit gets a record."""
        if self.sender and self.refusal:
            self.handler.refused(self._envelope(), self.refusal, size=self.size, reason="policy")
        self.sender = None

    async def rset(self, argument: bytes) -> None:
        """Forget the message. Raises Refused for an argument."""
        if argument:
            raise Refused(replies.NO_ARGUMENT)
        self.end_transaction()
        self.say(replies.OK)

    # --- The rest -----------------------------------------------------------------------------------------------------

    async def noop(self, argument: bytes) -> None:  # noqa: ARG002  # RFC 5321 §4.1.1.9 allows one
        """Answer, and do nothing."""
        self.say(replies.OK)

    async def quit(self, argument: bytes) -> None:
        """End the session. Raises Refused for an argument."""
        if argument:
            raise Refused(replies.NO_ARGUMENT)
        self.finished = True
        self.say(replies.BYE)

    async def help(self, argument: bytes) -> None:  # noqa: ARG002
        """Say which commands there are."""
        self.say(replies.HELP)

    async def vrfy(self, argument: bytes) -> None:  # noqa: ARG002
        """Say that only Exchange can know."""
        self.say(replies.VRFY)

    async def expn(self, argument: bytes) -> None:  # noqa: ARG002
        """Raises Refused: lists are Exchange's."""
        raise Refused(replies.NOT_IMPLEMENTED)

    async def starttls(self, argument: bytes) -> None:  # noqa: ARG002
        """Raises Refused: never offered, but apps that were configured for another host ask for it."""
        raise Refused(replies.NO_TLS)


COMMANDS: Final[dict[bytes, Callable[[Commands, bytes], Awaitable[None]]]] = {
    b"EHLO": Commands.ehlo,
    b"HELO": Commands.helo,
    b"AUTH": Commands.auth,
    b"MAIL": Commands.mail,
    b"RCPT": Commands.rcpt,
    b"DATA": Commands.data,
    b"RSET": Commands.rset,
    b"NOOP": Commands.noop,
    b"QUIT": Commands.quit,
    b"HELP": Commands.help,
    b"VRFY": Commands.vrfy,
    b"EXPN": Commands.expn,
    b"STARTTLS": Commands.starttls,
}

# --- Arguments --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)  # an app says the same few
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
    return Recipient(address=address, parameters=_handed_on(given) if given else ())


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
    # What is the domain of a@b@c? Policy would judge one reading, and a reader after us may take the other.
    if domains(address) > 1:
        raise Refused(replies.TWO_DOMAINS)
    return address, _parameters(match[3], known) if match[3] else {}


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
