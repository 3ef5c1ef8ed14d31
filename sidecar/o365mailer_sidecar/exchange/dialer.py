"""TCP to the submission host: its addresses one after the other, the last good one first.

One attempt at a time, a few seconds each. Racing them (RFC 8305) would win a second or two of a first connection, and
cost connections that are opened and dropped at a host that counts them.
"""

import asyncio
import os
import socket
from typing import Final

from o365mailer_sidecar.errors import Away
from o365mailer_sidecar.exchange.resolver import Endpoint, Resolver
from o365mailer_sidecar.timeouts import Timeouts

NO_ANSWER: Final = "no answer in time"


class Dialer:
    """Remembers which address worked last, and which did not since."""

    def __init__(self, resolver: Resolver | None = None) -> None:
        self.resolver = resolver or Resolver()
        self.good: Endpoint | None = None
        self.failed: set[Endpoint] = set()

    async def dial(self, host: str, port: int, *, timeouts: Timeouts) -> tuple[socket.socket, Endpoint]:
        """A connected socket, and with whom. Raises Away, whose text names host, port and every cause."""
        try:
            endpoints = await self.resolver.endpoints(host, port, timeout=timeouts.resolve)
        except (OSError, UnicodeError) as error:
            raise Away(f"{host}:{port}: {_cause(error)}") from None
        causes: set[str] = set()
        try:
            async with asyncio.timeout(timeouts.all_addresses):
                for endpoint in self._ordered(endpoints):
                    try:
                        async with asyncio.timeout(timeouts.connect):
                            return await _connected(endpoint), endpoint
                    except OSError as error:
                        causes.add(_cause(error))
                        self.worked(endpoint, False)
        except TimeoutError:
            causes.add(NO_ANSWER)
        raise Away(f"{host}:{port}: {', '.join(sorted(causes)) or 'no address'}")

    def worked(self, endpoint: Endpoint, well: bool) -> None:
        """What became of a connection: the one that got through its greeting, TLS and AUTH is the one to try first."""
        if well:
            self.good = endpoint
            self.failed.clear()
        else:
            self.failed.add(endpoint)

    def _ordered(self, endpoints: list[Endpoint]) -> list[Endpoint]:
        return sorted(endpoints, key=lambda endpoint: (endpoint in self.failed, endpoint != self.good))


async def _connected(endpoint: Endpoint) -> socket.socket:
    made = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, endpoint.address)
    except BaseException:
        made.close()
        raise
    return made


def _cause(error: Exception) -> str:
    """The system's words; asyncio's own name the address, and differ with the number of them."""
    if isinstance(error, socket.gaierror):
        return error.strerror or "the name cannot be looked up"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return NO_ANSWER if isinstance(error, TimeoutError) else "no address of this name"
