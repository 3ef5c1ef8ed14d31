"""The command line of `o365mailer-webhook`."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from o365mailer_contract import names, quantities
from o365mailer_operator.flags import Reader, address, listed, one_of, text
from o365mailer_operator.logs import LEVELS
from o365mailer_operator.pki.leaf import service_names
from o365mailer_operator.webhook.resources import DEFAULTS, Amounts, amount
from o365mailer_operator.webhook.settings import PULL_POLICIES, DefaultSpool, PullPolicy, Settings


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the installation decides."""

    listen: tuple[str, int]
    health: tuple[str, int]
    ca_directory: Path
    server_names: tuple[str, ...]
    leaf_lifetime: datetime.timedelta
    drain: float
    """Seconds that are served on after SIGTERM."""
    log_level: str
    settings: Settings


def parse(arguments: Sequence[str] | None, environment: Mapping[str, str]) -> Options:
    """The options. Ends the process with status 2 and one line that names flag and variable when one is wrong."""
    reader = Reader("o365mailer-webhook", "Admission webhook of O365 Mailer.", environment)
    _declare(reader)
    reader.parse(arguments)
    service, namespace = reader.value("service-name", text), reader.value("service-namespace", text)
    return Options(
        listen=reader.value("listen", address),
        health=reader.value("health", address),
        ca_directory=Path(reader.value("ca-directory", text)),
        server_names=service_names(service, namespace, reader.value("extra-names", listed)),
        leaf_lifetime=datetime.timedelta(seconds=reader.value("leaf-lifetime", quantities.seconds)),
        drain=reader.value("drain", quantities.seconds),
        log_level=reader.value("log-level", one_of(LEVELS)),
        settings=Settings(
            image=reader.value("image", text),
            image_pull_policy=cast(PullPolicy, reader.value("image-pull-policy", one_of(PULL_POLICIES))),
            image_pull_secrets=reader.value("image-pull-secrets", listed),
            resources=reader.value("resources", _resources),
            log_level=reader.value("sidecar-log-level", one_of(("", *LEVELS))) or None,
            spool=cast(DefaultSpool, reader.value("spool", one_of(("", names.SPOOL_EPHEMERAL)))),
            openshift=reader.value("openshift", one_of(("true", "false"))) == "true",
        ),
    )


def _declare(reader: Reader) -> None:
    flag = reader.flag
    flag(
        "listen",
        "O365MAILER_WEBHOOK_LISTEN",
        "HOST:PORT where admission requests are answered, over TLS",
        default="[::]:10250",
    )
    flag(
        "health",
        names.ENV_HEALTH,
        "HOST:PORT where probes and metrics are served",
        default=f"[::]:{names.HEALTH_PORT}",
    )
    flag("image", "O365MAILER_SIDECAR_IMAGE", "the sidecar's image")
    flag("image-pull-policy", "O365MAILER_SIDECAR_PULL_POLICY", " | ".join(PULL_POLICIES), default="IfNotPresent")
    flag("image-pull-secrets", "O365MAILER_SIDECAR_PULL_SECRETS", "names, comma-separated, appended to the pod's")
    flag(
        "resources",
        "O365MAILER_SIDECAR_RESOURCES",
        'the sidecar\'s, as JSON: {"requests": {…}, "limits": {…}}',
    )
    flag("sidecar-log-level", "O365MAILER_SIDECAR_LOG_LEVEL", f"{' | '.join(LEVELS)}; empty: as the mailer says")
    flag(
        "spool",
        "O365MAILER_SIDECAR_SPOOL",
        f"of pods that have no annotation for it: empty for none, or {names.SPOOL_EPHEMERAL}",
    )
    flag("ca-directory", "O365MAILER_WEBHOOK_CA_DIR", f"where the Secret {names.CA_SECRET} is mounted")
    flag("service-name", "O365MAILER_WEBHOOK_SERVICE", "the Service that the API server calls")
    flag("service-namespace", "POD_NAMESPACE", "its namespace")
    flag(
        "extra-names",
        "O365MAILER_WEBHOOK_EXTRA_NAMES",
        "further DNS names or addresses for the certificate, comma-separated",
    )
    flag(
        "openshift",
        "O365MAILER_OPENSHIFT",
        "true | false: let the platform choose the sidecar's uid",
        default="false",
    )
    flag(
        "leaf-lifetime",
        "O365MAILER_WEBHOOK_LEAF_LIFETIME",
        "of the server certificate, which is renewed after two thirds of it",
        default="24h",
    )
    flag("drain", "O365MAILER_WEBHOOK_DRAIN", "how long requests are still answered after SIGTERM", default="5s")
    flag("log-level", names.ENV_LOG_LEVEL, " | ".join(LEVELS), default="info")


class _Resources(msgspec.Struct, forbid_unknown_fields=True):
    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


def _resources(given: str) -> Amounts:
    if not given:
        return DEFAULTS
    read = msgspec.json.decode(given, type=_Resources)
    for quantity in (*read.requests.values(), *read.limits.values()):
        amount(quantity)
    return Amounts(
        requests={name: str(value) for name, value in read.requests.items()},
        limits={name: str(value) for name, value in read.limits.items()},
    )
