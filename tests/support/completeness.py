"""The summary of what a run left out; in CI nothing may be left out.

With CI=true a skipped, deselected or expected-to-fail test fails the run. So does a file of tests of which a run of
everything collects no test. Under pytest-xdist the workers collect and the controller judges.
"""

import collections
import os
import pathlib
import socket
from collections.abc import Iterable
from typing import Any, NoReturn

import pytest

STRICT = os.environ.get("CI") == "true"
INCOMPLETE = 6
"""pytest's exit status in CI where something was left out. It is not 1: running failed tests again does not fix it."""


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
    """Remembers what did not run, and why, by `suite: reason`."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.collected: set[pathlib.Path] = set()
        self.not_collected: collections.Counter[str] = collections.Counter()
        self.not_run: collections.Counter[str] = collections.Counter()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self.collected.add(item.path)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.not_collected[f"{suite_of(report.nodeid)}: {reason_of(report)}"] += 1

    def pytest_deselected(self, items: Iterable[pytest.Item]) -> None:
        if self.config.getoption("lf", default=False):
            return  # tests/run.py runs what failed once more; the others have run
        self.not_collected.update(f"{suite_of(item.nodeid)}: deselected" for item in items)

    def pytest_collection_finish(self) -> None:
        names = self.config.getini("testpaths")
        if self.config.args != names:
            return
        for name in names:
            for path in (self.config.rootpath / name).rglob("test_*.py"):
                if path not in self.collected:
                    self.not_collected[f"{path.relative_to(self.config.rootpath)}: no test in it"] += 1

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """The controller hears of a worker's collection, the same in each of them."""
        self.not_collected |= collections.Counter(getattr(node, "workeroutput", {}).get("not_collected", {}))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped or hasattr(report, "wasxfail"):
            self.not_run[f"{suite_of(report.nodeid)}: {reason_of(report)}"] += 1

    def complaints(self) -> list[str]:
        """Why this run does not count as complete."""
        return [f"{count} not run in {reason}" for reason, count in sorted((self.not_collected + self.not_run).items())]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["not_collected"] = dict(self.not_collected)
        elif STRICT and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED} and self.complaints():
            session.exitstatus = INCOMPLETE

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if complaints := self.complaints():
            terminalreporter.section("left out, which CI refuses" if STRICT else "left out on this machine")
            for complaint in complaints:
                terminalreporter.write_line(complaint)


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why the report says `skipped`."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected to fail"
    return reason.removeprefix("Skipped: ")


def suite_of(nodeid: str) -> str:
    """`tests/sidecar/test_x.py::test_y` → `sidecar`."""
    parts = pathlib.PurePosixPath(nodeid.split("::")[0]).parts
    return parts[1] if len(parts) > 2 else "."


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Completeness(config), "o365mailer-completeness")
