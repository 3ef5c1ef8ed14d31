"""What is said up to AUTH: one command, one reply, and nothing else.

aiosmtplib did this. It keeps what arrives behind a reply and reads it as the next one, drops what arrives with the 220
to STARTTLS, takes the last line's code for the whole reply, and brings 2.4 MB of idle memory with the email package: it
was left when nothing but its greeting, EHLO and AUTH was in use.
"""

import asyncio
import os
import re
from typing import Final, NamedTuple, cast

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Lost, Refused
from o365mailer_sidecar.reply import Reply, upstream_reply

REPLY: Final = re.compile(rb"(?:([2-5][0-9]{2})-[^\n]*\n(?=\1))*[2-5][0-9]{2}(?: [^\n]*|\r)?\n")
"""RFC 5321 §4.2: three digits, the same in every line. A lone LF ends a line too, where nothing is at stake."""

SETUP_REPLY_LIMIT: Final = 2**15
"""Octets of one reply."""


class Said(NamedTuple):
    """A reply: its code, and what stands behind the code in each line."""

    code: int
    lines: tuple[str, ...]


class Unsaid(Exception):  # translated by `starttls` and `connection`
    """There is no reply; the text says why."""


class NoAnswer(Unsaid):
    """Not in time."""


class NoSmtp(Unsaid):
    """What came is no reply."""


class OutOfTurn(Unsaid):
    """Something came before it was asked for."""


class Talk(asyncio.Protocol):
    """`octets` is what has come and was not asked for. With `strict`, only CRLF ends a line."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.transport: asyncio.Transport | None = None
        self.octets = bytearray()
        self.fault = ""
        self.waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP's, then TLS'."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """A reply, or a part of it."""
        self.octets += data
        if _end(self.octets) or len(self.octets) > SETUP_REPLY_LIMIT:
            self._wake()

    def eof_received(self) -> None:
        """The host has ended the session; the transport closes."""
        self.fault = self.fault or CLOSED
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits is told."""
        self.fault = self.fault or why_lost(error)
        self._wake()

    def _wake(self) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)

    async def ask(self, command: bytes, *, timeout: float) -> Said:
        """The reply to one command. Raises Unsaid, also when something was said before; Refused as `line` does."""
        if self.octets:
            raise OutOfTurn(OUT_OF_TURN)
        if self.fault or not self.transport:
            raise Unsaid(self.fault or CLOSED)
        self.transport.write(line(command))
        return await self.hear(timeout=timeout)

    async def hear(self, *, timeout: float) -> Said:
        """The next reply; what comes behind it stays in `octets`. `timeout` is in seconds. Raises Unsaid."""
        if not (_end(self.octets) or self.fault):
            self.waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self.waiter
            except TimeoutError:
                raise NoAnswer(NO_ANSWER) from None
        end = _end(self.octets)
        if not end:
            raise NoSmtp(NO_SMTP) if len(self.octets) > SETUP_REPLY_LIMIT else Unsaid(self.fault)
        octets = bytes(self.octets[:end])
        del self.octets[:end]
        if not REPLY.fullmatch(octets) or (self.strict and octets.count(b"\n") != octets.count(b"\r\n")):
            raise NoSmtp(NO_SMTP)
        texts = (line[4:].decode("utf-8", "replace").rstrip() for line in octets.split(b"\n")[:-1])
        return Said(int(octets[:3]), tuple(texts))


def _end(octets: bytearray) -> int:
    """Behind the last line of the first reply; 0 while it has not come."""
    begin = 0
    while end := octets.find(b"\n", begin) + 1:
        if octets[begin + 3 : begin + 4] != b"-":
            return end
        begin = end
    return 0


# --- conversation --------------------
# What is said on an authenticated connection, and Exchange's replies to it, one to each command and strictly in
# order.
#
# aiosmtplib 5.1.3 reads one reply for one command and drops what is not awaited, so several commands cannot be on
# their way at once, and each costs 250 µs; here MAIL, RCPT and the message in one write cost 30 (measured
# 2026-11-23). What comes before, up to AUTH, is `talk`.


LINE: Final = re.compile(rb"[2-5][0-9]{2}(?:([ -])|\r?\n)")
"""How a line of a reply begins (RFC 5321 §4.2); some are nothing but a code. A lone LF ends a line too: nothing is at
stake in a reply."""

REPLY_LIMIT: Final = 8192
"""Octets of one reply; Exchange's with a diagnostic dump are 3 kB."""

CLOSING: Final = 421
"""The host ends the session (RFC 5321 §3.8): nothing more is said to it, and no other reply is waited for."""

CLOSED: Final = "connection closed"
NO_ANSWER: Final = "no answer in time"
OUT_OF_TURN: Final = "it spoke out of turn"
NO_SMTP: Final = "it spoke no SMTP"


CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Control characters: C0 and DEL, which no address and no parameter may hold (RFC 5321 §4.1.2), and C1."""

SPACE: Final = 4096
"""Octets read at once. Without a buffer of ours uvloop reads TLS into 256 KiB of fresh memory each time."""


def line(command: bytes) -> bytes:
    """The command with its CRLF. Every command for the host passes here, whatever has checked it before.

    Raises Refused for a control character: with a CR or LF in an argument, one command would be two.
    """
    if CONTROL.search(command.decode("utf-8", "replace")):
        raise Refused(replies.NOT_ONE_COMMAND)
    return command + b"\r\n"


class SmtpProtocol(asyncio.BufferedProtocol):
    """Commands out, replies in. `fault` says why it cannot go on; empty while it can."""

    def __init__(self, transport: asyncio.Transport, *, loop: asyncio.AbstractEventLoop) -> None:
        self.transport, self.loop = transport, loop
        self.fault = CLOSED if transport.is_closing() else ""
        self.owed = 0
        """Replies that are due."""
        self.replies: list[Reply] = []
        """What was answered since the last `say`."""
        self.refused = False
        """Whether one of them is a refusal."""
        # A view: asyncio's TLS reads on behind the first record into a slice, which of a bytearray would be a copy.
        self.space = memoryview(bytearray(SPACE))
        self.octets = bytearray()
        self.lines: list[bytes] = []
        """Those of a reply that has not all come."""
        self.waiter: asyncio.Future[bool] | None = None
        self.paused = False

    # --- Saying -----------------------------------------------------------------------------------------------------

    def say(self, *commands: bytes) -> None:
        """Send commands in one write; a reply is due to each.

        Raises Lost when the conversation is over, Refused as `line` does: then none of them is sent.
        """
        lines = b"".join(map(line, commands))
        self._expect(len(commands))
        self.transport.write(lines)

    def send(self, block: bytes) -> None:
        """Send a block of a message; one reply is due to all of it. Raises Lost when the conversation is over."""
        if not self.owed:
            self._expect(1)
        self.transport.write(block)

    def _expect(self, replies: int) -> None:
        if self.fault:
            raise Lost(self.fault)
        self.owed += replies
        self.replies, self.refused = [], False

    async def drain(self, *, timeout: float) -> None:
        """Wait until what was written has left, or there is something to hear. Raises Lost."""
        while self.paused and not self.answered:
            if not await self._wait(timeout):
                raise Lost(NO_ANSWER)

    @property
    def answered(self) -> bool:
        """Whether there is something to hear."""
        return bool(self.replies or self.fault)

    async def ask(self, *commands: bytes, timeout: float) -> list[Reply]:
        """Say the commands; all the replies. Raises as `say`, and Lost also when there is more than was asked for."""
        self.say(*commands)
        heard = await self.hear(timeout=timeout, every=True)
        if len(heard) < len(commands) or self.fault == OUT_OF_TURN:
            raise Lost(self.fault)
        return heard

    async def hear(self, *, timeout: float, every: bool = False) -> list[Reply]:
        """What was answered once all that is due has come, or the conversation has ended.

        Without `every` a refusal is enough: what is due behind it is heard by the next call. `timeout` is in seconds,
        for each reply.
        """
        while self.owed and not self.fault and (every or not self.refused):
            if not await self._wait(timeout):
                self.fault = NO_ANSWER
        return self.replies

    async def _wait(self, timeout: float) -> bool:
        """Whether something happened within so many seconds."""
        waiter = self.waiter = self.loop.create_future()
        timer = self.loop.call_later(timeout, self._wake, False)  # call_later passes no keywords
        try:
            happened: bool = await waiter
        finally:
            timer.cancel()
            self.waiter = None
        return happened

    def _wake(self, happened: bool = True) -> None:  # see `_wait`
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(happened)

    # --- Hearing ------------------------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # more comes in several parts
        """Where the next octets go."""
        return self.space

    def buffer_updated(self, count: int) -> None:
        """A reply, several, or a part of one."""
        self.octets += self.space[:count]
        before = len(self.replies)
        while self.octets and not self.fault:
            if not self.owed:
                self.fault = OUT_OF_TURN
            elif not self._take_line():
                break
        if self.fault or len(self.replies) > before:
            self._wake()

    def _take_line(self) -> bool:
        """Whether there was a line to take."""
        end = self.octets.find(b"\n") + 1
        if (end or len(self.octets)) + sum(map(len, self.lines)) > REPLY_LIMIT:
            self.fault = NO_SMTP
        if not end or self.fault:
            return False
        line = bytes(self.octets[:end])
        del self.octets[:end]
        match = LINE.match(line)
        if not match or (self.lines and line[:3] != self.lines[0][:3]):
            self.fault = NO_SMTP
            return False
        self.lines.append(line)
        if match[1] != b"-":
            self._finish_reply()
        return True

    def _finish_reply(self) -> None:
        text = b"".join([line[4:] for line in self.lines]).decode("utf-8", "replace")
        reply = upstream_reply(int(self.lines[0][:3]), text)
        self.lines.clear()
        self.owed -= 1
        self.replies.append(reply)
        self.refused = self.refused or reply.code >= 400
        if reply.code == CLOSING:
            self.fault = CLOSED

    # --- The connection -----------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The host is slower than we are."""
        self.paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self.paused = False
        self._wake()

    def eof_received(self) -> None:
        """The host has ended the session; the transport closes."""
        self.fault = self.fault or CLOSED
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits is told."""
        self.fault = self.fault or why_lost(error)
        self._wake()


def why_lost(error: Exception | None) -> str:
    """The system's words for the end of a connection, where it has any."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else CLOSED
