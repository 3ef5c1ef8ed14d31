"""The host that both relays submit to: STARTTLS, any XOAUTH2, every message taken and forgotten. A process of its own.

A bare protocol, so that it is not what is measured. `python -m benchmarks.sink CERTIFICATE` prints its port.
"""

import asyncio
import ssl
import sys
from typing import Final, cast

EXTENSIONS: Final = b"250-PIPELINING\r\n250-SIZE 157286400\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 AUTH XOAUTH2\r\n"
REPLIES: Final = {
    b"AUTH": b"235 2.7.0 ok\r\n",
    b"DATA": b"354 go\r\n",
    b"QUIT": b"221 bye\r\n",
}


class Sink(asyncio.Protocol):
    """One connection."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.octets = bytearray()
        self.secured = self.upgrading = self.data = False
        self.chunk = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The greeting."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        """All that is whole is answered in one write."""
        self.octets += data
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
        end = self.octets.find(b"\n") + 1
        if not end:
            return None
        line = bytes(self.octets[:end])
        del self.octets[:end]
        return self._answer(line)

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
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
        taken = min(self.chunk, len(self.octets))
        del self.octets[:taken]
        self.chunk -= taken
        return None if self.chunk else b"250 2.6.0 taken\r\n"

    def _skip_data(self) -> bytes | None:
        end = self.octets.find(b"\r\n.\r\n")
        if end < 0:
            del self.octets[:-4]
            return None
        del self.octets[: end + 5]
        self.data = False
        return b"250 2.0.0 taken\r\n"

    async def _secure(self) -> None:
        loop = asyncio.get_running_loop()
        secured = await loop.start_tls(self.transport, self, self.context, server_side=True)
        self.transport, self.secured, self.upgrading = cast(asyncio.Transport, secured), True, False
        self._answer_all()  # what came while the handshake was being finished


async def serve(certificate: str) -> None:
    """Until it is killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(lambda: Sink(context), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
