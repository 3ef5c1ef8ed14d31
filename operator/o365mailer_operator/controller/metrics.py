"""The controller's metrics. Labels hold names of objects and reasons, never an address."""

import datetime
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

from o365mailer_operator.controller.mailer import Key, Mailer, Status
from o365mailer_operator.controller.queue import DueQueue


class Metrics:
    def __init__(self, queue: DueQueue, *, leading: Callable[[], bool], agreed_at: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        mailer = ("namespace", "name")
        self.ready = self._gauge("ready", "1 if pods can submit mail with the mailer, else 0.", mailer)
        self.token_expiry = self._gauge(
            "token_expiry_timestamp_seconds", "When the mailer's access token ends, Unix time.", mailer
        )
        self.secret_expiry = self._gauge(
            "client_secret_expiry_timestamp_seconds",
            "When the mailer's client secret ends by its spec's expiresAt, Unix time.",
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

    def tell(self, mailer: Mailer, status: Status, *, ready: bool, secret_expires_at: datetime.datetime | None) -> None:
        """Set a mailer's gauges after a reconcile."""
        labels = (mailer.metadata.namespace, mailer.metadata.name)
        self.ready.labels(*labels).set(ready)
        self.failures.labels(*labels).set(status.failures)
        _set_time(self.token_expiry, labels, status.token_expiry)
        _set_time(self.secret_expiry, labels, secret_expires_at)

    def forget(self, key: Key) -> None:
        """Remove the gauges of a mailer that is gone."""
        for gauge in (self.ready, self.failures, self.token_expiry, self.secret_expiry):
            gauge.remove_by_labels({"namespace": key.namespace, "name": key.name})

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"o365mailer_{name}", text, labels, registry=self.registry)


def _set_time(gauge: Gauge, labels: tuple[str, str], instant: datetime.datetime | None) -> None:
    if instant is None:
        gauge.remove_by_labels({"namespace": labels[0], "name": labels[1]})
    else:
        gauge.labels(*labels).set(instant.timestamp())
