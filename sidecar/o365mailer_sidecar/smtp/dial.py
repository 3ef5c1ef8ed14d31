"""TCP to the submission host: look its name up, then try its addresses one after the other, the last good one first.

A name with a dot is looked up with the root's dot after it. In a pod, resolv.conf says `ndots:5` and has three search
domains or more. Without that dot the C library would look up `smtp.office365.com` in each of them first, for A and for
AAAA, before every connection, and a wildcard record in the node's own domain would answer. (glibc tries one after the
other; musl does too, and gives up at the first failure.)

Three kinds of names are not in the DNS under the root, and stay as they are: literals, names without a dot
(`localhost`, a Service of the same namespace), and names in /etc/hosts (a pod's hostAliases), where the C library does
not find them with a dot at the end. A name that the root does not know is looked up with the search domains then:
`relay.mail.svc`.

One address is tried at a time, for a few seconds. Racing them (RFC 8305) would win a second or two of a first
connection, and cost connections that are opened and dropped at a host that counts them.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

from o365mailer_sidecar.errors import Away
from o365mailer_sidecar.timeouts import Timeouts

HOSTS: Final = Path("/etc/hosts")

UNKNOWN: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""The name servers answered that the name, or an address of it, does not exist. Anything else is their outage."""

NO_ANSWER: Final = "no answer in time"

LITERAL: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Endpoint(NamedTuple):
    """An address family, and an address with its port in the socket module's form."""

    family: int
    address: tuple[Any, ...]


Lookup = Callable[[str, int], Awaitable[Iterable[Endpoint]]]


async def system_lookup(name: str, port: int) -> list[Endpoint]:
    """The C library's answer, in a thread of the event loop's. Raises socket.gaierror."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [Endpoint(family, address) for family, _, _, _, address in found]


class Resolver:
    """Shares one look-up between callers: while name servers are silent, each look-up holds a thread."""

    def __init__(self, *, lookup: Lookup = system_lookup, hosts: Path = HOSTS) -> None:
        self.lookup, self.hosts = lookup, hosts
        self.running: dict[tuple[str, int], asyncio.Task[list[Endpoint]]] = {}

    async def endpoints(self, host: str, port: int, *, timeout: float) -> list[Endpoint]:
        """All addresses, IPv6 and IPv4 in turn. Raises TimeoutError after `timeout` seconds, or socket.gaierror."""
        task = self.running.get((host, port))
        if not task:
            task = self.running[host, port] = asyncio.ensure_future(self._resolved(host, port))
            task.add_done_callback(lambda done: self._forget(host, port, done))
        async with asyncio.timeout(timeout):
            return await asyncio.shield(task)

    def _forget(self, host: str, port: int, done: asyncio.Task[list[Endpoint]]) -> None:
        del self.running[host, port]
        if not done.cancelled():
            done.exception()  # read, or asyncio would report it if no caller has waited

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
    """Whether the host is an address already."""
    try:
        socket.getaddrinfo(host, 0, flags=LITERAL)
    except (OSError, UnicodeError):
        return False
    return True


def interleaved(found: Iterable[Endpoint]) -> list[Endpoint]:
    """The families in turn, the first one's first (RFC 8305 §4): a dead family then costs one wait, not all of them."""
    by_family: dict[int, list[Endpoint]] = {}
    for endpoint in dict.fromkeys(found):
        by_family.setdefault(endpoint.family, []).append(endpoint)
    return [endpoint for endpoint in chain.from_iterable(zip_longest(*by_family.values())) if endpoint]


class Dialer:
    """Knows which address worked last, and which have failed since."""

    def __init__(self, resolver: Resolver | None = None) -> None:
        self.resolver = resolver or Resolver()
        self.good: Endpoint | None = None
        self.failed: set[Endpoint] = set()

    async def dial(self, host: str, port: int, *, timeouts: Timeouts) -> tuple[socket.socket, Endpoint]:
        """A connected socket and its address. Raises Away, whose text names host, port and every cause."""
        try:
            endpoints = await self.resolver.endpoints(host, port, timeout=timeouts.resolve)
        except (OSError, UnicodeError) as error:
            raise Away(f"{host}:{port}: {_cause(error)}") from None
        causes: set[str] = set()
        try:
            async with asyncio.timeout(timeouts.all_addresses):
                for endpoint in sorted(endpoints, key=lambda one: (one in self.failed, one != self.good)):
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
        """Note whether a connection worked. The address that got through greeting, TLS and AUTH is tried first."""
        if well:
            self.good = endpoint
            self.failed.clear()
        else:
            self.failed.add(endpoint)


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
    """The system's words. Those of asyncio name the addresses, so that the text would change with their number."""
    if isinstance(error, socket.gaierror):
        return error.strerror or "the name cannot be looked up"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return NO_ANSWER if isinstance(error, TimeoutError) else "no address of this name"
