"""What the app has sent and nobody has read yet.

asyncio's StreamReader can neither say how much waits nor take octets back, and both matter here: octets behind DATA
before 354, and commands behind the end of a message.
"""

import asyncio
from collections.abc import Callable
from typing import Final

HIGH_WATER: Final = 2**18
"""Octets at which the app is made to wait (TCP's own flow control)."""


CHUNK: Final = 2**16
"""Octets taken at once: whoever copies larger ones makes the C library fetch memory from the system, and give it back,
each time."""


class ReadBuffer:
    """Octets in arrival order. One reader at a time."""

    def __init__(self, *, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.octets = bytearray()
        self.ended = False
        self.paused = False
        self.waiter: asyncio.Future[None] | None = None
        self.pause, self.resume = pause, resume

    def __len__(self) -> int:
        return len(self.octets)

    @property
    def has_line(self) -> bool:
        """Whether a whole line waits: its reply may leave with the one before."""
        return b"\n" in self.octets

    def feed(self, data: bytes) -> None:
        """Octets have arrived."""
        self.octets += data
        if len(self.octets) > HIGH_WATER and not self.paused:
            self.paused = True
            self.pause()
        self._wake()

    def end(self) -> None:
        """Nothing more will arrive."""
        self.ended = True
        self._wake()

    async def first(self) -> bytes:
        """The octet that comes next, left where it is. Raises EOFError."""
        while not self.octets:
            await self.more()
        return bytes(self.octets[:1])

    async def line(self, *, limit: int) -> bytes:
        """Up to and including the next LF, or the first `limit` octets when there is no LF in them.

        Raises EOFError.
        """
        looked = 0
        while (end := self.octets.find(b"\n", looked, limit)) < 0 and len(self.octets) < limit:
            looked = len(self.octets)
            await self.more()
        return self._take(end + 1 if end >= 0 else limit)

    async def chunk(self) -> bytes:
        """What is there, at least one octet and at most `CHUNK`. Raises EOFError."""
        await self.first()
        return self._take(min(len(self.octets), CHUNK))

    def put_back(self, octets: bytes) -> None:
        """Octets that were read too far."""
        self.octets[:0] = octets

    def _take(self, count: int) -> bytes:
        taken = bytes(self.octets if count == len(self.octets) else self.octets[:count])
        del self.octets[:count]
        if self.paused and len(self.octets) <= HIGH_WATER // 2:
            self.paused = False
            self.resume()
        return taken

    async def more(self) -> None:
        """Wait for octets. Raises EOFError when none will come."""
        if self.ended:
            raise EOFError
        self.waiter = asyncio.get_running_loop().create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def _wake(self) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)


# --- outbox --------------------
# What an app is answered: the replies to commands that came together leave together (RFC 2920 §3.2).


class WriteBuffer:
    """Octets for the app, in order. One writer at a time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.pending: list[bytes] = []
        self.resumed: asyncio.Future[None] | None = None

    def put(self, octets: bytes) -> None:
        """Keep for the next `flush`."""
        self.pending.append(octets)

    def flush(self) -> None:
        """Everything that is kept leaves, in one write."""
        if self.pending and not self.transport.is_closing():
            self.transport.write(self.pending[0] if len(self.pending) == 1 else b"".join(self.pending))
        self.pending.clear()

    async def drain(self) -> None:
        """Flush, and wait while the app does not read. Raises EOFError when it is gone."""
        self.flush()
        while self.resumed:
            await self.resumed
        if self.transport.is_closing():
            raise EOFError

    def pause(self) -> None:
        """The app does not read what it has been answered."""
        self.resumed = self.resumed or asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """It does again, or it is gone."""
        resumed, self.resumed = self.resumed, None
        if resumed and not resumed.done():
            resumed.set_result(None)

    def close(self) -> None:
        """Flush, and close behind it."""
        self.flush()
        self.transport.close()
