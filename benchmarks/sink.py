"""The host that all relays submit to, in its own process: STARTTLS, any XOAUTH2; it accepts and drops every message.

A bare protocol, so that it is not what is measured. `python -m benchmarks.sink CERTIFICATE [--port N] [--delay S]`
prints its port, and at each SIGUSR1 a line of JSON: how many connections and messages came, and when (monotonic
seconds) the first message and the last. With a delay the reply to a message waits so long, and says how long it was.
"""

import argparse
import asyncio
import json
import signal
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from typing import Final, cast

import uvloop

EXTENSIONS: Final = b"250-PIPELINING\r\n250-SIZE 157286400\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 AUTH XOAUTH2\r\n"
TAKEN: Final = (
    b"250 2.6.0 <bench@localhost> [InternalId=%d, Hostname=SINK.PROD.OUTLOOK.COM] 5120 bytes in 0.131, 38.034 KB/sec "
    b"Queued mail for delivery\r\n"
)
"""A reply as long as Exchange's, with a new id each time."""

REPLIES: Final = {
    b"DATA": b"354 go\r\n",
    b"QUIT": b"221 bye\r\n",
}


@dataclass
class Tally:
    """What the host counted."""

    delay: float = 0.0
    connections: int = 0
    messages: int = 0
    first: float = 0.0
    last: float = 0.0

    def count(self) -> float:
        """Count a message and its time."""
        now = time.monotonic()
        self.messages += 1
        self.first, self.last = self.first or now, now
        return now

    def tell(self) -> None:
        """Print the counts as one line."""
        sys.stdout.write(json.dumps(vars(self)) + "\n")
        sys.stdout.flush()


class Sink(asyncio.Protocol):
    """One connection to the host."""

    def __init__(self, context: ssl.SSLContext, tally: Tally) -> None:
        self.context, self.tally = context, tally
        self.buffer = bytearray()
        self.secured = self.upgrading = self.data = self.token_due = False
        self.chunk = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting."""
        self.tally.connections += 1
        self.transport = cast(asyncio.Transport, transport)
        self.socket = transport.get_extra_info("socket")
        self.transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer all complete commands in one write."""
        # Acknowledge at once: a client that sends a message in several small writes, as Postfix does, would wait 40 ms.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self.buffer += data
        if not self.upgrading:
            self._answer_all()

    def _answer_all(self) -> None:
        replies = bytearray()
        while (reply := self._next()) is not None:
            replies += reply
        if replies:
            self.transport.write(bytes(replies))

    def _next(self) -> bytes | None:
        if self.chunk:
            return self._skip_chunk()
        if self.data:
            return self._skip_data()
        end = self.buffer.find(b"\n") + 1
        if not end:
            return None
        line = bytes(self.buffer[:end])
        del self.buffer[:end]
        return self._answer(line)

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if self.token_due or verb == b"AUTH":
            self.token_due = not self.token_due and len(line.split()) < 3  # RFC 4954 §4: the token may come later
            return b"334 \r\n" if self.token_due else b"235 2.7.0 ok\r\n"
        if verb == b"STAR":
            self.transport.pause_reading()  # the TLS hello belongs to TLS
            self.transport.write(b"220 go\r\n")
            self.upgrading = True
            self.upgrade = asyncio.ensure_future(self._secure())
            return b""
        if verb == b"EHLO":
            return b"250-sink\r\n" + (EXTENSIONS if self.secured else b"250 STARTTLS\r\n")
        if verb == b"BDAT":
            self.chunk = int(line.split()[1])
            return b""
        self.data = verb == b"DATA"
        return REPLIES.get(verb, b"250 ok\r\n")

    def _skip_chunk(self) -> bytes | None:
        taken = min(self.chunk, len(self.buffer))
        del self.buffer[:taken]
        self.chunk -= taken
        return None if self.chunk else self._taken()

    def _skip_data(self) -> bytes | None:
        end = self.buffer.find(b"\r\n.\r\n")
        if end < 0:
            del self.buffer[:-4]
            return None
        del self.buffer[: end + 5]
        self.data = False
        return self._taken()

    def _taken(self) -> bytes:
        came = self.tally.count()
        if not self.tally.delay:
            return TAKEN % self.tally.messages
        asyncio.get_running_loop().call_later(self.tally.delay, self._answer_late, came)
        return b""

    def _answer_late(self, came: float) -> None:
        self.transport.write(b"250 2.6.0 taken after %.6f\r\n" % (time.monotonic() - came))

    async def _secure(self) -> None:
        loop = asyncio.get_running_loop()
        secured = await loop.start_tls(self.transport, self, self.context, server_side=True)
        self.transport, self.secured, self.upgrading = cast(asyncio.Transport, secured), True, False
        self._answer_all()  # what came while the handshake was being finished


async def serve(certificate: str, port: int, tally: Tally) -> None:
    """Serve until the process is killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, tally.tell)
    server = await loop.create_server(lambda: Sink(context, tally), "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sink", description=__doc__)
    parser.add_argument("certificate")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    given = parser.parse_args()
    uvloop.run(serve(given.certificate, given.port, Tally(delay=given.delay)))
