"""Submission hosts that fail before a login, which the emulator cannot do: wrong dates, no SMTP, silence."""

import asyncio
import contextlib
import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

import trustme


@contextlib.asynccontextmanager
async def speaking(*lines: bytes, secured_by: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A host that sends one line for each that it gets, the first at once. Its port. After its last line comes TLS."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            for number, line in enumerate(lines):
                if number:
                    await reader.readuntil(b"\n")
                writer.write(line)
                await writer.drain()
            if secured_by:
                await writer.start_tls(secured_by)
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def valid_between(ca: trustme.CA, begins: datetime.timedelta, ends: datetime.timedelta) -> ssl.SSLContext:
    """A server's context with a certificate for 127.0.0.1 that is valid from and to so long after now."""
    now = datetime.datetime.now(datetime.UTC)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", not_before=now + begins, not_after=now + ends).configure_cert(context)
    return context


@contextlib.contextmanager
def dropping() -> Iterator[int]:
    """A port whose connections are never answered, as if a firewall dropped the packets: its queue is full.

    Linux drops the SYN of a connection that finds no place in the queue of a listening socket.
    """
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A port at which no program listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
