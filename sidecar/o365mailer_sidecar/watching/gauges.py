"""What /metrics shows: the metrics' values, in Prometheus' text format 0.0.4.

prometheus_client 0.26 with these families costs 1.8 MB of idle memory in every pod on top of what is loaded anyway
(measured 2026-11-25, CPython 3.11), and the aim for all of the sidecar is 28; the format is a page of code.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from o365mailer_sidecar.watching.metrics import BY_NAME, METRICS, PREFIX, Metric

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
        """One more value, in the metric's unit."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Gauges:
    """Counts and observes, and asks for the rest when it is scraped. Names are those of `metrics`."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter({(m.name, ""): 0 for m in METRICS if _plain(m, "counter")})
        self.histograms: dict[tuple[str, str], Histogram] = {
            (m.name, ""): Histogram(m.buckets) for m in METRICS if _plain(m, "histogram")
        }
        self.watched: dict[str, Callable[[], Value]] = {}

    def count(self, name: str, label: str = "", by: int = 1) -> None:
        """One more. `label` is written whole, as `labels` makes it."""
        self.counts[name, label] += by

    def observe(self, name: str, seconds: float, label: str = "") -> None:
        """One more value of a histogram."""
        histogram = self.histograms.get((name, label))
        if not histogram:
            histogram = self.histograms[name, label] = Histogram(BY_NAME[name].buckets)
        histogram.add(seconds)

    def watch(self, name: str, ask: Callable[[], Value]) -> None:
        """A gauge that is asked when scraped; for a gauge with labels, a mapping of label sets to numbers."""
        self.watched[name] = ask

    def page(self) -> str:
        """The exposition, in the table's order; a gauge that nobody watches is left out."""
        lines: list[str] = []
        for metric in METRICS:
            if metric.kind != "gauge" or metric.name in self.watched:
                head = PREFIX + metric.name
                lines += [f"# HELP {head} {metric.text}", f"# TYPE {head} {metric.kind}", *self._samples(metric)]
        return "\n".join(lines) + "\n"

    def _samples(self, metric: Metric) -> Iterator[str]:
        if metric.kind == "histogram":
            for (name, label), histogram in sorted(self.histograms.items()):
                if name == metric.name:
                    yield from _buckets(PREFIX + name, label, histogram)
        elif metric.kind == "counter":
            for (name, label), value in sorted(self.counts.items()):
                if name == metric.name:
                    yield _sample(PREFIX + name, label, value)
        else:
            asked = self.watched[metric.name]()
            for label, number in sorted((asked if isinstance(asked, Mapping) else {"": asked}).items()):
                yield _sample(PREFIX + metric.name, label, number)


def _plain(metric: Metric, kind: str) -> bool:
    """Whether it is shown from the start: only what has no labels is known in advance."""
    return metric.kind == kind and not metric.labels


def _buckets(name: str, label: str, histogram: Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*histogram.bounds, math.inf), histogram.counts, strict=True):
        total += count
        bucket = f'le="{repr(bound) if math.isfinite(bound) else "+Inf"}"'
        yield _sample(f"{name}_bucket", f"{label},{bucket}" if label else bucket, total)
    yield _sample(f"{name}_sum", label, histogram.sum)
    yield _sample(f"{name}_count", label, total)


def _sample(name: str, label: str, value: float) -> str:
    return f"{name}{{{label}}} {_number(value)}" if label else f"{name} {_number(value)}"


def _number(value: float) -> str:
    """All of its digits: six, as `g` writes, would move a token's end by an hour."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value) if isinstance(value, bool) or value == int(value) else float(value))
