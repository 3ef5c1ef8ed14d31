"""Where to listen: `127.0.0.1:25`, `[::1]:25`, port 0 for any."""

import errno
import ipaddress
import os
import re
import socket
from typing import Final, NamedTuple

from o365mailer_sidecar.errors import CannotListen, WrongCommandLine

NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What binding says on a machine without IPv6."""

OPTIONAL: Final = frozenset({"::1", "::"})
"""Addresses that a machine without IPv6 may lack."""

BACKLOG: Final = 128


class Address(NamedTuple):
    """An IP address and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine (in a cluster: this pod) can reach it."""
        return ipaddress.ip_address(self.host).is_loopback


def parse(text: str, *, source: str) -> Address:
    """Raises WrongCommandLine naming `source`, the flag or the variable that `text` comes from."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", text)
    try:
        if not match or int(match[3]) > 65535:
            raise ValueError
        return Address(str(ipaddress.ip_address(match[1] or match[2])), int(match[3]))
    except ValueError:
        raise WrongCommandLine(
            f"{source}: {text!r} is not an IP address and a port, such as 127.0.0.1:25 or [::1]:25"
        ) from None


def bind(address: Address, *, dual_stack: bool = False) -> socket.socket | None:
    """A listening socket; None for IPv6 loopback where there is none. Raises CannotListen, which says the remedy."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        bound = socket.create_server(
            (address.host, address.port),
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=dual_stack and family == socket.AF_INET6 and address.host == "::",
        )
    except OSError as error:
        if error.errno in NO_SUCH_ADDRESS and address.host in OPTIONAL:
            return None
        hints = {
            errno.EACCES: "a port below 1024 needs the sysctl net.ipv4.ip_unprivileged_port_start, or another port",
            errno.EADDRINUSE: "another process listens there; choose another port",
        }
        hint = hints.get(error.errno or 0, "choose another address")
        raise CannotListen(f"cannot listen on {address}: {os.strerror(error.errno or 0)}; {hint}") from None
    # Inherited by every connection. asyncio sets it itself, but not for sockets that were made without naming TCP, and
    # then a reply in two writes waits 40 ms for the app's delayed acknowledgement.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def bind_health(address: Address) -> socket.socket:
    """As `bind`, on both IP versions for `[::]`, and on IPv4 alone where there is no IPv6. Raises CannotListen."""
    if address.host == "::" and not socket.has_dualstack_ipv6():
        address = Address("0.0.0.0", address.port)
    bound = bind(address, dual_stack=True)
    if not bound:
        raise CannotListen(f"cannot listen on {address}: this machine has no such address")
    return bound


def bound_address(bound: socket.socket) -> Address:
    """The address with the port that was chosen for port 0."""
    host, port = bound.getsockname()[:2]
    return Address(host, port)
