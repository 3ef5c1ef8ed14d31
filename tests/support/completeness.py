"""What a run left out, said aloud; and in CI nothing may be left out.

With CI=true a skipped, deselected or expected-to-fail test fails the run, and a run of everything must have executed at
least the committed number of tests of each suite (minimums.toml): a suite that silently collects nothing is a failure.
"""

import collections
import os
import pathlib
import socket
import tomllib
from collections.abc import Iterable
from typing import NoReturn

import pytest

TESTS = pathlib.Path(__file__).parent.parent
STRICT = os.environ.get("CI") == "true"


def lacking(what: str, remedy: str) -> NoReturn:
    """Skip the test because this machine lacks something; the run's summary names it with the remedy."""
    pytest.skip(f"{what} ({remedy})")


def need_ipv6_loopback() -> None:
    """Skip the test where no socket can be bound to ::1, as in many containers whose kernel has IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        lacking("no IPv6 loopback", "sysctl net.ipv6.conf.lo.disable_ipv6=0")


class Completeness:
    """Counts what ran in each suite, and remembers what did not and why."""

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        self.ran: collections.Counter[str] = collections.Counter()
        self.left_out: collections.Counter[str] = collections.Counter()

    def pytest_deselected(self, items: Iterable[pytest.Item]) -> None:
        for item in items:
            self.left_out[f"{suite_of(item.nodeid)}: deselected"] += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        suite = suite_of(report.nodeid)
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected to fail"
            self.left_out[f"{suite}: {reason.removeprefix('Skipped: ')}"] += 1
        elif hasattr(report, "wasxfail"):
            self.left_out[f"{suite}: expected to fail"] += 1
        elif report.when == "call":
            self.ran[suite] += 1

    def complaints(self) -> list[str]:
        """Why this run does not count as complete."""
        found = [f"{count} not run in {reason}" for reason, count in sorted(self.left_out.items())]
        if self.whole:
            minimums = tomllib.loads((TESTS / "minimums.toml").read_text(encoding="utf-8"))
            found += [
                f"{suite}: {self.ran[suite]} tests ran, at least {least} are expected (tests/minimums.toml)"
                for suite, least in minimums.items()
                if self.ran[suite] < least
            ]
        return found

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if STRICT and session.exitstatus == pytest.ExitCode.OK and self.complaints():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        complaints = self.complaints() if STRICT else [f"{n} in {why}" for why, n in sorted(self.left_out.items())]
        if complaints:
            terminalreporter.section("left out, which CI refuses" if STRICT else "left out on this machine")
            for complaint in complaints:
                terminalreporter.write_line(complaint)


def suite_of(nodeid: str) -> str:
    """`tests/sidecar/test_x.py::test_y` → `sidecar`."""
    parts = pathlib.PurePosixPath(nodeid.split("::")[0]).parts
    return parts[1] if len(parts) > 2 else "."


def pytest_configure(config: pytest.Config) -> None:
    whole = config.args == [str(path) for path in config.getini("testpaths")]
    config.pluginmanager.register(Completeness(whole=whole), "o365mailer-completeness")
