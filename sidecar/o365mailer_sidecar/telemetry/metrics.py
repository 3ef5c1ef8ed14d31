"""Every metric of the sidecar, as data, and their values in Prometheus' text format 0.0.4.

docs/sidecar.md shows the same table, and a test compares the two. Units are base units (seconds, bytes). No label holds
an address, and every label comes from a closed vocabulary: a thousand sidecars have a thousand times as many series.

prometheus_client 0.26 with these families would cost 1.8 MB of idle memory in every pod (measured 2026-11-25, CPython
3.11), with an aim of 28 for the whole sidecar; the format is a page of code.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

PREFIX: Final = "o365mailer_"

SUBMISSION_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
"""Seconds: Exchange takes about one for a message; 600 is how long its last reply is waited for."""

VERDICT_BUCKETS: Final = (*SUBMISSION_BUCKETS, 3600.0, 21600.0, 86400.0)
"""The same, and what a message can wait in the spool."""


class Metric(NamedTuple):
    """One family of the exposition."""

    name: str
    """Without the prefix; a counter's ends with `_total`, a unit stands in front of that."""
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, ascending, of a histogram; +Inf is added."""


METRICS: Final = (
    # --- Messages ---
    Metric(
        "messages_total",
        "counter",
        "Messages by outcome, and by the reason for it.",
        labels=("outcome", "reason"),
    ),
    Metric("message_bytes_total", "counter", "Size of the messages that Office 365 accepted."),
    Metric(
        "message_seconds",
        "histogram",
        "Time from the end of a message until it was accepted or refused for good.",
        buckets=VERDICT_BUCKETS,
    ),
    Metric(
        "upstream_seconds",
        "histogram",
        "Time in Office 365, from a message's first command to the last reply, for each attempt.",
        buckets=SUBMISSION_BUCKETS,
    ),
    Metric("sessions", "gauge", "Open sessions of apps."),
    # --- Office 365 ---
    Metric(
        "upstream_connections_total",
        "counter",
        "Connections to Office 365 by result: opened, away, distrusted, token_refused, throttled (432), quota, locked.",
        labels=("result",),
    ),
    Metric(
        "auth_total",
        "counter",
        "AUTH XOAUTH2 by result: accepted, refused (token or mailbox), failed (temporary).",
        labels=("result",),
    ),
    Metric("upstream_connections_open", "gauge", "Open connections to Office 365."),
    Metric("upstream_up", "gauge", "0 if the last connection to Office 365 failed, otherwise 1."),
    Metric(
        "concurrency_window",
        "gauge",
        "Submissions that this relay makes at once; below 1 it pauses between them.",
    ),
    Metric(
        "blocked",
        "gauge",
        "1 while the relay sends nothing, or refuses messages itself, for this reason; outcome: locked, "
        "quota, unauthorized, refused.",
        labels=("outcome", "reason"),
    ),
    # --- The mailer directory, and the relay itself ---
    Metric("relay_info", "gauge", "1, with the version of the relay.", labels=("version",)),
    Metric("mailer_ready", "gauge", "1 if the relay has a mailer and a token."),
    Metric("token_expires_timestamp_seconds", "gauge", "When the token in use expires; 0 if unknown."),
    Metric("settings_revision", "gauge", "Revision of the settings in use; 0 if there are none."),
    # --- The spool ---
    Metric("spool_messages", "gauge", "Queued messages in the spool."),
    Metric("spool_bytes", "gauge", "Size of the queued messages."),
    Metric("spool_oldest_age_seconds", "gauge", "Age of the oldest queued message; 0 if there is none."),
    Metric("spool_dead_messages", "gauge", "Dead letters in the spool."),
    Metric("spool_damaged_messages", "gauge", "Damaged files in the spool."),
)

Value = float | Mapping[str, float]
"""One number, or one for each set of labels."""

ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def labels(**values: str) -> str:
    """Labels as the exposition writes them, `outcome="accepted"`; their values must come from a closed vocabulary."""
    return ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in values.items())


class Histogram:
    """How many values were at most each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Add a value, in the metric's unit."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Metrics:
    """Counts and observes, and asks for the gauges when it is scraped. Names are those of `METRICS`."""

    def __init__(self) -> None:
        # A counter without labels is shown from the start, the others from their first value on.
        self.counts = Counter({(m.name, ""): 0 for m in METRICS if m.kind == "counter" and not m.labels})
        self.histograms = {m.name: Histogram(m.buckets) for m in METRICS if m.kind == "histogram"}
        self.watched: dict[str, Callable[[], Value]] = {}

    def count(self, name: str, label: str = "", by: int = 1) -> None:
        """Count. `label` is written whole, as `labels` makes it."""
        self.counts[name, label] += by

    def observe(self, name: str, seconds: float) -> None:
        """Add a value to a histogram."""
        self.histograms[name].add(seconds)

    def watch(self, name: str, ask: Callable[[], Value]) -> None:
        """Set a gauge's source, which is asked at each scrape: a number, or a mapping of label sets to numbers."""
        self.watched[name] = ask

    def page(self) -> str:
        """The exposition, in the table's order; a gauge without a source is left out."""
        lines: list[str] = []
        for metric in METRICS:
            if metric.kind != "gauge" or metric.name in self.watched:
                head = PREFIX + metric.name
                lines += [f"# HELP {head} {metric.text}", f"# TYPE {head} {metric.kind}", *self._samples(metric)]
        return "\n".join(lines) + "\n"

    def _samples(self, metric: Metric) -> Iterator[str]:
        if metric.kind == "histogram":
            yield from _buckets(PREFIX + metric.name, self.histograms[metric.name])
        elif metric.kind == "counter":
            for (name, label), value in sorted(self.counts.items()):
                if name == metric.name:
                    yield _sample(PREFIX + name, label, value)
        else:
            asked = self.watched[metric.name]()
            for label, number in sorted((asked if isinstance(asked, Mapping) else {"": asked}).items()):
                yield _sample(PREFIX + metric.name, label, number)


def _buckets(name: str, histogram: Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*histogram.bounds, math.inf), histogram.counts, strict=True):
        total += count
        yield _sample(f"{name}_bucket", f'le="{repr(bound) if math.isfinite(bound) else "+Inf"}"', total)
    yield _sample(f"{name}_sum", "", histogram.sum)
    yield _sample(f"{name}_count", "", total)


def _sample(name: str, label: str, value: float) -> str:
    return f"{name}{{{label}}} {_number(value)}" if label else f"{name} {_number(value)}"


def _number(value: float) -> str:
    """All of its digits: six, as `g` writes, would move a token's end by an hour."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value) if isinstance(value, bool) or value == int(value) else float(value))
