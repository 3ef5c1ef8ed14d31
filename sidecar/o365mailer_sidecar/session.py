"""One SMTP session with an app: aiosmtpd's protocol, with a command loop of our own.

aiosmtpd 1.4.6 takes a lone LF as a command's end, and resets a timer at every command; its loop is therefore replaced
by name, which is why pyproject.toml pins its minor version.

A loopback port is a target of request forgery (a browser or a URL fetcher that can be made to talk to it), so a session
that begins like HTTP or TLS, talks before the greeting, or sends a message before 354, is closed.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from o365mailer_sidecar import commands, replies
from o365mailer_sidecar.dialogue import AUTH_LINE_LIMIT, HOSTNAME, Dialogue, Office
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.inbox import Inbox
from o365mailer_sidecar.journal import Journal

LINE_LIMIT: Final = 2048
"""Octets of a command with its CRLF: RFC 5321 §4.5.3.1.4 and what SIZE, SMTPUTF8 and DSN add to it."""

BAD_COMMAND_LIMIT: Final = 20
"""Refused commands in a session without a message in between."""

TURN: Final = 50
"""Commands after which a session that pipelines them lets others have their turn."""

IDLE_LIMIT: Final = 300.0
"""Seconds without an octet from the app (RFC 5321 §4.5.3.2.7)."""

FAREWELL: Final = 10.0
"""Seconds for an app that was told goodbye to read it; one that never does would keep its place for ever."""

HTTP_METHODS: Final = frozenset({"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PRI"})

TLS_HANDSHAKE: Final = b"\x16"
"""The first octet of a TLS hello (RFC 8446 §5.1), and of no SMTP command."""


class Session(Dialogue):
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
        super().__init__(office=office, queue_id=queue_id, idle_limit=idle_limit, loop=loop)
        self.journal = journal
        self.sessions, self.session_limit, self.idle_limit = sessions, session_limit, idle_limit
        self.stopping = self.waiting_for_command = False
        self.lines = 0
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
        if self._writer.is_closing():  # it does not even take our last words
            self.abort()
            return
        self._writer.write(replies.IDLE.line())
        self._writer.close()
        self._timeout_handle = self.loop.call_later(min(FAREWELL, self.idle_limit), self._timeout_cb)

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
                line = await self.line(LINE_LIMIT)
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

    async def line(self, limit: int) -> bytes:
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
