"""The bytes that an app has sent and the session has not read yet, and the replies that have not left yet.

Not asyncio's StreamReader: it can neither say how much waits nor take bytes back. The session needs both, for bytes
that come after DATA before its 354, and for commands that come after the end of a message.
"""

import asyncio
from typing import Final

HIGH_WATER: Final = 2**18
"""Unread bytes at which the relay stops reading, so that the app waits (TCP flow control)."""

CHUNK: Final = 2**16
"""Bytes taken at once: for larger copies the C library fetches memory from the system and gives it back each time."""


class ReadBuffer:
    """Bytes in arrival order. One reader at a time."""

    __slots__ = ("data", "ended", "loop", "paused", "transport", "waiter")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport, self.loop = transport, loop
        self.data = bytearray()
        self.ended = False
        """Nothing more will arrive."""
        self.paused = False
        self.waiter: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        """Bytes have arrived."""
        self.data += data
        if len(self.data) > HIGH_WATER and not self.paused:
            self.paused = True
            self.transport.pause_reading()
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)

    def end(self) -> None:
        """Nothing more will arrive."""
        self.ended = True
        self.feed(b"")

    async def more(self) -> None:
        """Wait for bytes. Raises EOFError when none will come."""
        if self.ended:
            raise EOFError
        self.waiter = self.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    async def line(self, *, limit: int) -> bytes:
        """Up to and including the next LF, or the first `limit` bytes when there is no LF in them.

        Raises EOFError.
        """
        searched = 0
        while (end := self.data.find(b"\n", searched, limit)) < 0 and len(self.data) < limit:
            searched = len(self.data)
            await self.more()
        return self._take(end + 1 if end >= 0 else limit)

    async def chunk(self) -> bytes:
        """What has arrived, at least one byte and at most `CHUNK`. Raises EOFError."""
        while not self.data:
            await self.more()
        return self._take(min(len(self.data), CHUNK))

    def put_back(self, data: bytes) -> None:
        """Bytes that were read too far."""
        self.data[:0] = data

    def _take(self, count: int) -> bytes:
        taken = bytes(self.data if count == len(self.data) else self.data[:count])
        del self.data[:count]
        if self.paused and len(self.data) <= HIGH_WATER // 2:
            self.paused = False
            self.transport.resume_reading()
        return taken


class WriteBuffer:
    """Replies in order. Those to commands that came together leave together (RFC 2920 §3.2). One writer at a time."""

    __slots__ = ("pending", "resumed", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.pending: list[bytes] = []
        """Replies that leave with the next `flush`."""
        self.resumed: asyncio.Future[None] | None = None
        """Done when the app reads again; None while it reads."""

    def flush(self) -> None:
        """Send all that is pending in one write."""
        if self.pending and not self.transport.is_closing():
            self.transport.write(self.pending[0] if len(self.pending) == 1 else b"".join(self.pending))
        self.pending.clear()

    async def drain(self) -> None:
        """Flush, and wait while the app does not read. Raises EOFError when it has gone."""
        self.flush()
        while self.resumed:
            await self.resumed
        if self.transport.is_closing():
            raise EOFError

    def pause(self) -> None:
        """The app does not read its replies."""
        self.resumed = self.resumed or asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """The app reads again, or has gone."""
        resumed, self.resumed = self.resumed, None
        if resumed and not resumed.done():
            resumed.set_result(None)

    def close(self) -> None:
        """Flush, and close the connection after that."""
        self.flush()
        self.transport.close()
