"""The table of docs/benchmarks.md: which figures, what is to be reached, and who stands beside."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.results import Results

SIDECAR: Final = "sidecar"


def percentile(figures: list[float], share: float) -> float:
    """The smallest figure that at least this share does not exceed."""
    return sorted(figures)[max(0, math.ceil(len(figures) * share) - 1)]


def half(figures: list[float]) -> float:
    """The median."""
    return statistics.median(figures)


def nearly_all(figures: list[float]) -> float:
    """The 99th percentile."""
    return percentile(figures, 0.99)


def most(figures: list[float]) -> float:
    """The largest."""
    return max(figures)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line. What is to be reached is a ratio to the rival where there is one, else a bound of the figure."""

    words: str
    measure: str
    rival: str = ""
    """Whose figures stand beside; empty: nobody's."""
    more_is_better: bool = False
    times: float | None = None
    """Better than the rival by this factor, at least."""
    bound: float | None = None
    """At most (at least, where more is better)."""
    of: Callable[[list[float]], float] = half
    digits: int = 0
    note: str = ""
    """Said behind what is to be reached, such as an aim beyond it."""

    @property
    def to_reach(self) -> str:
        """In words."""
        if self.times is not None:
            return f"{self.times:g} times{self.note}"
        if self.bound is None:
            return ""
        return f"{'≥' if self.more_is_better else '≤'} {self.bound:g}{self.note}"

    def drawn(self, results: Results) -> str:
        """A line of Markdown."""
        ours, theirs = results.of(self.measure, SIDECAR), results.of(self.measure, self.rival)
        cells = [self.words, self.to_reach, self._figure(ours), "", "", ""]
        if self.rival:
            cells[3] = f"{self._figure(theirs)} ({self.rival})"
        if ours and theirs and math.isfinite(self.ratio(ours, theirs)):
            cells[4] = f"{self.ratio(ours, theirs):.2f} times"
        if ours and (theirs or self.times is None):
            cells[5] = self.reached(ours, theirs)
        return f"| {' | '.join(cells)} |"

    def _figure(self, figures: list[float]) -> str:
        return f"{self.of(figures):,.{self.digits}f}" if figures else "not measured"

    def ratio(self, ours: list[float], theirs: list[float]) -> float:
        """How many times better ours is."""
        mine, others = self.of(ours), self.of(theirs)
        over, under = (mine, others) if self.more_is_better else (others, mine)
        return over / under if under else math.inf

    def reached(self, ours: list[float], theirs: list[float]) -> str:
        """`yes`, `no`, or nothing where nothing is to be reached."""
        if self.times is not None:
            met = self.ratio(ours, theirs) >= self.times
        elif self.bound is not None:
            met = self.of(ours) >= self.bound if self.more_is_better else self.of(ours) <= self.bound
        else:
            return ""
        return "yes" if met else "**no**"


