"""The submission host's addresses.

A name with a dot is asked for as it stands, with the root's dot behind it. In a pod, resolv.conf says `ndots:5` and
names three search domains or more: without that dot `smtp.office365.com` would first be asked for in each of them, for
A and for AAAA, before every connection; and a wildcard record in the node's own domain would answer for it. (glibc asks
them one after the other; musl does too, and gives up on the first that fails.)

Three kinds of names are not in the DNS under the root, and stay as they are: literals, names without a dot
(`localhost`, a Service of the same namespace), and what /etc/hosts names (a pod's hostAliases): the C library does not
find it there with a dot behind it. A name that the root does not know is then asked for with the search domains:
`relay.mail.svc`.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

HOSTS: Final = Path("/etc/hosts")

UNKNOWN: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""The name servers answered, and there is no such name or no address of it; anything else is their outage."""

LITERAL: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Endpoint(NamedTuple):
    """An address family, and an address with its port as the socket module has it."""

    family: int
    address: tuple[Any, ...]


Lookup = Callable[[str, int], Awaitable[Iterable[Endpoint]]]


async def system_lookup(name: str, port: int) -> list[Endpoint]:
    """The C library's answer, in a thread of the event loop's. Raises socket.gaierror."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [Endpoint(family, address) for family, _, _, _, address in found]


class Resolver:
    """Looks a name up once for all who ask meanwhile: while name servers are silent each look-up occupies a thread."""

    def __init__(self, *, lookup: Lookup = system_lookup, hosts: Path = HOSTS) -> None:
        self.lookup, self.hosts = lookup, hosts
        self.running: dict[tuple[str, int], asyncio.Task[list[Endpoint]]] = {}

    async def endpoints(self, host: str, port: int, *, timeout: float) -> list[Endpoint]:
        """All of them, IPv6 and IPv4 in turn. Raises TimeoutError after so many seconds, or socket.gaierror."""
        task = self.running.get((host, port))
        if not task:
            task = self.running[host, port] = asyncio.ensure_future(self._resolved(host, port))
            task.add_done_callback(lambda done: self._forget(host, port, done))
        async with asyncio.timeout(timeout):
            return await asyncio.shield(task)

    def _forget(self, host: str, port: int, done: asyncio.Task[list[Endpoint]]) -> None:
        del self.running[host, port]
        if not done.cancelled():
            done.exception()  # seen, should nobody have waited for it

    async def _resolved(self, host: str, port: int) -> list[Endpoint]:
        if _literal(host) or "." not in host or self._in_hosts(host):
            return interleaved(await self.lookup(host, port))
        try:
            return interleaved(await self.lookup(host.rstrip(".") + ".", port))
        except socket.gaierror as error:
            if error.errno not in UNKNOWN:
                raise
        return interleaved(await self.lookup(host.rstrip("."), port))

    def _in_hosts(self, host: str) -> bool:
        try:
            lines = self.hosts.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return False
        return any(host.lower() in line.partition("#")[0].lower().split()[1:] for line in lines)


def _literal(host: str) -> bool:
    """Whether this is an address already."""
    try:
        socket.getaddrinfo(host, 0, flags=LITERAL)
    except (OSError, UnicodeError):
        return False
    return True


def interleaved(found: Iterable[Endpoint]) -> list[Endpoint]:
    """The families in turn, the first one's first (RFC 8305 §4), so that a dead one costs one wait, not all of them."""
    by_family: dict[int, list[Endpoint]] = {}
    for endpoint in dict.fromkeys(found):
        by_family.setdefault(endpoint.family, []).append(endpoint)
    return [endpoint for endpoint in chain.from_iterable(zip_longest(*by_family.values())) if endpoint]
