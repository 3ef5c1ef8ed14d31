"""The table of docs/benchmarks.md: the figures, what they are compared with, and their goals."""

import contextlib
import math
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.results import Results

SIDECAR: Final = "sidecar"
OPERATOR: Final = "operator"


def percentile_99(figures: list[float]) -> float:
    """The smallest figure that at least 99 % do not exceed."""
    return sorted(figures)[max(0, math.ceil(len(figures) * 0.99) - 1)]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table. Its goal is a ratio to the rival (`times`) or a limit of the figure itself (`bound`)."""

    words: str
    measure: str
    whose: str = SIDECAR
    rival: str = ""
    """The program that the sidecar is compared with; empty: none."""
    more_is_better: bool = False
    times: float | None = None
    """The sidecar is at least so many times better than the rival."""
    bound: float | None = None
    """The largest figure allowed; the smallest, where more is better."""
    of: Callable[[list[float]], float] = statistics.median
    digits: int = 0

    def drawn(self, results: Results) -> str:
        """The line in Markdown."""
        ours, theirs = self._figures(results)
        beside = f"{self._figure(theirs)} ({self.rival})" if self.rival else ""
        compared = ours and theirs and math.isfinite(self.ratio(ours, theirs))
        cells = [self.words, self._figure(ours), beside, f"{self.ratio(ours, theirs):.2f}" if compared else ""]
        return f"| {' | '.join(cells)} |"

    def with_goal(self, results: Results) -> str:
        """The line in Markdown, with its goal in place of a rival."""
        goal = "" if self.bound is None else f"{'at least' if self.more_is_better else 'at most'} {self.bound:,g}"
        return f"| {self.words} | {self._figure(results.of(self.measure, self.whose))} | {goal} |"

    def missed(self, results: Results) -> str:
        """A sentence about the goal if this run misses it; empty if it does not, or if nothing was measured."""
        ours, theirs = self._figures(results)
        if self.times is not None and ours and theirs and self.ratio(ours, theirs) < self.times:
            found = f"{self.ratio(ours, theirs):.2f} times as good as {self.rival}"
            return f"{self.words}: {found}; the goal is {self.times:g} times."
        if self.bound is not None and ours and self._beyond(self.of(ours)):
            least_or_most = "at least" if self.more_is_better else "at most"
            return f"{self.words}: {self._figure(ours)}; the goal is {least_or_most} {self.bound:,g}."
        return ""

    def ratio(self, ours: list[float], theirs: list[float]) -> float:
        """How many times better the sidecar is."""
        mine, others = self.of(ours), self.of(theirs)
        over, under = (mine, others) if self.more_is_better else (others, mine)
        return over / under if under else math.inf

    def _figures(self, results: Results) -> tuple[list[float], list[float]]:
        return results.of(self.measure, self.whose), results.of(self.measure, self.rival)

    def _figure(self, figures: list[float]) -> str:
        return f"{self.of(figures):,.{self.digits}f}" if figures else "not measured"

    def _beyond(self, figure: float) -> bool:
        assert self.bound is not None
        return figure < self.bound if self.more_is_better else figure > self.bound


PLAIN: Final = "plain"
LINES: Final = (
    Line(
        words="kept connections: processor time per message (µs)",
        measure="kept: processor time a message (µs)",
        rival=PLAIN,
        times=3,
    ),
    Line(
        words="new connections: processor time per message (µs)",
        measure="new: processor time a message (µs)",
        rival=PLAIN,
        times=2.7,
    ),
    Line(
        words="kept connections: messages per second",
        measure="kept: messages a second",
        rival=PLAIN,
        more_is_better=True,
        times=3,
    ),
    Line(
        words="new connections: messages per second",
        measure="new: messages a second",
        rival=PLAIN,
        more_is_better=True,
        times=3,
    ),
    Line(
        words="kept connections: messages per second",
        measure="kept: messages a second",
        rival="emailproxy",
        more_is_better=True,
        times=10,
    ),
    Line(
        words="new connections: messages per second",
        measure="new: messages a second",
        rival="emailproxy",
        more_is_better=True,
        times=10,
    ),
    Line(words="time added to the host's reply, median (ms)", measure="time added (ms)", bound=2, digits=2),
    Line(
        words="time added to the host's reply, 99th percentile (ms)",
        measure="time added (ms)",
        bound=10,
        digits=2,
        of=percentile_99,
    ),
    Line(
        words="one mail on a cold pool: round trips",
        measure="cold pool: round trips",
        rival="bare",
        times=1,
        of=max,
    ),
    Line(
        words="one mail on a cold pool: round trips, compared with a client that pipelines MAIL, RCPT and DATA",
        measure="cold pool: round trips",
        rival="bare, pipelined",
        of=max,
    ),
    Line(words="one mail on a cold pool, host 30 ms away (ms)", measure="cold pool: one mail (ms)", rival="bare"),
    Line(
        words="1 MiB bodies: MiB per second",
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
        of=max,
    ),
    Line(
        words="peak memory, 99 sessions with hostile headers at once (MiB)",
        measure="99 hostile sessions: peak memory (MiB)",
        bound=96,
        of=max,
    ),
    Line(words="idle memory (MiB)", measure="idle memory (MiB)", rival=PLAIN, bound=29, digits=1),
    Line(words="wake-ups per second, idle", measure="wake-ups a second", rival=PLAIN, bound=2, digits=2),
    Line(words="start until listening (ms)", measure="start until listening (ms)", rival=PLAIN, bound=150),
    Line(
        words="one small mail on a warm connection: functions of the sidecar", measure="one mail: functions", bound=100
    ),
    Line(words="one small mail on a warm connection: modules of the sidecar", measure="one mail: modules", bound=20),
    Line(words="one small mail on a warm connection: calls of these functions", measure="one mail: calls"),
    Line(words="one small mail on a warm connection: nested calls, at most", measure="one mail: depth"),
    Line(
        words="to disk, 1 client: messages per second",
        measure="to disk, 1 at once: messages a second",
        rival="postfix",
        more_is_better=True,
        times=1,
    ),
    Line(
        words="to disk, 10 clients: messages per second",
        measure="to disk, 10 at once: messages a second",
        rival="postfix",
        more_is_better=True,
        times=1,
    ),
    Line(
        words="queue drained: messages per second",
        measure="drained: messages a second",
        rival="postfix",
        more_is_better=True,
        times=1,
    ),
    Line(
        words="10,000 messages in the spool: memory (MiB)",
        measure="backlog: memory with it (MiB)",
        bound=64,
        of=max,
    ),
    Line(
        words="10,000 messages in the spool: restart until the first delivery (s)",
        measure="backlog: restart until the first delivery (s)",
        bound=2,
        digits=2,
    ),
    Line(
        words="an app starts later in a pod with a sidecar, real kubelet (s)",
        measure="injected pod: app starts later by (s)",
        bound=1,
        digits=2,
    ),
    Line(
        words="first connections of these apps that were refused",
        measure="injected pod: first connection refused",
        bound=0,
        of=sum,
    ),
)

FLEET: Final = (
    Line(
        words="50 sidecars with queued mail on one mailbox: slot time used (%)",
        measure="fleet: slot time used (%)",
        more_is_better=True,
        bound=90,
        digits=1,
    ),
    Line(
        words="50 sidecars: 432 replies per delivered message",
        measure="fleet: answers of 432 a delivered message",
        bound=2,
        digits=2,
    ),
    Line(
        words="50 sidecars: Jain's index of fairness while each delivers 20",
        measure="fleet: Jain's index",
        more_is_better=True,
        bound=0.9,
        digits=3,
    ),
    Line(words="50 sidecars: messages lost", measure="fleet: lost", bound=0, of=max),
)
"""`benchmarks/fleet.py` measures these in a run of its own."""


def _operators(words: str, measure: str, bound: float | None = None, **more: Any) -> Line:  # what a Line takes
    return Line(words=words, measure=measure, whose=OPERATOR, bound=bound, of=more.pop("of", max), **more)


CONTROLLER_LINES: Final = (
    _operators("1,000 new mailers of 50 applications: all Ready after (s)", "all Ready after (s)", 60),
    _operators("memory of the controller, most of it (MiB)", "peak memory until all are Ready (MiB)"),
    _operators("their first logins at Exchange: all have worked after (s)", "new mailers: all logged in after (s)"),
    _operators(
        "a new mailer until its first login has worked: requests to the API server",
        "new mailers: requests for each until it has logged in",
        digits=1,
    ),
    _operators(
        "a new mailer until its first login has worked: processor time (ms)",
        "new mailers: processor time for each until it has logged in (ms)",
        digits=1,
    ),
    _operators("1,000 Ready mailers: requests to the API server per minute", "Ready: requests a minute", 1400),
    _operators("1,000 Ready mailers: memory of the controller (MiB)", "Ready: memory (MiB)", 120),
    _operators("1,000 Ready mailers: share of one core (%)", "Ready: share of a core (%)", 5, digits=1),
    _operators(
        "1,000 mailers not Ready: requests in the tenth minute", "not Ready: requests in the tenth minute", 2200
    ),
    _operators("their Secrets came: all Ready after (s)", "not Ready: all Ready after their Secrets came (s)", 90),
    _operators("restart: tokens requested", "restart: tokens requested", 0),
    _operators(
        "a second replica takes over: tokens requested, besides renewals",
        "takeover: tokens requested, besides renewals",
        0,
    ),
    _operators("a second replica takes over: renewals that are late", "takeover: renewals late", 0),
    _operators(
        "Entra hangs for 10 minutes: looks at Ready mailers, of those before (%)",
        "Entra hangs: looks, of those before (%)",
        95,
        more_is_better=True,
    ),
    _operators(
        "Entra hangs: longest time between two looks at a Ready mailer (s)",
        "Entra hangs: longest time between two looks (s)",
        60,
        digits=1,
    ),
    _operators(
        "Entra hangs: a deleted token Secret is back after, at most (s)",
        "Entra hangs: deleted token Secret back after (s)",
        60,
        digits=1,
    ),
    _operators(
        "Entra answers again: the 100 mailers that waited have new tokens after (s)",
        "Entra answers again: all tokens new after (s)",
        120,
    ),
    _operators("API server away for 60 s: restarts of the controller", "API server away: restarts", 0),
    _operators("API server away for 60 s: tokens lost", "API server away: tokens lost", 0),
)
"""`benchmarks/controller.py` measures these."""
ADMISSION_LINES: Final = (
    _operators(
        "100 pods per second: time that the webhook adds, 99th percentile (ms)",
        "pods at a rate: 99th percentile added (ms)",
        10,
        digits=1,
    ),
    _operators(
        "50 pods at once: time that the webhook adds, 99th percentile (ms)",
        "pods at once: 99th percentile added (ms)",
        50,
        digits=1,
    ),
    _operators("pods refused in these two", "pods refused", 0),
    _operators(
        "5,000 pods of 200 mailers: processor time of the webhook's two replicas together (s)",
        "many pods: processor time of the webhook (s)",
        4,
        digits=2,
    ),
    _operators(
        "5,000 pods of 200 mailers: peak memory of a replica (MiB)", "many pods: memory of the webhook (MiB)", 64
    ),
)
"""`benchmarks/admission.py` measures these."""

HEAD: Final = ("| measure | sidecar | compared with | ratio |", "|---|---:|---:|---:|")


def shown(results: Results) -> list[Line]:
    """The lines of the page; the fleet's only if they were measured."""
    return [*LINES, *(line for line in FLEET if results.of(line.measure, SIDECAR))]


def table(results: Results) -> str:
    """All lines, as Markdown."""
    return "\n".join([*HEAD, *(line.drawn(results) for line in shown(results))])


def figures(lines: Iterable[Line], results: Results) -> str:
    """Lines with their goals, as Markdown."""
    return "\n".join(["| measure | figure | goal |", "|---|---:|---:|", *(line.with_goal(results) for line in lines)])


@contextlib.contextmanager
def reported(results: Results, lines: Iterable[Line], *, into: Path | None) -> Iterator[None]:
    """Prints what the body has measured, whatever ends it, and keeps it in the file `into` if one is named."""
    try:
        yield
    finally:
        results.stamp(datetime.now(UTC), cores=os.cpu_count() or 1)
        if into is not None:
            results.save_into(into)
        sys.stdout.write(figures(lines, results) + "\n")


def gaps(results: Results) -> str:
    """A list, as Markdown, of the goals that this run misses."""
    return "\n".join(f"- {text}" for text in missed(shown(results), results)) or "None."


def missed(lines: Iterable[Line], results: Results) -> list[str]:
    """A sentence for each goal that is missed."""
    return [text for line in lines if (text := line.missed(results))]
