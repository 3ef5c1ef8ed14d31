"""The command line of `o365mailer-controller`. Every flag is also an environment variable; the flag wins."""

import argparse
import dataclasses
import os
import socket
from collections.abc import Mapping, Sequence

from o365mailer_contract import names
from o365mailer_contract.quantities import InvalidQuantity, seconds
from o365mailer_operator.controller.lease import SHORTEST
from o365mailer_operator.logs import LEVELS
from o365mailer_operator.token.endpoints import PRESET_HOSTS


@dataclasses.dataclass(frozen=True)
class Options:
    """What the installation decides."""

    namespace: str
    """Where the Lease is, and the webhook's authority."""
    identity: str
    """Who writes the Events, and the beginning of the Lease's holder: the pod's name."""
    watch_namespaces: tuple[str, ...]
    """Empty: all."""
    allowed_hosts: frozenset[str]
    entra_proxy: str | None
    health: tuple[str, int]
    lease_duration: float
    visit_interval: float
    webhook_configuration: str | None
    log_level: str


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """The options. Ends the process with a message on stderr and status 2 when one is wrong, as argparse does."""
    given = _parser(environment).parse_args(arguments)
    return Options(
        namespace=given.namespace,
        identity=given.identity,
        watch_namespaces=tuple(given.watch_namespace),
        allowed_hosts=PRESET_HOSTS | frozenset(given.allowed_host),
        entra_proxy=given.entra_proxy or None,
        health=given.health,
        lease_duration=given.lease_duration,
        visit_interval=given.visit_interval,
        webhook_configuration=given.webhook_configuration or None,
        log_level=given.log_level,
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    def default(variable: str, otherwise: str) -> str:
        return environment.get(variable) or otherwise

    def listed(variable: str) -> list[str]:
        return [part.strip() for part in environment.get(variable, "").split(",") if part.strip()]

    parser = argparse.ArgumentParser(
        prog="o365mailer-controller", description="Keeps the token Secrets of O365Mailers fresh.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--namespace", default=default("POD_NAMESPACE", "default"), help="of the Lease and the webhook's authority")
    add("--identity", default=default("POD_NAME", socket.gethostname()), help="this replica's name")
    add(
        "--watch-namespace",
        action="append",
        default=listed("O365MAILER_WATCH_NAMESPACES"),
        metavar="NAMESPACE",
        help="serve the mailers of this namespace only; can be repeated (default: of all namespaces)",
    )
    add(
        "--allowed-host",
        action="append",
        default=listed("O365MAILER_ALLOWED_HOSTS"),
        metavar="HOST[:PORT]",
        help="a host that mailers may name beside Microsoft's own; can be repeated",
    )
    add("--entra-proxy", default=default("O365MAILER_HTTPS_PROXY", ""), metavar="URL", help="HTTPS proxy to Entra")
    add("--health", type=_address, default=default(names.ENV_HEALTH, f"[::]:{names.HEALTH_PORT}"), help="HOST:PORT")
    add("--lease-duration", type=_lease, default=default("O365MAILER_LEASE_DURATION", "15s"))
    add(
        "--visit-interval",
        type=_duration,
        default=default("O365MAILER_VISIT_INTERVAL", "60s"),
        help="the longest time between two looks at a mailer's Secrets; a sixth of it at first while it is not Ready",
    )
    add(
        "--webhook-configuration",
        default=default("O365MAILER_WEBHOOK_CONFIGURATION", ""),
        metavar="NAME",
        help="keep the webhook's authority, and write it into this MutatingWebhookConfiguration",
    )
    add("--log-level", choices=LEVELS, default=default(names.ENV_LOG_LEVEL, "info"))
    return parser


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as [::]:9025 or 127.0.0.1:0")
    return host.strip("[]"), int(port)


def _duration(text: str) -> float:
    try:
        return seconds(text)
    except InvalidQuantity as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _lease(text: str) -> float:
    duration = _duration(text)
    if duration < SHORTEST:
        raise argparse.ArgumentTypeError(f"{text!r} is shorter than {SHORTEST:g}s")
    return duration
