"""The plain relay, as one writes it in an afternoon. aiosmtpd receives, three aiosmtplib clients `sendmail`, on uvloop.

It has none of the sidecar's checks: it takes what aiosmtpd takes, and one refused recipient is lost in its 250.

`python -m benchmarks.plain_relay PORT-OF-THE-SINK AUTHORITY` prints its port.
"""

import asyncio
import ssl
import sys
from typing import Final

import aiosmtplib
import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session

CONNECTIONS: Final = 3
MESSAGE_LIMIT: Final = 2**26
TOKEN: Final = "token-not-a-secret"


class Pool:
    """Three clients, opened when first needed and then kept."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.port, self.context = port, context
        self.free: asyncio.LifoQueue[aiosmtplib.SMTP | None] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self.free.put_nowait(None)

    async def send(self, sender: str, recipients: list[str], content: bytes) -> None:
        """Relay one message."""
        client = await self.free.get()
        try:
            if client is None or not client.is_connected:
                client = aiosmtplib.SMTP(
                    hostname="127.0.0.1",
                    port=self.port,
                    start_tls=True,
                    tls_context=self.context,
                    local_hostname="plain",
                )
                await client.connect()
                await client.auth_xoauth2("noreply@contoso.com", TOKEN)
            await client.sendmail(sender, recipients, content)
        finally:
            self.free.put_nowait(client)


class Handler:
    """aiosmtpd's handler."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002
        """Answer 250 after the host's 250."""
        content = envelope.content
        if envelope.mail_from is None or not isinstance(content, bytes):
            return "451 no"
        await self.pool.send(envelope.mail_from, envelope.rcpt_tos, content)
        return "250 ok"


async def serve(port: int, authority: str) -> None:
    """Serve until the process is killed."""
    loop = asyncio.get_running_loop()
    handler = Handler(Pool(port, ssl.create_default_context(cafile=authority)))
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="plain", data_size_limit=MESSAGE_LIMIT, loop=loop), "127.0.0.1", 0
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