PLAIN: Final = "plain"
LINES: Final = (
    Line(
        words="kept connections: processor time a message (µs)",
        measure="kept: processor time a message (µs)",
        rival=PLAIN,
        times=4,
        note=", aim 5",
    ),
    Line(
        words="new connections: processor time a message (µs)",
        measure="new: processor time a message (µs)",
        rival=PLAIN,
        times=2.5,
        note=", aim 4",
    ),
    Line(
        words="kept connections: messages a second",
        measure="kept: messages a second",
        rival=PLAIN,
        more_is_better=True,
        times=3,
    ),
    Line(
        words="new connections: messages a second",
        measure="new: messages a second",
        rival=PLAIN,
        more_is_better=True,
        times=3,
    ),
    Line(
        words="kept connections: messages a second",
        measure="kept: messages a second",
        rival="emailproxy",
        more_is_better=True,
        times=10,
    ),
    Line(
        words="new connections: messages a second",
        measure="new: messages a second",
        rival="emailproxy",
        more_is_better=True,
        times=10,
    ),
    Line(words="time added to the host's reply, warm, p50 (ms)", measure="time added (ms)", bound=2, digits=2),
    Line(
        words="time added to the host's reply, warm, p99 (ms)",
        measure="time added (ms)",
        bound=10,
        digits=2,
        of=nearly_all,
    ),
    Line(
        words="one mail on a cold pool: round trips",
        measure="cold pool: round trips",
        rival="bare",
        times=1,
        note=" (no more than it)",
        of=most,
    ),
    Line(
        words="the same, beside a client that pipelines MAIL, RCPT and DATA",
        measure="cold pool: round trips",
        rival="bare, pipelined",
        of=most,
    ),
    Line(words="one mail on a cold pool, 30 ms away (ms)", measure="cold pool: one mail (ms)", rival="bare"),
    Line(
        words="1 MiB bodies: MiB a second",
        measure="1 MiB bodies: MiB a second",
        rival="raw client",
        more_is_better=True,
        times=0.5,
    ),
    Line(
        words="peak memory, three 25 MiB messages at once (MiB)",
        measure="peak memory (MiB)",
        rival=PLAIN,
        bound=48,
        of=most,
    ),
    Line(
        words="peak memory, 99 sessions with hostile headers at once (MiB)",
        measure="99 hostile sessions: peak memory (MiB)",
        bound=96,
        of=most,
    ),
    Line(words="idle memory (MiB)", measure="idle memory (MiB)", rival=PLAIN, bound=32, note=", aim 28", digits=1),
    Line(words="wake-ups a second, idle", measure="wake-ups a second", rival=PLAIN, bound=2, digits=2),
    Line(words="start until listening (ms)", measure="start until listening (ms)", rival=PLAIN, bound=500),
    Line(
        words="to disk, 1 client: messages a second",
        measure="to disk, 1 at once: messages a second",
        rival="postfix",
        more_is_better=True,
        times=1,
        note=" (ahead)",
    ),
    Line(
        words="to disk, 10 clients: messages a second",
        measure="to disk, 10 at once: messages a second",
        rival="postfix",
        more_is_better=True,
        times=1,
        note=" (ahead)",
    ),
    Line(
        words="the queue drained: messages a second",
        measure="drained: messages a second",
        rival="postfix",
        more_is_better=True,
        times=1,
        note=" (ahead)",
    ),
    Line(
        words="10,000 messages in the spool: memory (MiB)",
        measure="backlog: memory with it (MiB)",
        bound=64,
        of=most,
    ),
    Line(
        words="10,000 messages in the spool: restart until the first delivery (s)",
        measure="backlog: restart until the first delivery (s)",
        bound=2,
        digits=2,
    ),
    Line(
        words="controller: 1,000 Ready mailers: requests to the API server a minute",
        measure="Ready mailers: requests to the API server a minute",
        bound=3300,
    ),
    Line(
        words="the same, 1,000 mailers that are not Ready, in the tenth minute",
        measure="not Ready mailers: requests to the API server a minute",
        bound=2200,
    ),
    Line(
        words="a pod's app starts later with a sidecar, real kubelet (s)",
        measure="injected pod: app starts later by (s)",
        bound=1,
        digits=2,
        note=", aim 0.7",
    ),
    Line(
        words="the same: first connections refused, of all starts",
        measure="injected pod: first connection refused",
        bound=0,
        of=sum,
    ),
)

FLEET: Final = (
    Line(
        words="50 sidecars on one mailbox, backlogged: slot time used (%)",
        measure="fleet: slot time used (%)",
        more_is_better=True,
        bound=90,
        digits=1,
    ),
    Line(
        words="the same: answers of 432 a delivered message",
        measure="fleet: answers of 432 a delivered message",
        bound=2,
        digits=2,
    ),
    Line(
        words="the same: Jain's index while each delivers 20",
        measure="fleet: Jain's index",
        more_is_better=True,
        bound=0.9,
        digits=3,
    ),
    Line(words="the same: messages lost", measure="fleet: lost", bound=0, of=most),
)
"""Measured by `benchmarks/fleet.py`, in a run of its own; shown when they are there."""

HEAD: Final = (
    "| measure | to reach | sidecar | beside it | better by | reached |",
    "|---|---|---:|---:|---:|---|",
)


def table(results: Results) -> str:
    """All lines, as Markdown."""
    lines = [*LINES, *(line for line in FLEET if results.of(line.measure, SIDECAR))]
    return "\n".join([*HEAD, *(line.drawn(results) for line in lines)])
