"""The command line. Every flag is also an environment variable, which is what the chart sets; the flag goes first."""

import argparse
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, cast

import msgspec

from o365mailer_contract import names, quantities
from o365mailer_operator.logs import LEVELS
from o365mailer_operator.webhook.certificate import service_names
from o365mailer_operator.webhook.quantity import amount
from o365mailer_operator.webhook.resources import DEFAULTS, Amounts
from o365mailer_operator.webhook.settings import PULL_POLICIES, DefaultSpool, PullPolicy, Settings

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What the process was told."""

    listen: tuple[str, int]
    health: tuple[str, int]
    ca_directory: Path
    server_names: tuple[str, ...]
    leaf_lifetime: datetime.timedelta
    drain: float
    """Seconds that are served on after SIGTERM."""
    log_level: str
    settings: Settings


ENVIRONMENT: Final = {
    "listen": "O365MAILER_WEBHOOK_LISTEN",
    "health": names.ENV_HEALTH,
    "image": "O365MAILER_SIDECAR_IMAGE",
    "image_pull_policy": "O365MAILER_SIDECAR_PULL_POLICY",
    "image_pull_secrets": "O365MAILER_SIDECAR_PULL_SECRETS",
    "resources": "O365MAILER_SIDECAR_RESOURCES",
    "sidecar_log_level": "O365MAILER_SIDECAR_LOG_LEVEL",
    "spool": "O365MAILER_SIDECAR_SPOOL",
    "ca_directory": "O365MAILER_WEBHOOK_CA_DIR",
    "service_name": "O365MAILER_WEBHOOK_SERVICE",
    "service_namespace": "POD_NAMESPACE",
    "extra_names": "O365MAILER_WEBHOOK_EXTRA_NAMES",
    "openshift": "O365MAILER_OPENSHIFT",
    "leaf_lifetime": "O365MAILER_WEBHOOK_LEAF_LIFETIME",
    "drain": "O365MAILER_WEBHOOK_DRAIN",
    "log_level": names.ENV_LOG_LEVEL,
}
"""Each flag's environment variable."""


def parse(arguments: Sequence[str] | None, environment: Mapping[str, str]) -> Flags:
    """The flags. Ends the process with status 2 and one line that names flag and variable when something is wrong."""
    parser = argparse.ArgumentParser(prog="o365mailer-webhook", description="Admission webhook of O365 Mailer.")
    reader = Reader(parser, environment)
    _declare(reader)
    reader.read(arguments)
    service, namespace = reader.value("service_name", _text), reader.value("service_namespace", _text)
    return Flags(
        listen=reader.value("listen", _address),
        health=reader.value("health", _address),
        ca_directory=reader.value("ca_directory", lambda text: Path(_text(text))),
        server_names=service_names(service, namespace, reader.value("extra_names", _list)),
        leaf_lifetime=datetime.timedelta(seconds=reader.value("leaf_lifetime", quantities.seconds)),
        drain=reader.value("drain", quantities.seconds),
        log_level=reader.value("log_level", _one_of(LEVELS)),
        settings=_settings(reader),
    )


def _declare(reader: "Reader") -> None:
    reader.flag("listen", "[::]:10250", "where admission requests are answered, over TLS")
    reader.flag("health", f"[::]:{names.HEALTH_PORT}", "where probes and metrics are served")
    reader.flag("image", None, "the sidecar's image")
    reader.flag("image_pull_policy", "IfNotPresent", " | ".join(PULL_POLICIES))
    reader.flag("image_pull_secrets", "", "names, comma-separated, appended to the pod's")
    reader.flag("resources", "", 'the sidecar\'s, as JSON: {"requests": {…}, "limits": {…}}')
    reader.flag("sidecar_log_level", "", " | ".join(LEVELS))
    reader.flag("spool", "", f"of pods that do not say: empty for none, or {names.SPOOL_EPHEMERAL}")
    reader.flag("ca_directory", None, f"where Secret {names.CA_SECRET} is mounted")
    reader.flag("service_name", None, "the Service that the API server calls")
    reader.flag("service_namespace", None, "its namespace")
    reader.flag("extra_names", "", "further DNS names or addresses for the certificate, comma-separated")
    reader.flag("openshift", "false", "true | false: let the platform choose the sidecar's uid")
    reader.flag("leaf_lifetime", "24h", "of the server certificate, renewed after two thirds")
    reader.flag("drain", "5s", "how long requests are still answered after SIGTERM")
    reader.flag("log_level", "info", " | ".join(LEVELS))


def _settings(reader: "Reader") -> Settings:
    return Settings(
        image=reader.value("image", _text),
        image_pull_policy=cast(PullPolicy, reader.value("image_pull_policy", _one_of(PULL_POLICIES))),
        image_pull_secrets=reader.value("image_pull_secrets", _list),
        resources=reader.value("resources", _resources),
        log_level=reader.value("sidecar_log_level", _one_of(("", *LEVELS))) or None,
        spool=cast(DefaultSpool, reader.value("spool", _one_of(("", names.SPOOL_EPHEMERAL)))),
        openshift=reader.value("openshift", _one_of(("true", "false"))) == "true",
    )


class Reader:
    """Flags as texts first, each then read by a function whose ValueError becomes the usage error."""

    def __init__(self, parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
        self._parser = parser
        self._environment = environment
        self._texts: dict[str, str | None] = {}

    def flag(self, name: str, default: str | None, meaning: str) -> None:
        variable = ENVIRONMENT[name]
        self._parser.add_argument(
            "--" + name.replace("_", "-"),
            default=self._environment.get(variable, default),
            help=f"{meaning} ({variable}{f'; default {default}' if default else ''})".replace("%", "%%"),
        )

    def read(self, arguments: Sequence[str] | None) -> None:
        self._texts = vars(self._parser.parse_args(arguments))

    def value(self, name: str, read: Callable[[str], Value]) -> Value:
        try:
            return read(self._texts[name] or "")
        except (ValueError, msgspec.MsgspecError) as error:
            self._parser.error(f"--{name.replace('_', '-')} ({ENVIRONMENT[name]}): {error}")


def _text(text: str) -> str:
    if not text:
        raise ValueError("must be set")
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT, such as [::]:10250")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(filter(None, choices))}")
        return text

    return read


class _Resources(msgspec.Struct, forbid_unknown_fields=True):
    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


def _resources(text: str) -> Amounts:
    if not text:
        return DEFAULTS
    read = msgspec.json.decode(text, type=_Resources)
    for quantity in (*read.requests.values(), *read.limits.values()):
        amount(quantity)
    return Amounts(
        requests={name: str(value) for name, value in read.requests.items()},
        limits={name: str(value) for name, value in read.limits.items()},
    )
