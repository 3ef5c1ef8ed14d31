"""The HTTP connections of a process, the controller or the webhook, bounded in time and memory.

Any pod of the cluster can open one, and no NetworkPolicy can keep other pods out, because the API server has no label
to select. The API server sends a request at once, in one piece, and waits for the answer before it sends the next. So a
request has to be complete within WITHIN seconds of the connection (of its first byte, on a kept connection), the TLS
handshake included. When memory runs out, the connection that has waited longest is closed.

Each turn of the event loop accepts one connection and serves every client that has sent something. So a client that
sends at once is answered long before others can take its place, even on a slow machine.
"""

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal, cast

from aiohttp import web

MEMORY: Final = 32 << 20
"""Bytes of all connections, each COST and what it has sent: about 90 connections, or 50 with five bodies of the
webhook's BODY_LIMIT. The webhook itself needs 51 MiB; the chart's limit is 128 MiB."""
COST: Final = 352 << 10
"""Bytes of a connection that has sent nothing, mostly the read buffer of asyncio's TLS protocol."""
WITHIN: Final = 2.0
"""Seconds from the first byte of a request to the last byte of its answer."""
GOODBYE: Final = 1.0
"""Seconds for the other side's part in closing a TLS connection."""
FIELDS: Final = 32
"""Header fields of a request; an API server sends about ten."""
SHUTDOWN: Final = 5.0
"""Seconds for requests in progress when serving ends."""
ACCEPT_PAUSE: Final = 1.0
"""Seconds to wait after the kernel refused to accept a connection, as in asyncio's own servers."""
GARBAGE: Final = 8 << 20
"""Bytes of closed connections after which the garbage collector runs. By itself it counts objects, and a connection
that ends with an exception is a cycle of a few objects that hold megabytes."""

LOGGER: Final = logging.getLogger(__name__)

Why = Literal["slow", "memory"]
"""Why a connection was closed: it was not done within WITHIN, or it had waited longest when MEMORY was used up."""


class Connections:
    """All connections, the one that has waited longest first."""

    def __init__(self, *, closed: Callable[[Why], None], memory: int = MEMORY, within: float = WITHIN) -> None:
        self.within = within
        self.held = 0
        """Bytes, over all connections."""
        self._closed = closed
        self._memory = memory
        self._bytes: dict[Connection, int] = {}
        self._garbage = 0
        gc.freeze()  # what exists now stays, so that a collection sees only connections and takes a millisecond

    def __len__(self) -> int:
        return len(self._bytes)

    def enter(self, connection: "Connection") -> None:
        """The connection is new, or its request was answered: it holds nothing yet, and is the last to be closed."""
        self.leave(connection)
        self._bytes[connection] = 0
        self.receive(connection, COST)

    def receive(self, connection: "Connection", size: int) -> None:
        """The connection holds `size` bytes more."""
        if connection not in self._bytes:
            return
        self._bytes[connection] += size
        self.held += size
        while self.held > self._memory:
            self.close(next(iter(self._bytes)), "memory")

    def leave(self, connection: "Connection") -> None:
        """The connection no longer holds anything."""
        self.held -= self._bytes.pop(connection, 0)

    def close(self, connection: "Connection", why: Why) -> None:
        """Ends the connection at once, without a TLS close that the other side could delay."""
        self._closed(why)
        self._garbage += self._bytes.get(connection, COST)
        self.leave(connection)
        connection.abort()
        if self._garbage > GARBAGE:
            self._garbage = 0
            asyncio.get_running_loop().call_soon(gc.collect)


class Connection(web.RequestHandler):
    """One connection. It is kept for another request only if it has sent exactly one: there is no pipelining."""

    __slots__ = ("_all", "_greeting", "_idle", "_received", "_timer", "_wire")

    def __init__(self, server: web.Server, connections: Connections) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # AppRunner's documentation says None
            max_headers=FIELDS,
            lingering_time=connections.within,
            read_bufsize=1 << 16,
            auto_decompress=False,
        )
        self._all = connections
        self._greeting: asyncio.Task[None] | None = None
        self._wire: asyncio.Transport | None = None
        self._idle: bool
        self._received: int
        self._timer: asyncio.TimerHandle
        self._begin()

    def greet(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        """Serves the accepted socket, over TLS where there is a context."""
        self._greeting = asyncio.create_task(self._greet(accepted, context))

    async def _greet(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self, accepted, ssl=context, ssl_shutdown_timeout=GOODBYE if context else None
            )
        except (OSError, asyncio.CancelledError):
            # No TLS, or closed, or aborted. Not raised: the task would keep the traceback, and with it the buffers.
            self._end()

    def abort(self) -> None:
        """Ends the connection at once, during the TLS handshake too."""
        self._timer.cancel()
        if self._wire is not None:
            self._wire.abort()
        elif self._greeting is not None:
            self._greeting.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.Transport, transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data:
            if self._idle:
                self._begin()
            self._received += len(data)
            self._all.receive(self, len(data))
        super().data_received(data)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if self._received != _size(request):
            resp.force_close()
        answer, reset = await super().finish_response(request, resp, start_time)
        if answer.keep_alive and not reset:
            self._timer.cancel()
            self._all.enter(self)
            self._idle = True
        return answer, reset

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if status == 500:
            return super().handle_error(request, status, exc, message)
        answer = web.Response(status=status, text=message)  # bad HTTP of a client is not worth a traceback
        answer.force_close()
        return answer

    def _begin(self) -> None:
        self._idle = False
        self._received = 0
        self._timer = self._loop.call_later(self._all.within, self._all.close, self, "slow")
        self._all.enter(self)

    def _end(self) -> None:
        self._timer.cancel()
        self._all.leave(self)


def _size(request: web.BaseRequest) -> int:
    """Bytes of this request as an API server writes it; any other way of writing it is longer."""
    line = len(request.method) + len(request.raw_path) + len("  HTTP/1.1\r\n")
    fields = sum(len(name) + len(value) + len(": \r\n") for name, value in request.raw_headers)
    return line + fields + len("\r\n") + (request.content_length or 0)


def bind(address: tuple[str, int]) -> socket.socket:
    """A listening socket. `::` includes IPv4, and is IPv4 alone on a machine without IPv6. Port 0 takes a free one.

    asyncio itself would listen on IPv6 only. Raises OSError.
    """
    if address[0] == "::":
        if socket.has_dualstack_ipv6():
            return socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
        return socket.create_server(("", address[1]), backlog=1024)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=1024)


def shown(listener: socket.socket) -> str:
    """The socket's address as a log names it, such as `[::]:9025`."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.asynccontextmanager
async def serving(
    application: web.Application,
    listener: socket.socket,
    connections: Connections,
    *,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[None]:
    """Serves the application on this socket. At the end it closes the port and answers requests in progress."""
    runner = web.AppRunner(application, shutdown_timeout=SHUTDOWN)
    await runner.setup()
    accepting = asyncio.create_task(_accept(listener, cast(web.Server, runner.server), connections, context))
    try:
        yield
    finally:
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        listener.close()
        await runner.cleanup()


async def _accept(
    listener: socket.socket, server: web.Server, connections: Connections, context: ssl.SSLContext | None
) -> None:
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    while True:
        try:
            accepted, _ = await loop.sock_accept(listener)
        except ConnectionError:
            pass  # the client is gone already
        except OSError as error:  # no descriptor or memory is left, or the network failed: accept(2)
            LOGGER.warning("cannot accept a connection", extra={"error": str(error)})
            await asyncio.sleep(ACCEPT_PAUSE)
        else:
            Connection(server, connections).greet(accepted, context)
        await asyncio.sleep(0)
