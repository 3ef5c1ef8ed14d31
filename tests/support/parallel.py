"""How `make test` shares the tests out: which of them run side by side, in which order, alone, or on which Kubernetes.

Most tests wait (for a process, a reply, a lease), so three workers keep two cores busy. A group is a set of tests that
one worker runs in order. The groups are made from paths by a scheduler of our own, because xdist's `loadgroup` adds the
group's name to each test's id, and then `--last-failed` does not find the test again.
"""

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from support.completeness import suite_of
from support.fast import is_fast

GROUPS = {
    "cluster": "node",
    "chart/test_images.py": "node",
    "controller": "controller",
    "chart": "control plane",
    "command": "control plane",
    "webhook": "control plane",
    "hostile": "control plane",
    "monitoring/test_dashboard_queries.py": "control plane",
    "mutations": "mutations",
}
"""What stays together, by suite or file, because it shares a cluster, images, or (mutations) the processor; the longest
come first."""


def group(nodeid: str) -> str:
    """`tests/cluster/test_x.py::test_y` → `node`; of a suite without a group, the file is the group."""
    file = nodeid.split("::")[0]
    _, _, path = file.partition("/")
    return GROUPS.get(path) or GROUPS.get(path.partition("/")[0]) or file


class Scheduler(LoadScopeScheduling):
    """Hands out one group after another, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Takes the place of `--dist loadscope`; other ways to distribute stay what they are."""
    return Scheduler(config, log) if config.getvalue("dist") == "loadscope" else None


API_SERVERS = {"control_plane", "plane"}
"""The fixtures that start an API server without a node."""

OF_THE_PRODUCT = {"chart", "controller", "webhook"}
"""The suites that run again on other releases, where they ask an API server. What else must run there is marked
`every_release`."""

WITHOUT_CLUSTER = {"contract", "token", "cli"}
"""The suites that run whole on the images' Python, with the fast tests of the others."""

PHASES = {
    "parallel": "may run side by side",
    "serial": "are marked `serial`",
    "release": "are of chart, controller or webhook and ask an API server, or are marked `every_release`",
    "python": "can depend on the version of Python, and need no cluster",
    "fast": "start no process",
}
"""`parallel` and `serial` share all tests; the others have some of them again."""


RELEASE = "O365MAILER_TEST_KUBERNETES"


def older(chosen: str, minor: str) -> bool:
    """Whether the chosen release (nothing is the newest) is before the minor version: `1.32.9` is before `1.34`."""
    return bool(chosen) and int(chosen.split(".")[1]) < int(minor.split(".")[1])


def is_of_phase(item: pytest.Item, phase: str) -> bool:
    """Whether the test runs in the phase."""
    asks_an_api_server = not API_SERVERS.isdisjoint(getattr(item, "fixturenames", ()))
    if phase == "fast":
        return is_fast(item)
    if phase == "python":
        return not asks_an_api_server and (suite_of(item.nodeid) in WITHOUT_CLUSTER or is_fast(item))
    if phase == "release":
        if (since := item.get_closest_marker("since")) and older(os.environ.get(RELEASE, ""), since.args[0]):
            return False
        if item.get_closest_marker("every_release"):
            return True
        return asks_an_api_server and suite_of(item.nodeid) in OF_THE_PRODUCT
    return (item.get_closest_marker("serial") is not None) == (phase == "serial")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "; ".join(f"{phase}: the tests that {what}" for phase, what in PHASES.items())
    parser.addoption("--phase", choices=tuple(PHASES), help=f"what `make test` runs in one go. {text}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the other phases' tests out (that is no deselection: another phase runs them), and sorts the groups."""
    if not (phase := config.getoption("--phase")):
        return
    items[:] = [item for item in items if is_of_phase(item, phase)]
    order = list(dict.fromkeys(GROUPS.values()))
    items.sort(key=lambda item: order.index(name) if (name := group(item.nodeid)) in order else len(order))
