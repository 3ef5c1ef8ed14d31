"""One SMTP session with an app: aiosmtpd's protocol, with a command loop of our own.

aiosmtpd 1.4.6 takes a lone LF as a command's end and LF, CR and NUL in a message, and answers DSN parameters with 555;
its loop and its commands are therefore replaced by name, which is why pyproject.toml pins its minor version.

A loopback port is a target of request forgery (a browser or a URL fetcher that can be made to talk to it), so a session
that begins like HTTP or TLS, talks before the greeting, or sends a message before 354, is closed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiosmtpd.smtp import SMTP

from o365mailer_sidecar import commands, replies
from o365mailer_sidecar.body import Body, BodyReader, LineEndings
from o365mailer_sidecar.envelope import Envelope, Transaction
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.inbox import Inbox
from o365mailer_sidecar.journal import Journal
from o365mailer_sidecar.reply import Reply

HOSTNAME: Final = "localhost"
"""Ours, in greeting and EHLO; fixed, because looking it up would ask the DNS for every session."""

LINE_LIMIT: Final = 2048
"""Octets of a command with its CRLF: RFC 5321 §4.5.3.1.4 and what SIZE, SMTPUTF8 and DSN add to it."""

AUTH_LINE_LIMIT: Final = 12288
"""Octets of AUTH and its continuations (RFC 4954 §4, §4.1)."""

RECIPIENT_LIMIT: Final = 1000
"""The most that Exchange Online can be set to take for one message (Set-Mailbox -RecipientLimits)."""

BAD_COMMAND_LIMIT: Final = 20
"""Refused commands in a session without a message in between."""

TURN: Final = 50
"""Commands after which a session that pipelines them lets others have their turn."""

IDLE_LIMIT: Final = 300.0
"""Seconds without an octet from the app (RFC 5321 §4.5.3.2.7)."""

HTTP_METHODS: Final = frozenset({"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PRI"})

TLS_HANDSHAKE: Final = b"\x16"
"""The first octet of a TLS hello (RFC 8446 §5.1), and of no SMTP command."""

CAPABILITIES: Final = ("8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES", "DSN", "AUTH PLAIN LOGIN")
"""What EHLO announces behind SIZE: always the same, whatever upstream offers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a message is taken on."""

    size_limit: int
    """Octets."""
    line_endings: LineEndings


class Office(Protocol):
    """The port behind the counter: what a session needs of the rest."""

    def terms(self) -> Terms:
        """As they are now."""

    async def submit(self, envelope: Envelope, body: Body) -> Reply:
        """The final reply. Cancelled when the app has gone."""

    def dropped(self, envelope: Envelope) -> None:
        """The app has gone before its message could be submitted."""


class Session(SMTP):
    """One connection of an app."""

    def __init__(
        self,
        *,
        office: Office,
        journal: Journal,
        queue_id: Callable[[], str],
        sessions: set["Session"],
        session_limit: int,
        idle_limit: float = IDLE_LIMIT,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(None, hostname=HOSTNAME, ident="ESMTP", timeout=idle_limit, loop=loop)
        self.office, self.journal, self.new_queue_id = office, journal, queue_id
        self.sessions, self.session_limit, self.idle_limit = sessions, session_limit, idle_limit
        self.greeted = self.authenticated = self.stopping = False
        self.protocol_name = ""
        self.transaction: Transaction | None = None
        self.bad_commands = self.lines = 0
        self.waiting_for_command = False
        self.relaying = False
        self.heard_at = loop.time()
        self.over: asyncio.Future[None] = loop.create_future()

    # --- The connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """An app has connected."""
        self.inbox = Inbox(pause=transport.pause_reading, resume=transport.resume_reading)
        self.sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """The app has gone; aiosmtpd cancels our loop, which withdraws a message that is not sent yet."""
        self.sessions.discard(self)
        if not self.over.done():
            self.over.set_result(None)
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Octets of the app."""
        self.heard_at = self.loop.time()
        self.inbox.feed(data)

    def eof_received(self) -> bool | None:
        """The app has closed its side: nothing that we say can be relied on to reach it.

        Commands that it sent before are still carried out; a message that waits for its verdict is withdrawn.
        """
        self.inbox.end()
        if self.relaying and self._handler_coroutine:
            self._handler_coroutine.cancel()
        return True

    def _timeout_cb(self) -> None:
        """aiosmtpd's timer, armed once: it looks when octets came last instead of being reset at every command."""
        silent = 0.0 if self.relaying else self.loop.time() - self.heard_at
        if silent < self.idle_limit:
            self._timeout_handle = self.loop.call_later(self.idle_limit - silent, self._timeout_cb)
            return
        self._writer.write(replies.IDLE.line())
        self._writer.close()

    def stop(self) -> None:
        """End the session as soon as it has no message in hand."""
        self.stopping = True
        if self.waiting_for_command and not self.transaction:
            self._writer.write(replies.STOPPING.line())
            self._writer.close()

    def abort(self) -> None:
        """End the session at once."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    # --- The command loop ---------------------------------------------------------------------------------------------

    async def _handle_client(self) -> None:
        try:
            await self._serve()
        except Refused as refusal:
            self._writer.write(refusal.reply.line())
        except (EOFError, ConnectionError):
            pass
        except Exception as error:  # noqa: BLE001  # one broken session must not be anybody else's
            self.journal.failure("session_failed", error)
            self._writer.write(replies.INTERNAL.line())
        finally:
            self._writer.close()

    async def _serve(self) -> None:
        await self._greet()
        while self.bad_commands < BAD_COMMAND_LIMIT:
            if self.stopping and not self.transaction:
                raise Refused(replies.STOPPING)
            try:
                self.waiting_for_command = True
                line = await self._line(LINE_LIMIT)
                self.waiting_for_command = False
                await self._obey(line)
            except Refused as refusal:
                if refusal.close:
                    raise
                self.bad_commands += refusal.reply.code >= 500  # RFC 5321 §4.2.1
                await self.say(refusal.reply)
        raise Refused(replies.TOO_MANY_ERRORS)

    async def _greet(self) -> None:
        # Two turns of the loop: what the app sent before it could know the greeting has arrived by then.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if len(self.inbox):
            self._check_foreign(bytes(self.inbox.octets[:16]))
            raise Refused(replies.EARLY_TALKER)
        if len(self.sessions) > self.session_limit:
            raise Refused(replies.TOO_MANY_SESSIONS)
        await self.push(f"220 {HOSTNAME} ESMTP o365mailer")

    def _check_foreign(self, octets: bytes) -> None:
        if octets.startswith(TLS_HANDSHAKE):
            raise Refused(replies.TLS_HELLO, close=True)
        if octets.partition(b" ")[0].decode("ascii", "replace") in HTTP_METHODS:
            raise Refused(replies.HTTP, close=True)

    async def _line(self, limit: int) -> bytes:
        """One command without its CRLF. Raises Refused: what does not end with CRLF could mean two things."""
        await self._writer.drain()  # an app that does not read is not answered without end
        self.lines += 1
        if self.lines % TURN == 0:
            await asyncio.sleep(0)
        self._check_foreign(await self.inbox.first())  # a TLS hello may hold no LF to wait for
        line = await self.inbox.line(limit=AUTH_LINE_LIMIT)
        self._check_foreign(line)
        if not line.endswith(b"\n"):
            raise Refused(replies.LINE_TOO_LONG, close=True)
        for octet, reply in ((b"\0", replies.LINE_NUL), (b"\r", replies.LINE_LONE_CR)):
            if octet in line.removesuffix(b"\r\n"):
                raise Refused(reply, close=True)
        if not line.endswith(b"\r\n"):
            raise Refused(replies.LINE_LONE_LF, close=True)
        if len(line) > limit and line[:5].upper() != b"AUTH ":
            raise Refused(replies.LINE_TOO_LONG)
        return line[:-2]

    async def _obey(self, line: bytes) -> None:
        verb, argument = commands.command(line)
        method = self._smtp_methods.get(verb)
        if method is None:
            raise Refused(replies.UNKNOWN_COMMAND)
        await method(argument)

    async def say(self, reply: Reply, queue_id: str = "") -> None:
        """Send a reply; it leaves with the next one when commands are waiting already (RFC 2920 §3.2)."""
        self._writer.write(reply.line(queue_id))

    # --- Commands ---------------------------------------------------------------------------------------------------

    async def smtp_EHLO(self, argument: bytes) -> None:  # noqa: N802  # aiosmtpd finds commands by name
        """Announce what this relay can; the argument is never judged, only wanted."""
        if not argument:
            raise Refused(replies.EHLO_SYNTAX)
        self.greeted, self.protocol_name, self.transaction = True, "ESMTP", None
        lines = (HOSTNAME, f"SIZE {self.office.terms().size_limit}", *CAPABILITIES)
        for line in lines[:-1]:
            self._writer.write(f"250-{line}\r\n".encode())
        self._writer.write(f"250 {lines[-1]}\r\n".encode())

    async def smtp_HELO(self, argument: bytes) -> None:  # noqa: N802
        """The greeting of old clients."""
        if not argument:
            raise Refused(replies.EHLO_SYNTAX)
        self.greeted, self.protocol_name, self.transaction = True, "SMTP", None
        self._writer.write(f"250 {HOSTNAME}\r\n".encode())

    async def smtp_MAIL(self, argument: bytes) -> None:  # noqa: N802
        """Begin a message."""
        if not self.greeted:
            raise Refused(replies.NEED_EHLO)
        if self.transaction:
            raise Refused(replies.NESTED_MAIL)
        sender = commands.sender(argument, size_limit=self.office.terms().size_limit)
        self.transaction = Transaction(self.new_queue_id(), sender)
        await self.say(replies.SENDER_OK)

    async def smtp_RCPT(self, argument: bytes) -> None:  # noqa: N802
        """Add a recipient; whether it exists is Exchange's to say."""
        if not self.transaction:
            raise Refused(replies.NEED_MAIL)
        recipient = commands.recipient(argument, smtputf8=self.transaction.sender.smtputf8)
        if len(self.transaction.recipients) >= RECIPIENT_LIMIT:
            raise Refused(replies.TOO_MANY_RECIPIENTS)
        self.transaction.recipients.append(recipient)
        await self.say(replies.RECIPIENT_OK)

    async def smtp_DATA(self, argument: bytes) -> None:  # noqa: N802
        """Take the message, and answer with its verdict."""
        transaction = self.transaction
        if not transaction:
            raise Refused(replies.NEED_MAIL)
        if argument:
            raise Refused(replies.NO_ARGUMENT)
        if not transaction.recipients:
            raise Refused(replies.NEED_RCPT)
        if len(self.inbox):
            raise Refused(replies.PIPELINED_DATA, close=True)
        await self.say(replies.START_DATA)
        reader = await self._read_body()
        self.transaction = None
        await self.say(await self._verdict(transaction, reader), transaction.queue_id)
        await self._writer.drain()

    async def _read_body(self) -> BodyReader:
        await self._writer.drain()
        terms = self.office.terms()
        reader = BodyReader(size_limit=terms.size_limit, line_endings=terms.line_endings)
        while (behind := reader.feed(await self.inbox.chunk())) is None:
            if reader.size > 2 * terms.size_limit:  # an app that does not stop is not waited for
                raise Refused(replies.filled(replies.TOO_BIG, limit=terms.size_limit), close=True)
        self.inbox.put_back(behind)
        return reader

    async def _verdict(self, transaction: Transaction, reader: BodyReader) -> Reply:
        envelope = transaction.envelope(protocol=self._protocol())
        if self.inbox.ended:
            self.office.dropped(envelope)
            raise EOFError
        self.relaying = True
        try:
            reply = await self.office.submit(envelope, reader.body())
        except Refused as refusal:
            reply = refusal.reply
        finally:
            self.relaying, self.heard_at = False, self.loop.time()
        self.bad_commands = 0
        return reply

    def _protocol(self) -> str:
        return self.protocol_name + "A" if self.authenticated and self.protocol_name == "ESMTP" else self.protocol_name

    async def smtp_RSET(self, argument: bytes) -> None:  # noqa: N802
        """Forget the message."""
        if argument:
            raise Refused(replies.NO_ARGUMENT)
        self.transaction = None
        await self.say(replies.OK)

    async def smtp_NOOP(self, argument: bytes) -> None:  # noqa: N802, ARG002  # RFC 5321 §4.1.1.9 allows one
        """Nothing."""
        await self.say(replies.OK)

    async def smtp_QUIT(self, argument: bytes) -> None:  # noqa: N802
        """End the session."""
        if argument:
            raise Refused(replies.NO_ARGUMENT)
        raise Refused(replies.BYE, close=True)

    async def smtp_HELP(self, argument: bytes) -> None:  # noqa: N802, ARG002
        """Say which commands there are."""
        await self.say(replies.HELP)

    async def smtp_VRFY(self, argument: bytes) -> None:  # noqa: N802, ARG002
        """Nobody can know before Exchange does."""
        await self.say(replies.VRFY)

    async def smtp_EXPN(self, argument: Any) -> None:  # noqa: N802, ARG002
        """Lists are Exchange's."""
        raise Refused(replies.NOT_IMPLEMENTED)

    async def smtp_STARTTLS(self, argument: bytes) -> None:  # noqa: N802, ARG002
        """Never offered, and asked for all the same by apps that were configured for another host."""
        raise Refused(replies.NO_TLS)

    async def smtp_AUTH(self, argument: bytes) -> None:  # noqa: N802
        """Take any credentials and forget them: apps were configured with a password and cannot do without."""
        if not self.greeted:
            raise Refused(replies.NEED_EHLO)
        if self.authenticated:
            raise Refused(replies.AUTH_AGAIN)
        mechanism, _, initial = argument.partition(b" ")
        prompts = {b"PLAIN": (b"",), b"LOGIN": (b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6")}.get(mechanism.upper())
        if prompts is None:
            raise Refused(replies.AUTH_MECHANISM)
        for prompt in prompts[1:] if initial.strip() else prompts:
            self._writer.write(b"334 " + prompt + b"\r\n")
            if await self._line(AUTH_LINE_LIMIT) == b"*":
                raise Refused(replies.AUTH_CANCELLED)
        self.authenticated = True
        await self.say(replies.AUTH_OK)
