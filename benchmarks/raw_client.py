"""A client that only sends, to find the limit of the network, TLS and the host.

`python -m benchmarks.raw_client PORT AUTHORITY CONNECTIONS MESSAGES SIZE` opens the connections, then sends the
messages over them, one at a time on each, as BDAT in one flight; prints the seconds that the messages took.
"""

import asyncio
import ssl
import sys
import time
from typing import cast

import uvloop

from benchmarks.load import MAILBOX, message


class Client(asyncio.Protocol):
    """A connection that waits for a number of replies."""

    def __init__(self) -> None:
        self.due = 1  # the greeting
        self.buffer = b""
        self.answered = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Use the connection of TCP, and later of TLS."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Count replies by their last lines."""
        *lines, self.buffer = (self.buffer + data).split(b"\r\n")
        for line in lines:
            if line[:1] not in b"23":
                raise RuntimeError(line.decode())
            self.due -= line[3:4] == b" "
        if self.due <= 0:
            self.answered.set()

    async def ask(self, content: bytes, *, replies: int = 1) -> None:
        """Send, and wait for the replies."""
        self.due = replies
        self.answered.clear()
        self.transport.write(content)
        await self.answered.wait()


async def connect(port: int, context: ssl.SSLContext) -> Client:
    """A connection that is ready for MAIL."""
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(Client, "127.0.0.1", port)
    await client.answered.wait()
    await client.ask(b"EHLO raw\r\n")
    await client.ask(b"STARTTLS\r\n")
    secured = await loop.start_tls(transport, client, context, server_hostname="127.0.0.1")
    client.transport = cast(asyncio.Transport, secured)
    await client.ask(b"EHLO raw\r\n")
    await client.ask(b"AUTH XOAUTH2 eA==\r\n")
    return client


async def send(port: int, authority: str, *, connections: int, messages: int, size: int) -> float:
    """Send all messages and return the seconds that it took."""
    context = ssl.create_default_context(cafile=authority)
    clients = [await connect(port, context) for _ in range(connections)]
    content = message(size).removesuffix(b".\r\n")
    flight = f"MAIL FROM:<{MAILBOX}>\r\nRCPT TO:<a@example.com>\r\nBDAT {len(content)} LAST\r\n".encode() + content

    async def run(client: Client) -> None:
        for _ in range(messages // connections):
            await client.ask(flight, replies=3)

    began = time.perf_counter()
    await asyncio.gather(*(run(client) for client in clients))
    return time.perf_counter() - began


if __name__ == "__main__":
    port, authority, connections, messages, size = sys.argv[1:]
    spent = uvloop.run(send(int(port), authority, connections=int(connections), messages=int(messages), size=int(size)))
    sys.stdout.write(f"{spent}\n")
