"""One SMTP session with an app: the connection, the lines of the app, and the loop that obeys them.

Not aiosmtpd: 1.4.6 takes a lone LF as a command's end, LF, CR and NUL in a message, answers DSN parameters with 555,
knows no PIPELINING, resets a timer at every command, and each connection costs 83 µs for looking up its own methods
(measured 2026-11-23).

A loopback port is a target of request forgery (a browser or a URL fetcher that can be made to talk to it), so a session
that begins like HTTP or TLS, talks before the greeting, or sends a message before 354, is closed.
"""

import asyncio
import re
from typing import Final, cast

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.buffers import ReadBuffer, WriteBuffer
from o365mailer_sidecar.smtp.commands import AUTH_LINE_LIMIT, HOSTNAME, Commands
from o365mailer_sidecar.smtp.server import SmtpServer

LINE_LIMIT: Final = 2048
"""Bytes of a command with its CRLF: RFC 5321 §4.5.3.1.4 and what SIZE, SMTPUTF8 and DSN add to it."""

BAD_COMMAND_LIMIT: Final = 20
"""Errors of syntax or order without a command that was accepted in between."""

TURN: Final = 50
"""Commands after which a session that pipelines them lets other sessions run."""

GREETING: Final = f"220 {HOSTNAME} ESMTP o365mailer\r\n".encode()

