"""What is said up to AUTH: one command, one reply, and nothing else.

aiosmtplib did this. It keeps what arrives behind a reply and reads it as the next one, drops what arrives with the 220
to STARTTLS, takes the last line's code for the whole reply, and brings 2.4 MB of idle memory with the email package: it
was left when nothing but its greeting, EHLO and AUTH was in use.
"""

import asyncio
import re
from typing import Final, NamedTuple, cast

from o365mailer_sidecar.exchange.conversation import CLOSED, NO_ANSWER, NO_SMTP, OUT_OF_TURN, line, why_lost

REPLY: Final = re.compile(rb"(?:([2-5][0-9]{2})-[^\n]*\n(?=\1))*[2-5][0-9]{2}(?: [^\n]*|\r)?\n")
"""RFC 5321 §4.2: three digits, the same in every line. A lone LF ends a line too, where nothing is at stake."""

REPLY_LIMIT: Final = 2**15
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
        if _end(self.octets) or len(self.octets) > REPLY_LIMIT:
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
            raise NoSmtp(NO_SMTP) if len(self.octets) > REPLY_LIMIT else Unsaid(self.fault)
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
