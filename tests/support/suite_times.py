"""How long each suite took, in the summary of a long run, so that growth is seen."""

import collections

import pytest

from support.completeness import suite_of

SHORT = 60.0
"""Seconds; a run that took less shows no table."""


class SuiteTimes:
    """Adds up seconds and tests by suite. With several workers the sum is more than the run took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self.tests: collections.Counter[str] = collections.Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        suite = suite_of(report.nodeid)
        self.seconds[suite] += report.duration
        self.tests[suite] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if sum(self.seconds.values()) < SHORT:
            return
        terminalreporter.section("time by suite")
        for suite, seconds in sorted(self.seconds.items(), key=lambda each: -each[1]):
            terminalreporter.write_line(f"{suite:12} {seconds:6.0f} s {self.tests[suite]:6} tests")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SuiteTimes(), "o365mailer-suite-times")
