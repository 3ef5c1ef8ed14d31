"""The three addresses: opened together, described by one document, closed together."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiohttp import web

from o365mailer_emulator.control import Control
from o365mailer_emulator.entra import Entra
from o365mailer_emulator.errors import ConfigurationError
from o365mailer_emulator.service import Service


class Listeners:
    """Opens Entra, SMTP and control; ``addresses`` is the document of the state file."""

    def __init__(self, service: Service, *, ca: bytes, ca_file: str | None, public_authority: str | None) -> None:
        self._service = service
        self._ca = ca
        self._ca_file = ca_file
        self._public_authority = public_authority.rstrip("/") if public_authority else None
        self._bound: dict[str, tuple[str, int]] = {}
        self._runners: list[web.AppRunner] = []
        self._smtp: asyncio.Server | None = None

    async def open(self, *, entra: str, smtp: str, control: str) -> None:
        """Listens on all three (port 0: a free port). ConfigurationError names a flag that cannot be used."""
        entra_app = Entra(self._service, self.authority).application()
        control_app = Control(self._service, self.addresses, self._ca).application()
        await self._http("entra", entra, entra_app, self._service.tls_context)
        host, port = parse_address("smtp", smtp)
        try:
            self._smtp = await self._service.submission.listen(host or None, port)
        except OSError as wrong:
            raise _cannot("smtp", smtp, wrong) from wrong
        self._bound["smtp"] = (host, self._smtp.sockets[0].getsockname()[1])
        await self._http("control", control, control_app, None)

    async def close(self) -> None:
        """Stops listening and resets open connections."""
        if self._smtp is not None:
            self._smtp.close()
        await self._service.submission.drop()
        for runner in self._runners:
            await runner.cleanup()

    def authority(self) -> str:
        """The URL in place of https://login.microsoftonline.com."""
        return self._public_authority or f"https://{_url_host(*self._bound['entra'])}"

    def addresses(self) -> dict[str, Any]:
        """All addresses, and what a client needs to use them. It contains no secret."""
        tenancy = self._service.tenancy
        first = {
            "tenant": tenancy.tenants[0].id if tenancy.tenants else None,
            "clientId": tenancy.applications[0].client_id if tenancy.applications else None,
            "mailbox": tenancy.mailboxes[0].address if tenancy.mailboxes else None,
        }
        bound = {name: {"host": _reachable(host), "port": port} for name, (host, port) in self._bound.items()}
        control = f"http://{_url_host(*self._bound['control'])}" if "control" in self._bound else None
        return {**bound, "authority": self.authority(), "controlUrl": control, "caFile": self._ca_file, **first}

    async def _http(self, name: str, address: str, app: web.Application, context: ssl.SSLContext | None) -> None:
        host, port = parse_address(name, address)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, host or None, port, ssl_context=context)
        try:
            await site.start()
        except OSError as wrong:
            raise _cannot(name, address, wrong) from wrong
        self._bound[name] = (host, runner.addresses[0][1])


def parse_address(flag: str, text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[HOST]:PORT``; an empty host is every interface. ConfigurationError for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise ConfigurationError(f"--{flag} is {text!r}; write HOST:PORT, 127.0.0.1:0 for a free port")
    if not host and port == "0":
        raise ConfigurationError(f"--{flag} is {text!r}; port 0 needs a host, 127.0.0.1:0 for example")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _cannot(flag: str, address: str, wrong: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"--{flag} {address} cannot be had: {wrong.strerror}; choose another, port 0 is any free one"
    )


def _reachable(host: str) -> str:
    """The address to connect to if a wildcard is bound."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _url_host(host: str, port: int) -> str:
    reachable = _reachable(host)
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"
