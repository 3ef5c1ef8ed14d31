"""The command ``o365mailer-emulator``: reads its flags, listens, prints the addresses, and stops on a signal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from o365mailer_emulator import certificates
from o365mailer_emulator.errors import ConfigurationError
from o365mailer_emulator.listeners import Listeners
from o365mailer_emulator.service import Service
from o365mailer_emulator.tenancy import Tenancy, default_tenancy, read_tenancy

PREFIX = "O365EMULATOR_"


def main() -> None:
    """Runs until SIGTERM or Ctrl-C. Exit status 2 if a flag, a file or an address is wrong."""
    arguments = parse(sys.argv[1:], os.environ)
    try:
        asyncio.run(serve(arguments))
    except ConfigurationError as wrong:
        print(f"o365mailer-emulator: {wrong}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        pass  # Ctrl-C before the signal handler was in place


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    """The flags. Each may come from the environment: --ca-dir from O365EMULATOR_CA_DIR, for example."""
    parser = argparse.ArgumentParser(
        prog="o365mailer-emulator",
        description="Emulates Entra's token endpoint and Exchange Online's SMTP submission.",
        epilog=f"Each flag may also be set in the environment: --ca-dir is {PREFIX}CA_DIR. Lists are comma-separated.",
    )

    def flag(name: str, text: str, default: str | None = None, *, several: bool = False) -> None:
        value = environment.get(PREFIX + name.upper().replace("-", "_"), default)
        if several:
            listed = [item.strip() for item in (value or "").split(",") if item.strip()]
            parser.add_argument(f"--{name}", action="extend", nargs="+", default=listed, metavar="NAME", help=text)
        else:
            parser.add_argument(f"--{name}", default=value, metavar="VALUE", help=text)

    flag("entra", "HOST:PORT of Entra's endpoints, over TLS (default: %(default)s)", "127.0.0.1:8443")
    flag("smtp", "HOST:PORT of Exchange's submission (default: %(default)s)", "127.0.0.1:8587")
    flag("control", "HOST:PORT of the control API and the page, plain HTTP (default: %(default)s)", "127.0.0.1:8080")
    flag("host", "further names for the certificates", several=True)
    flag("public-authority", "the URL under which clients reach --entra, if it is not its address")
    flag("ca-dir", "keeps ca.crt and ca.key here and uses them again")
    flag("ca-file", "writes the CA's certificate here")
    flag("state-file", "writes the bound addresses here, as JSON, once everything listens")
    flag("config", "tenants, applications, mailboxes and settings, as JSON (docs/emulator.md)")
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        default=bool(environment.get(f"{PREFIX}UNTIL_STDIN_CLOSES")),
        help="also stop when standard input (a pipe) ends: with the process that started it, however that dies",
    )
    return parser.parse_args(arguments)


async def serve(arguments: argparse.Namespace) -> None:
    """Listens until a signal. Raises ConfigurationError if it cannot."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if arguments.until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), _at_end_of_input, stop)
    now = datetime.datetime.now(datetime.UTC)
    authority = certificates.keep(Path(arguments.ca_dir), now=now) if arguments.ca_dir else certificates.create(now=now)
    service = Service(
        tenancy=_tenancy(arguments.config),
        tls_context=authority.server_context(arguments.host, now=now),
        clock=time.time,
        fresh_id=secrets.token_hex,
    )
    ca_file = _ca_file(arguments, authority.pem)
    listeners = Listeners(service, ca=authority.pem, ca_file=ca_file, public_authority=arguments.public_authority)
    try:
        await listeners.open(entra=arguments.entra, smtp=arguments.smtp, control=arguments.control)
        announce(listeners.addresses(), arguments.state_file)
        await stop.wait()
    finally:
        await listeners.close()


def announce(addresses: dict[str, Any], state_file: str | None) -> None:
    """Writes the state file, whole or not at all, then prints one line for a person."""
    if state_file:
        _write(Path(state_file), json.dumps(addresses, indent=2).encode() + b"\n", flag="--state-file")
    smtp = addresses["smtp"]
    line = (
        f"Office 365 emulator: authority {addresses['authority']}/{addresses['tenant']}, "
        f"SMTP {smtp['host']}:{smtp['port']}, control and page {addresses['controlUrl']}/\n"
    )
    with contextlib.suppress(OSError):  # standard output is closed or full: the emulator serves all the same
        os.write(sys.stdout.fileno(), line.encode())


def _at_end_of_input(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def _tenancy(config: str | None) -> Tenancy:
    if not config:
        return default_tenancy()
    try:
        return read_tenancy(Path(config).read_bytes(), source=config)
    except OSError as wrong:
        raise ConfigurationError(f"--config {config}: {wrong.strerror}; name a file that can be read") from wrong


def _ca_file(arguments: argparse.Namespace, pem: bytes) -> str | None:
    if arguments.ca_file:
        _write(Path(arguments.ca_file), pem, flag="--ca-file")
        return str(Path(arguments.ca_file).absolute())
    return str(Path(arguments.ca_dir, "ca.crt").absolute()) if arguments.ca_dir else None


def _write(path: Path, content: bytes, *, flag: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as wrong:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ConfigurationError(f"{flag} {path}: {wrong.strerror}; name a place that can be written") from wrong


if __name__ == "__main__":
    main()
