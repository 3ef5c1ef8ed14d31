"""The webhook's metrics."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from o365mailer_contract import names
from o365mailer_operator.webhook.verdict import Denial, Patch, Untouched, Verdict

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds. An answer takes about a millisecond; the API server gives up after the configuration's timeoutSeconds."""
OUTCOMES: Final[dict[type[Verdict], str]] = {Patch: "patched", Untouched: "untouched", Denial: "denied"}
MALFORMED: Final = "malformed"
FAILED: Final = "error"


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "o365mailer_webhook_requests",
            "Admission requests answered, by path and result.",
            ["path", "result"],
            registry=self._registry,
        )
        self.denials = Counter(
            "o365mailer_webhook_denials", "Requests denied, by reason.", ["reason"], registry=self._registry
        )
        self.seconds = Histogram(
            "o365mailer_webhook_seconds",
            "Seconds from the last byte of a request to its answer.",
            ["path"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._closed = Counter(
            "o365mailer_webhook_connections_closed",
            "Connections that the webhook closed because they were too slow (slow) or took too much memory (memory).",
            ["why"],
            registry=self._registry,
        )
        self.leaf_expiry = Gauge(
            "o365mailer_webhook_leaf_expiry_timestamp_seconds",
            "When the server certificate of this replica expires; 0 before there is one.",
            registry=self._registry,
        )

        info = Gauge(
            "o365mailer_webhook_info", "1, with the version of the webhook.", ["version"], registry=self._registry
        )
        info.labels(names.RELEASE).set(1)

    def answered(self, path: str, verdict: Verdict) -> None:
        self.requests.labels(path, OUTCOMES[type(verdict)]).inc()
        if isinstance(verdict, Denial):
            self.denials.labels(verdict.reason).inc()

    def closed(self, why: str) -> None:
        """Counts a connection that was closed without an answer."""
        self._closed.labels(why).inc()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)
