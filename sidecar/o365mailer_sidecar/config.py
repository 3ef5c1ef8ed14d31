"""The command line, the environment that stands for it where a flag is not given, and the sockets to listen on."""

import argparse
import errno
import ipaddress
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from o365mailer_contract import names
from o365mailer_contract.quantities import InvalidQuantity, seconds
from o365mailer_sidecar.errors import CannotListen, WrongCommandLine
from o365mailer_sidecar.telemetry.event_log import LEVELS

# --- Addresses -------------------------------------------------------------------------------------------------------

NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors of bind on a machine without IPv6."""

OPTIONAL: Final = frozenset({"::1", "::"})
"""Addresses that a machine without IPv6 may lack."""

BACKLOG: Final = 128


class Address(NamedTuple):
    """An IP address and a port, written `127.0.0.1:25` or `[::1]:25`; port 0: any."""

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
    """A listening socket; None for an IPv6 address in `OPTIONAL` where there is no IPv6. Raises CannotListen."""
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


# --- The command line -----------------------------------------------------------------------------------------------

ENVIRONMENT: Final = {
    "mailer_dir": names.ENV_MAILER_DIR,
    "listen": names.ENV_LISTEN,
    "health": names.ENV_HEALTH,
    "grace": names.ENV_GRACE,
    "scratch_dir": names.ENV_SCRATCH_DIR,
    "spool_dir": names.ENV_SPOOL_DIR,
    "log_level": names.ENV_LOG_LEVEL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line and the environment say."""

    mailer_dir: Path
    listen: tuple[Address, ...]
    health: Address
    grace: float
    """Seconds."""
    scratch_dir: Path | None
    """Where messages over 256 KiB are buffered until their verdict; None: the system's temporary directory."""
    spool_dir: Path | None
    """Where the relay queues mail; None: it queues nothing, and the app keeps the mail."""
    log_level: str | None
    """None: as the mailer's settings say."""


def options(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Raises WrongCommandLine, which names the flag or the variable; SystemExit for --help and unknown flags."""
    given = vars(parser().parse_args(arguments))
    texts: dict[str, tuple[str, str | list[str] | None]] = {}
    for name, variable in ENVIRONMENT.items():
        flag = f"--{name.replace('_', '-')}"
        texts[name] = (flag, given[name]) if given[name] is not None else (variable, environment.get(variable) or None)
    return Options(
        mailer_dir=Path(str(texts["mailer_dir"][1] or names.DIRECTORY_MOUNT)),
        listen=_listen(*texts["listen"], anywhere=given["listen_anywhere"]),
        health=parse(str(texts["health"][1] or f"[::]:{names.HEALTH_PORT}"), source=texts["health"][0]),
        grace=_grace(*texts["grace"]),
        scratch_dir=Path(str(texts["scratch_dir"][1])) if texts["scratch_dir"][1] else None,
        spool_dir=Path(str(texts["spool_dir"][1])) if texts["spool_dir"][1] else None,
        log_level=_level(*texts["log_level"]),
    )


def parser() -> argparse.ArgumentParser:
    """The flags. Each is also an environment variable, except the one that opens the relay to a network."""
    made = argparse.ArgumentParser(
        prog="o365mailer-sidecar",
        description="Take mail on loopback and submit it to Office 365 as the mailer directory says.",
        allow_abbrev=False,
    )
    made.add_argument("--mailer-dir", metavar="DIR", help=f"the mailer directory (default {names.DIRECTORY_MOUNT})")
    made.add_argument(
        "--listen",
        metavar="HOST:PORT",
        action="append",
        help="where apps connect; may be repeated; port 0 takes a free port (default 127.0.0.1:25 and [::1]:25)",
    )
    made.add_argument(
        "--listen-anywhere",
        action="store_true",
        help="allow --listen beyond loopback: every client that reaches the port can send as the mailbox, "
        "without a password",
    )
    made.add_argument(
        "--health", metavar="HOST:PORT", help=f"/livez, /readyz and /metrics (default [::]:{names.HEALTH_PORT})"
    )
    made.add_argument("--grace", metavar="DURATION", help="how long SIGTERM waits for what is in flight (default 25s)")
    made.add_argument(
        "--scratch-dir", metavar="DIR", help="where large messages wait for their verdict (default: the system's)"
    )
    made.add_argument(
        "--spool-dir",
        metavar="DIR",
        help="a disk to queue on while Office 365 is away (default: none, and 451)",
    )
    made.add_argument("--log-level", metavar="LEVEL", help=f"{', '.join(LEVELS)} (default: the mailer's, or info)")
    return made


def _listen(source: str, given: str | list[str] | None, *, anywhere: bool) -> tuple[Address, ...]:
    texts = given.split(",") if isinstance(given, str) else given
    if not texts:
        texts = [f"127.0.0.1:{names.SMTP_PORT}", f"[::1]:{names.SMTP_PORT}"]
    addresses = tuple(parse(text.strip(), source=source) for text in texts)
    for address in addresses:
        if not address.loopback and not anywhere:
            raise WrongCommandLine(
                f"{source}: {address} is not loopback, and any client that reaches it could send mail as the mailbox; "
                "use 127.0.0.1 or [::1], or add --listen-anywhere if that is what you want"
            )
    return addresses


def _grace(source: str, given: str | list[str] | None) -> float:
    try:
        return seconds(str(given or "25s"))
    except InvalidQuantity as error:
        raise WrongCommandLine(f"{source}: {error}") from None


def _level(source: str, given: str | list[str] | None) -> str | None:
    if given is not None and given not in LEVELS:
        raise WrongCommandLine(f"{source}: {given!r} is none of {', '.join(LEVELS)}")
    return str(given) if given else None
