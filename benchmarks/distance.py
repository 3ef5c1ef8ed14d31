"""A connection with delay between a relay and its host: bytes arrive half a round trip later.

`python -m benchmarks.distance PORT-OF-THE-HOST ROUND-TRIP-SECONDS` prints its port, and at each SIGUSR1 a line of JSON:
connections so far, and turns, which is how often the client has spoken after the host had. TCP's own handshake is not
delayed.
"""

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from typing import cast

import uvloop


@dataclass
class Count:
    """Counts what passed."""

    connections: int = 0
    turns: int = 0
    client_speaks: bool = False

    def client(self) -> None:
        """Count bytes of the client."""
        self.turns += not self.client_speaks
        self.client_speaks = True

    def host(self) -> None:
        """Count bytes of the host."""
        self.client_speaks = False

    def tell(self) -> None:
        """Print the counts as one line."""
        sys.stdout.write(json.dumps({"connections": self.connections, "turns": self.turns}) + "\n")
        sys.stdout.flush()


class End(asyncio.Protocol):
    """One end of a connection; `other` is the far end."""

    def __init__(self, count: Count, half: float, *, is_client: bool) -> None:
        self.count, self.half, self.is_client = count, half, is_client
        self.other: End | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open; nothing has been sent yet."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on after the delay, and count them at once."""
        (self.count.client if self.is_client else self.count.host)()
        asyncio.get_running_loop().call_later(self.half, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self.other:
            if not self.other.transport.is_closing():
                self.other.transport.write(data)
        else:
            self.early.append(data)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        """Pass the end of the connection on."""
        if self.other:
            asyncio.get_running_loop().call_later(self.half, self.other.transport.close)


async def serve(port: int, round_trip: float) -> None:
    """Serve until the process is killed."""
    loop, count, tasks = asyncio.get_running_loop(), Count(), set[asyncio.Task[None]]()
    loop.add_signal_handler(signal.SIGUSR1, count.tell)

    async def join(near: End) -> None:
        _, far = await loop.create_connection(lambda: End(count, round_trip / 2, is_client=False), "127.0.0.1", port)
        near.other, far.other = far, near
        for data in near.early:
            far.transport.write(data)

    class Near(End):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            count.connections += 1
            task = loop.create_task(join(self))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await loop.create_server(lambda: Near(count, round_trip / 2, is_client=True), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2])))
