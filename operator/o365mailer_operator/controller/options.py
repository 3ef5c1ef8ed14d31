"""The command line of `o365mailer-controller`."""

import dataclasses
import os
import socket
from collections.abc import Mapping, Sequence

from o365mailer_contract import names
from o365mailer_contract.quantities import seconds
from o365mailer_operator.controller.lease import SHORTEST
from o365mailer_operator.flags import Reader, address, listed, one_of, text
from o365mailer_operator.logs import LEVELS
from o365mailer_operator.token.endpoints import AllowedHosts


@dataclasses.dataclass(frozen=True)
class Options:
    """What the installation decides."""

    namespace: str
    """Where the Lease is, and the webhook's authority."""
    identity: str
    """Who writes the Events, and the beginning of the Lease's holder: the pod's name."""
    watch_namespaces: tuple[str, ...]
    """Empty: all."""
    allowed_hosts: AllowedHosts
    entra_proxy: str | None
    health: tuple[str, int]
    lease_duration: float
    reconcile_interval: float
    canary: bool
    """Whether logins at Exchange are tried."""
    webhook_configuration: str | None
    log_level: str


def parse(arguments: Sequence[str] | None, environment: Mapping[str, str] = os.environ) -> Options:
    """The options. Ends the process with status 2 and one line that names flag and variable when one is wrong."""
    reader = Reader("o365mailer-controller", "Keeps the token Secrets of O365Mailers fresh.", environment)
    _declare(reader)
    reader.parse(arguments)
    return Options(
        namespace=reader.value("namespace", text),
        identity=reader.value("identity", text),
        watch_namespaces=reader.value("watch-namespace", listed),
        allowed_hosts=AllowedHosts.in_addition(
            authority=reader.value("allow-authority-host", listed),
            submission=reader.value("allow-submission-host", listed),
        ),
        entra_proxy=reader.value("entra-proxy", str) or None,
        health=reader.value("health", address),
        lease_duration=reader.value("lease-duration", _lease),
        reconcile_interval=reader.value("reconcile-interval", seconds),
        canary=reader.value("canary", one_of(("on", "off"))) == "on",
        webhook_configuration=reader.value("webhook-configuration", str) or None,
        log_level=reader.value("log-level", one_of(LEVELS)),
    )


def _declare(reader: Reader) -> None:
    flag = reader.flag
    flag("namespace", "POD_NAMESPACE", "of the Lease and the webhook's authority", default="default")
    flag("identity", "POD_NAME", "this replica's name", default=socket.gethostname())
    flag(
        "watch-namespace",
        "O365MAILER_WATCH_NAMESPACES",
        "serve the mailers of this namespace only; without any, those of all namespaces",
        repeated=True,
    )
    flag(
        "allow-authority-host",
        "O365MAILER_ALLOW_AUTHORITY_HOSTS",
        "HOST[:PORT] that may give tokens, and so gets client secrets, in addition to Microsoft's own",
        repeated=True,
    )
    flag(
        "allow-submission-host",
        "O365MAILER_ALLOW_SUBMISSION_HOSTS",
        "HOST[:PORT] that may take mail, and so gets tokens, in addition to Microsoft's own",
        repeated=True,
    )
    flag("entra-proxy", "O365MAILER_HTTPS_PROXY", "URL of the HTTPS proxy to Entra")
    flag(
        "health",
        names.ENV_HEALTH,
        "HOST:PORT where probes and metrics are served",
        default=f"[::]:{names.HEALTH_PORT}",
    )
    flag(
        "lease-duration",
        "O365MAILER_LEASE_DURATION",
        f"another replica takes over within this time; {SHORTEST:g}s at least",
        default="15s",
    )
    flag(
        "reconcile-interval",
        "O365MAILER_RECONCILE_INTERVAL",
        "the longest time between two looks at a mailer's Secrets; a sixth of it at first while it is not Ready",
        default="60s",
    )
    flag(
        "canary",
        "O365MAILER_CANARY",
        "on | off: log in at Exchange with each mailer's token, without sending mail, to tell a refusal early",
        default="on",
    )
    flag(
        "webhook-configuration",
        "O365MAILER_WEBHOOK_CONFIGURATION",
        "keep the webhook's authority, and write it into the MutatingWebhookConfiguration of this name",
    )
    flag("log-level", names.ENV_LOG_LEVEL, " | ".join(LEVELS), default="info")


def _lease(given: str) -> float:
    duration = seconds(given)
    if duration < SHORTEST:
        raise ValueError(f"{given!r} is shorter than {SHORTEST:g}s")
    return duration
