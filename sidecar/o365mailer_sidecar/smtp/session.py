"""One SMTP session with an app: a protocol and a command loop of our own.

aiosmtpd was left when nothing but its constructor was in use: 1.4.6 takes a lone LF as a command's end, LF, CR and NUL
in a message, answers DSN parameters with 555, knows no PIPELINING, resets a timer at every command, and each connection
costs 83 µs for looking up its own methods (measured 2026-11-23).

A loopback port is a target of request forgery (a browser or a URL fetcher that can be made to talk to it), so a session
that begins like HTTP or TLS, talks before the greeting, or sends a message before 354, is closed.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, cast

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp import commands
from o365mailer_sidecar.smtp.buffers import ReadBuffer, WriteBuffer
from o365mailer_sidecar.smtp.commands import AUTH_LINE_LIMIT, HOSTNAME, Commands, MessageHandler
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.timeouts import TIMEOUTS, Timeouts

LINE_LIMIT: Final = 2048
"""Octets of a command with its CRLF: RFC 5321 §4.5.3.1.4 and what SIZE, SMTPUTF8 and DSN add to it."""

BAD_COMMAND_LIMIT: Final = 20
"""Errors of syntax or order without a command that was taken in between."""

TURN: Final = 50
"""Commands after which a session that pipelines them lets others have their turn."""

HTTP_METHODS: Final = frozenset(
    {b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE", b"PRI"}
)

GREETING: Final = f"220 {HOSTNAME} ESMTP o365mailer\r\n".encode()

FOREIGN: Final = re.compile(rb"\x16|(?:%s)(?: |\Z)" % b"|".join(sorted(HTTP_METHODS)))
"""What no SMTP client begins a line with."""

TLS_HANDSHAKE: Final = b"\x16"
"""The first octet of a TLS hello (RFC 8446 §5.1), and of no SMTP command."""


class Session(Commands, asyncio.Protocol):
    """One connection of an app."""

    def __init__(
        self,
        *,
        handler: MessageHandler,
        log: EventLog,
        queue_id: Callable[[], str],
        now: Callable[[], datetime],
        sessions: set["Session"],
        session_limit: int,
        timeouts: Timeouts = TIMEOUTS,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(handler=handler, queue_id=queue_id, now=now, loop=loop)
        self.log = log
        self.sessions, self.session_limit, self.timeouts = sessions, session_limit, timeouts
        self.stopping = self.waiting_for_command = False
        self.lines = 0
        self.over: asyncio.Future[None] = loop.create_future()

    # --- The connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """An app has connected."""
        self.transport = cast(asyncio.Transport, transport)
        self.read_buffer = ReadBuffer(pause=self.transport.pause_reading, resume=self.transport.resume_reading)
        self.write_buffer = WriteBuffer(self.transport)
        self.sessions.add(self)
        self.timer = self.loop.call_later(self.timeouts.idle, self._look_at_silence)
        self.task = self.loop.create_task(self._handle())

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # why does not matter
        """The app has gone: a message that is not sent yet is withdrawn."""
        self.sessions.discard(self)
        self.timer.cancel()
        self.task.cancel()
        self.write_buffer.resume()
        if not self.over.done():
            self.over.set_result(None)

    def pause_writing(self) -> None:
        """The app does not read."""
        self.write_buffer.pause()

    def resume_writing(self) -> None:
        """It does again."""
        self.write_buffer.resume()

    def data_received(self, data: bytes) -> None:
        """Octets of the app."""
        self.heard_at = self.loop.time()
        self.read_buffer.feed(data)

    def eof_received(self) -> bool | None:
        """The app has closed its sending side.

        Commands that it sent before are still carried out; a message that waits for its verdict is withdrawn, unless
        the app has said QUIT after it, and so waits for the reply.
        """
        self.read_buffer.end()
        if self.relaying and self.has_gone():
            self.task.cancel()
        return True

    def _look_at_silence(self) -> None:
        """One timer a session: it looks when octets came last instead of being reset by every command."""
        silent = 0.0 if self.relaying else self.loop.time() - self.heard_at
        if silent < self.timeouts.idle:
            self.timer = self.loop.call_later(self.timeouts.idle - silent, self._look_at_silence)
            return
        if self.transport.is_closing():  # it does not even take our last words
            self.abort()
            return
        self._farewell(replies.IDLE)
        self.timer = self.loop.call_later(self.timeouts.farewell, self._look_at_silence)

    def _farewell(self, reply: Reply) -> None:
        self.say(reply)
        self.write_buffer.close()

    def stop(self) -> None:
        """End the session as soon as it has no message in hand."""
        self.stopping = True
        if self.waiting_for_command and not self.transaction:
            self._farewell(replies.STOPPING)

    def abort(self) -> None:
        """End the session at once."""
        self.transport.abort()

    # --- The command loop ---------------------------------------------------------------------------------------------

    async def _handle(self) -> None:
        try:
            await self._serve()
        except Refused as refusal:
            self.say(refusal.reply)
        except (EOFError, ConnectionError):
            pass
        except Exception as error:  # noqa: BLE001  # one broken session must not be anybody else's
            self.log.failure("session_failed", error)
            self.say(replies.INTERNAL)
        finally:
            self._end_transaction()
            self.write_buffer.close()

    async def _serve(self) -> None:
        await self._greet()
        while self.bad_commands < BAD_COMMAND_LIMIT:
            if self.stopping and not self.transaction:
                raise Refused(replies.STOPPING)
            try:
                self.waiting_for_command = True
                line = await self.line(LINE_LIMIT)
                self.waiting_for_command = False
                await self._obey(line)
            except Refused as refusal:
                if refusal.close:
                    raise
                self.bad_commands += _of_protocol(refusal.reply)
                self.say(refusal.reply)
            else:
                self.bad_commands = 0
        raise Refused(replies.TOO_MANY_ERRORS)

    async def _greet(self) -> None:
        # Two turns of the loop: what the app sent before it could know the greeting has arrived by then.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if len(self.read_buffer):
            self._check_foreign(bytes(self.read_buffer.octets[:16]))
            raise Refused(replies.EARLY_TALKER)
        if len(self.sessions) > self.session_limit:
            raise Refused(replies.TOO_MANY_SESSIONS)
        self.write_buffer.put(GREETING)

    def _check_foreign(self, octets: bytes) -> None:
        if FOREIGN.match(octets):
            raise Refused(replies.TLS_HELLO if octets.startswith(TLS_HANDSHAKE) else replies.HTTP, close=True)

    async def line(self, limit: int) -> bytes:
        """One command without its CRLF. Raises Refused: what does not end with CRLF could mean two things."""
        self.lines += 1
        if self.lines % TURN == 0:
            await asyncio.sleep(0)
        if not self.read_buffer.has_line or self.write_buffer.resumed or self.lines % TURN == 0:
            await self.write_buffer.drain()  # an app that does not read is not answered without end
            while not self.read_buffer.octets:
                await self.read_buffer.more()
            if not self.read_buffer.has_line:  # a TLS hello may hold no LF to wait for
                self._check_foreign(bytes(self.read_buffer.octets[:1]))
        line = await self.read_buffer.line(limit=AUTH_LINE_LIMIT)
        self._check_foreign(line)
        if not line.endswith(b"\r\n") or line.find(b"\r", 0, -2) >= 0 or b"\0" in line:
            raise Refused(_fault(line), close=True)
        if len(line) > limit and line[:5].upper() != b"AUTH ":
            raise Refused(replies.LINE_TOO_LONG)
        return line[:-2]

    async def _obey(self, line: bytes) -> None:
        verb, argument = commands.parse_command(line)
        if verb not in COMMANDS:
            raise Refused(replies.UNKNOWN_COMMAND)
        await COMMANDS[verb](self, argument)


COMMANDS: Final[dict[str, Callable[[Commands, bytes], Awaitable[None]]]] = {
    name.removeprefix("smtp_"): handler for name, handler in vars(Commands).items() if name.startswith("smtp_")
}


def _of_protocol(refusal: Reply) -> bool:
    """Whether it is about syntax or order (RFC 5321 §4.2.1: x0z; 555 is §4.1.1.11), not about a message or an address.

    RFC 3463 §3.2: X.1.X is about an address.
    """
    return (refusal.code // 10 == 50 or refusal.code == 555) and not refusal.enhanced.startswith("5.1.")


def _fault(line: bytes) -> Reply:
    if not line.endswith(b"\n"):
        return replies.LINE_TOO_LONG
    if b"\0" in line:
        return replies.LINE_NUL
    return replies.LINE_LONE_CR if b"\r" in line.removesuffix(b"\r\n") else replies.LINE_LONE_LF
