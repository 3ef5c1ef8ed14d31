"""From the greeting to TLS, with nothing left over (RFC 3207 §4.2).

aiosmtplib drops octets that arrive with the 220 to STARTTLS without a word. They can only come from somebody between
us and the host, so this part of the conversation is held here, and such a connection is closed before a token is near.
"""

import asyncio
import ssl
from typing import Final, cast

import aiosmtplib

from o365mailer_sidecar.errors import Away, Distrusted
from o365mailer_sidecar.hearing import Hearing
from o365mailer_sidecar.timeouts import Timeouts

REPLY_LIMIT: Final = 2**15
"""Octets of one reply in clear."""

OUT_OF_TURN: Final = "the submission host spoke out of turn before TLS"


class ClearTalk(asyncio.Protocol):
    """One command, one reply; anything beyond is an error."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.octets = bytearray()
        self.complete: asyncio.Future[None] | None = None
        self.lost = False

    def data_received(self, data: bytes) -> None:
        """Collect; more than a reply is found by `ask`."""
        self.octets += data
        if self.complete and not self.complete.done() and (_ends(self.octets) or len(self.octets) > REPLY_LIMIT):
            self.complete.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # why does not matter
        """Whoever waits is told."""
        self.lost = True
        if self.complete and not self.complete.done():
            self.complete.set_result(None)

    async def ask(self, command: bytes, *, timeout: float) -> tuple[int, str]:
        """Code and text of the reply. Raises Away, or Distrusted for octets that nobody asked for."""
        if self.octets:
            raise Distrusted(OUT_OF_TURN)
        self.complete = asyncio.get_running_loop().create_future()
        self.transport.write(command + b"\r\n")
        try:
            async with asyncio.timeout(timeout):
                await self.complete
        except TimeoutError:
            raise Away(f"no answer to {command.partition(b' ')[0].decode()} within {timeout:g} s") from None
        if self.lost and not self.octets:
            raise Away("the connection ended before TLS")
        reply = _only_reply(bytes(self.octets))
        self.octets.clear()
        return reply


def _ends(octets: bytearray) -> bool:
    line = octets.rstrip(b"\r\n").rpartition(b"\n")[2]
    return octets.endswith(b"\n") and line[3:4] != b"-"


def _only_reply(octets: bytes) -> tuple[int, str]:
    """The one reply these octets are. Raises Distrusted."""
    lines = octets.decode("ascii", "replace").split("\r\n")
    code, last = lines[0][:3], len(lines) - 2
    continued = all(line[:4] == f"{code}-" for line in lines[:last])
    if lines[-1] or not code.isdigit() or not continued or lines[last][:3] != code or lines[last][3:4] == "-":
        raise Distrusted("the submission host sent more than one answer, or none that is SMTP, before TLS")
    return int(code), "\n".join(line[4:] for line in lines[: last + 1])


async def upgrade(
    client: aiosmtplib.SMTP, *, context: ssl.SSLContext, host: str, name: str, timeouts: Timeouts
) -> None:
    """Bring a client that has read its greeting under TLS. Raises Away, Distrusted; ssl.SSLError as it is.

    `client` gets a fresh protocol: nothing that was said in clear is remembered.
    """
    transport = cast(asyncio.Transport, client.transport)  # connected a moment ago
    talk = ClearTalk(transport)
    if client.protocol and client.protocol._buffer:  # noqa: SLF001  # what came behind the greeting is only there
        raise Distrusted(OUT_OF_TURN)
    transport.set_protocol(talk)
    code, text = await talk.ask(b"EHLO " + name.encode(), timeout=timeouts.ehlo)
    if code != 250:
        raise Away(f"{code} to EHLO")
    if "STARTTLS" not in text.upper().split("\n")[1:]:
        raise Distrusted(f"{host} offers no STARTTLS")
    code, _ = await talk.ask(b"STARTTLS", timeout=timeouts.starttls)
    if code != 220:
        raise Away(f"{code} to STARTTLS")
    loop = asyncio.get_running_loop()
    protocol = Hearing(loop=loop, connection_lost_callback=lambda _: client.close())
    secured = await loop.start_tls(
        transport, protocol, context, server_hostname=host, ssl_handshake_timeout=timeouts.tls
    )
    if secured is None:
        raise Away("the connection ended during the TLS handshake")
    protocol.connection_made(secured)
    client.protocol, client.transport = protocol, secured
