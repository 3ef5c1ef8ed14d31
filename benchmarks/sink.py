"""The host that both relays submit to: STARTTLS, any XOAUTH2, every message taken and forgotten. A process of its own.

`python -m benchmarks.sink CERTIFICATE` prints its port.
"""

import asyncio
import ssl
import sys
from typing import Final

MESSAGE_LIMIT: Final = 2**26
"""Octets that may wait for the end of data."""

REPLIES: Final = {
    b"EHLO": b"250-sink\r\n250-PIPELINING\r\n250-SIZE 157286400\r\n250-8BITMIME\r\n250 AUTH XOAUTH2\r\n",
    b"AUTH": b"235 2.7.0 ok\r\n",
    b"DATA": b"354 go\r\n",
    b"QUIT": b"221 bye\r\n",
}


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
    """One connection to its end."""
    writer.write(b"220 sink\r\n")
    secured = False
    while line := await reader.readline():
        verb = line[:4].upper()
        if verb == b"STAR":
            writer.write(b"220 go\r\n")
            await writer.start_tls(context)
            secured = True
        elif verb == b"EHLO" and not secured:
            writer.write(b"250-sink\r\n250 STARTTLS\r\n")
        else:
            writer.write(REPLIES.get(verb, b"250 ok\r\n"))
        if verb == b"DATA":
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 2.0.0 taken\r\n")
        if verb == b"QUIT":
            break
    writer.close()


async def serve(certificate: str) -> None:
    """Until it is killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(reader, writer, context)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=MESSAGE_LIMIT)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
