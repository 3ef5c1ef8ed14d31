"""What an app is answered: the replies to commands that came together leave together (RFC 2920 §3.2)."""

import asyncio


class Outbox:
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