HTTP_METHODS: Final = (b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE", b"PRI")

TLS_HANDSHAKE: Final = b"\x16"
"""The first byte of a TLS hello (RFC 8446 §5.1), and of no SMTP command."""

FOREIGN: Final = re.compile(rb"\x16|(?:%s)(?: |\Z)" % b"|".join(HTTP_METHODS))
"""The beginning of a line of HTTP or TLS. No SMTP client begins a line with it."""


class Session(asyncio.Protocol):
    """One connection of an app."""

    def __init__(self, server: SmtpServer) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self.loop.create_future()
        """Done when the connection is closed."""
        self.stopping = self.waiting_for_command = False
        self.lines = 0
        """Lines that the app has sent."""

    # --- The connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """An app has connected."""
        self.transport = cast(asyncio.Transport, transport)
        self.read_buffer, self.write_buffer = ReadBuffer(self.transport, self.loop), WriteBuffer(self.transport)
        self.commands = Commands(self.server, self.read_buffer, self.write_buffer, line=self.line)
        self.server.sessions.add(self)
        self.active_at = self.loop.time()
        self.timer = self.loop.call_later(self.server.timeouts.idle, self._look_at_silence)
        self.task = self.loop.create_task(self._handle())

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # why does not matter
        """The app has gone: a message that is not sent yet is withdrawn."""
        self.server.sessions.discard(self)
        self.timer.cancel()
        self.task.cancel()
        self.write_buffer.resume()
        if not self.over.done():
            self.over.set_result(None)

    def pause_writing(self) -> None:
        """The app does not read."""
        self.write_buffer.pause()

    def resume_writing(self) -> None:
        """The app reads again."""
        self.write_buffer.resume()

    def data_received(self, data: bytes) -> None:
        """The app has sent bytes."""
        self.active_at = self.loop.time()
        self.read_buffer.feed(data)

    def eof_received(self) -> bool | None:
        """The app has closed its sending side.

        Commands that it sent before are still carried out. A message that waits for its verdict is withdrawn, unless
        the app has said QUIT after it, and so waits for the reply.
        """
        self.read_buffer.end()
        if self.commands.relaying and self.commands.app_has_gone():
            self.task.cancel()
        return True

    def _look_at_silence(self) -> None:
        """One timer a session: it looks when the app was active last instead of being reset by every command."""
        idle = self.server.timeouts.idle
        silent = 0.0 if self.commands.relaying else self.loop.time() - self.active_at
        if silent < idle:
            self.timer = self.loop.call_later(idle - silent, self._look_at_silence)
        elif self.transport.is_closing():  # the app does not even read the last reply
            self.abort()
        else:
            self._farewell(replies.IDLE)
            self.timer = self.loop.call_later(self.server.timeouts.farewell, self._look_at_silence)

    def _farewell(self, reply: Reply) -> None:
        self.commands.say(reply)
        self.write_buffer.close()

    def stop(self) -> None:
        """End the session as soon as it has no message in hand."""
        self.stopping = True
        if self.waiting_for_command and not self.commands.sender:
            self._farewell(replies.STOPPING)

    def abort(self) -> None:
        """End the session at once."""
        self.transport.abort()

    # --- The command loop ---------------------------------------------------------------------------------------------

    async def _handle(self) -> None:
        try:
            await self._greet()
            await self._serve()
        except Refused as refusal:
            self.commands.say(refusal.reply)
        except (EOFError, ConnectionError):
            pass
        except Exception as error:  # noqa: BLE001  # one broken session must not break the others
            self.server.log.failure("session_failed", error)
            self.commands.say(replies.INTERNAL)
        finally:
            self.commands.end_transaction()
            self.write_buffer.close()

    async def _greet(self) -> None:
        """Send the greeting. Raises Refused for an app that talks first, and for one session too many."""
        # Two turns of the loop: what the app sent before it could know the greeting has arrived by then.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self.read_buffer.data:
            _check_foreign(bytes(self.read_buffer.data[:16]))
            raise Refused(replies.EARLY_TALKER)
        if len(self.server.sessions) > self.server.session_limit:
            raise Refused(replies.TOO_MANY_SESSIONS)
        self.write_buffer.pending.append(GREETING)

    async def _serve(self) -> None:
        """Run commands until QUIT. Raises Refused when the session ends otherwise, EOFError when the app has gone."""
        commands, bad_commands = self.commands, 0
        while not commands.finished:
            if self.stopping and not commands.sender:
                raise Refused(replies.STOPPING)
            try:
                self.waiting_for_command = True
                line = await self.line(LINE_LIMIT)
                self.waiting_for_command = False
                await commands.obey(line)
                bad_commands = 0
            except Refused as refusal:
                if refusal.close:
                    raise
                commands.say(refusal.reply)
                bad_commands += _is_bad_command(refusal.reply)
                if bad_commands >= BAD_COMMAND_LIMIT:
                    raise Refused(replies.TOO_MANY_ERRORS) from None
            self.active_at = self.loop.time()  # the app was not silent while it waited for its verdict

    async def line(self, limit: int) -> bytes:
        """The next line without its CRLF, of `limit` bytes at most. Raises EOFError, and Refused for a bad line.

        A bad line is too long, has a NUL or a CR, or does not end with CRLF: two programs could read it differently.
        """
        self.lines += 1
        buffer, others_turn = self.read_buffer, self.lines % TURN == 0
        if others_turn:
            await asyncio.sleep(0)
        if others_turn or b"\n" not in buffer.data or self.write_buffer.resumed:
            await self.write_buffer.drain()  # an app that does not read is not answered without end
            while not buffer.data:
                await buffer.more()
            if b"\n" not in buffer.data:  # a TLS hello may hold no LF to wait for
                _check_foreign(bytes(buffer.data[:1]))
        line = await buffer.line(limit=AUTH_LINE_LIMIT)
        _check_foreign(line)
        if not line.endswith(b"\r\n") or line.find(b"\r", 0, -2) >= 0 or b"\0" in line:
            raise Refused(_fault(line), close=True)
        if len(line) > limit and line[:5].upper() != b"AUTH ":
            raise Refused(replies.LINE_TOO_LONG)
        return line[:-2]


def _check_foreign(line: bytes) -> None:
    if FOREIGN.match(line):
        raise Refused(replies.TLS_HELLO if line.startswith(TLS_HANDSHAKE) else replies.HTTP, close=True)


def _is_bad_command(refusal: Reply) -> bool:
    """Whether the reply is about syntax or order (RFC 5321 §4.2.1: x0z; 555: §4.1.1.11), not a message or an address.

    RFC 3463 §3.2: X.1.X is about an address.
    """
    return (refusal.code // 10 == 50 or refusal.code == 555) and not refusal.enhanced.startswith("5.1.")


def _fault(line: bytes) -> Reply:
    if not line.endswith(b"\n"):
        return replies.LINE_TOO_LONG
    if b"\0" in line:
        return replies.LINE_NUL
    return replies.LINE_LONE_CR if b"\r" in line.removesuffix(b"\r\n") else replies.LINE_LONE_LF
