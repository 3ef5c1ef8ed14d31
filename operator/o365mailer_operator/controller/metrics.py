"""The controller's metrics. Labels hold names of objects and reasons, never an address."""

import dataclasses
import datetime
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

from o365mailer_contract import names
from o365mailer_operator.controller import conditions
from o365mailer_operator.controller.mailer import Condition, Key, Mailer, Status
from o365mailer_operator.controller.queue import DueQueue


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ends:
    """When the things that a mailer depends on end, or are due; None if unknown."""

    refresh: datetime.datetime | None = None
    """When the token in the Secret is to be replaced."""
    client_secret: datetime.datetime | None = None
    """As a person wrote it into the spec."""
    certificate: datetime.datetime | None = None
    """As tls.crt has it."""


class Metrics:
    def __init__(self, queue: DueQueue, *, leading: Callable[[], bool], agreed_at: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        mailer = ("namespace", "mailer")
        self.ready = self._gauge("ready", "1 if pods can submit mail with the mailer, else 0.", mailer)
        self.token_expiry = self._gauge(
            "token_expiry_timestamp_seconds", "When the mailer's access token ends, Unix time.", mailer
        )
        self.token_refresh = self._gauge(
            "token_refresh_timestamp_seconds",
            "When the mailer's access token is to be replaced, Unix time; absent while the mailer is suspended.",
            mailer,
        )
        self.revision = self._gauge(
            "token_secret_revision", "Revision of the mailer directory that is in the token Secret.", mailer
        )
        self.suspended = self._gauge("suspended", "1 if the mailer's spec.suspend is true, else 0.", mailer)
        self.secret_expiry = self._gauge(
            "client_secret_expiry_timestamp_seconds",
            "When the mailer's client secret ends by its spec's expiresAt, Unix time.",
            mailer,
        )
        self.excess_roles = self._gauge(
            "excess_roles",
            "Application rights in the token that mail does not need, such as Mail.Send.",
            ("namespace", "mailer"),
        )
        self.certificate_expiry = self._gauge(
            "certificate_expiry_timestamp_seconds",
            "When the certificate in the mailer's Secret ends, Unix time.",
            mailer,
        )
        self.failures = self._gauge("failed_attempts", "Token requests that failed since the last token.", mailer)
        self.mints = Counter(
            "o365mailer_token_requests",
            "Token requests, by TokenIssued or the reason of their failure.",
            ["reason"],
            registry=self.registry,
        )
        self.mint_seconds = Histogram(
            "o365mailer_token_request_duration_seconds", "Duration of a token request.", registry=self.registry
        )
        self.authenticated = self._gauge(
            "authenticated",
            "1 if Exchange lets the mailer's application log in, 0 if it refuses for good; absent while unknown, and "
            "while rights may still spread.",
            mailer,
        )
        self.logins = Counter(
            "o365mailer_logins",
            "Logins at Exchange that the controller tried, by reason: accepted, one of Exchange's replies, or why "
            "Exchange was not reached.",
            ["reason"],
            registry=self.registry,
        )
        self.login_seconds = Histogram(
            "o365mailer_login_duration_seconds",
            "Duration of a login that the controller tried.",
            registry=self.registry,
        )
        self.errand_seconds = Histogram(
            "o365mailer_errand_duration_seconds",
            "Duration of slow work outside of reconciles, by kind: token requests, or logins at Exchange.",
            ["kind"],
            registry=self.registry,
        )
        self.errands_running = self._gauge(
            "errands_running", "Token requests and logins that are running, by kind.", ("kind",)
        )
        self.errands_waiting = self._gauge(
            "errands_waiting", "Mailers whose token request or login waits until fewer are running, by kind.", ("kind",)
        )
        self.reconciles = Counter("o365mailer_reconciles", "Reconciles, by result.", ["result"], registry=self.registry)
        self.closed = Counter(
            "o365mailer_controller_connections_closed",
            "Connections to the health port that the controller closed because they were too slow (slow) or took too "
            "much memory (memory).",
            ["why"],
            registry=self.registry,
        )
        self._gauge("mailers", "Mailers that this replica reconciles.").set_function(lambda: len(queue))
        self._gauge("queue_depth", "Mailers that are due and wait for a worker.").set_function(lambda: queue.overdue)
        self._gauge("reconciles_running", "Reconciles that are running.").set_function(lambda: queue.running)
        self._gauge(
            "watch_agreed_timestamp_seconds",
            "When the watch last had delivered what the API server lists, Unix time; 0 before the first time.",
        ).set_function(agreed_at)
        self._gauge("leading", "1 if this replica holds the Lease, else 0.").set_function(leading)
        self.authority_expiry = self._gauge(
            "webhook_authority_expiry_timestamp_seconds",
            "When the authority that signs the webhook's certificates ends, Unix time; 0 if unknown.",
        )
        info = self._gauge("controller_info", "1, with the version of the controller.", ("version",))
        info.labels(names.RELEASE).set(1)

    def tell(self, mailer: Mailer, status: Status, *, ready: bool, suspended: bool, ends: Ends) -> None:
        """Set a mailer's gauges after a reconcile."""
        labels = (mailer.metadata.namespace, mailer.metadata.name)
        self.ready.labels(*labels).set(ready)
        self.suspended.labels(*labels).set(suspended)
        self.failures.labels(*labels).set(status.failed_attempts)
        self.revision.labels(*labels).set(status.token_revision)
        self._tell_login(labels, status.condition(conditions.AUTHENTICATED))
        _set_time(self.token_expiry, labels, status.token_expiry)
        _set_time(self.token_refresh, labels, ends.refresh)
        _set_time(self.secret_expiry, labels, ends.client_secret)
        _set_time(self.certificate_expiry, labels, ends.certificate)

    def tell_excess(self, key: Key, rights: int | None) -> None:
        """How many rights a mailer's token has that mail does not need; None without a token."""
        if rights is None:
            self.excess_roles.remove_by_labels({"namespace": key.namespace, "mailer": key.name})
        else:
            self.excess_roles.labels(key.namespace, key.name).set(rights)

    def _tell_login(self, labels: tuple[str, str], condition: Condition | None) -> None:
        if condition is not None and (condition.status == "True" or conditions.refused_for_good(condition)):
            self.authenticated.labels(*labels).set(condition.status == "True")
        else:
            self.authenticated.remove_by_labels({"namespace": labels[0], "mailer": labels[1]})

    def forget(self, key: Key) -> None:
        """Remove the gauges of a mailer that is gone."""
        for gauge in (
            self.ready,
            self.authenticated,
            self.suspended,
            self.failures,
            self.revision,
            self.token_expiry,
            self.token_refresh,
            self.secret_expiry,
            self.certificate_expiry,
            self.excess_roles,
        ):
            gauge.remove_by_labels({"namespace": key.namespace, "mailer": key.name})

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"o365mailer_{name}", text, labels, registry=self.registry)


def _set_time(gauge: Gauge, labels: tuple[str, str], instant: datetime.datetime | None) -> None:
    if instant is None:
        gauge.remove_by_labels({"namespace": labels[0], "mailer": labels[1]})
    else:
        gauge.labels(*labels).set(instant.timestamp())
