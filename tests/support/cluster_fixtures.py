"""Fixtures that give tests a real API server, and a real node; a pytest plugin registered by the root conftest.

What a test's fixtures need is built before its time limit begins, because a first build takes minutes. What the
machine lacks is named in one place, `not_run`.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from cluster_rig import images, programs, releases, requirements
from cluster_rig.choice import Cluster, choose
from cluster_rig.control_plane import ControlPlane
from cluster_rig.errors import MachineLacksError
from cluster_rig.node import NodeCluster
from cluster_rig.other_python import OtherPython
from cluster_rig.other_python import build as other_python_of_the_images

from support.completeness import lacking, suite_of


def build_node() -> None:
    """Asks whether the cluster that would be chosen can run here, and builds its programs if they are ours."""
    if isinstance(choose("question"), NodeCluster):
        requirements.check_node()
        programs.build(programs.of_node(releases.chosen()))
    else:
        programs.build(programs.CLIENTS)


PREPARATIONS: dict[str, Callable[[], object]] = {
    "control_plane": lambda: programs.build(programs.CONTROL_PLANE),
    "node_cluster": build_node,
    "python_image": images.python_image,
    "other_python": other_python_of_the_images,
    "project_images": images.build,
}
"""What has to be built for each fixture."""


def not_run(error: MachineLacksError) -> NoReturn:
    """The one place where a test of the cluster gives up, naming what the machine lacks."""
    lacking("no cluster here", str(error))


STARTING = 120.0
"""Seconds more for the first test of a suite: it starts the cluster, and what else the tests of the suite share."""
begun: set[str] = set()
"""The suites whose first test has run in this process."""


def give_the_first_test_time(item: pytest.Item) -> None:
    """Extends the time limit of a test that is the first of its suite; a limit of 0 is none."""
    marker, option = item.get_closest_marker("timeout"), item.config.getoption("timeout")
    limit = float(marker.args[0] if marker else item.config.getini("timeout") if option is None else option)
    if limit and suite_of(item.nodeid) not in begun:
        item.add_marker(pytest.mark.timeout(limit + STARTING), append=False)
    begun.add(suite_of(item.nodeid))


@functools.cache
def prepared(fixture: str) -> object:
    """Builds what the fixture needs and returns it, or returns the error: the fixtures that meet it raise it."""
    try:
        return PREPARATIONS[fixture]()
    except Exception as error:  # noqa: BLE001 - raised again where a test asks for the fixture
        return error


def need(fixture: str) -> object:
    """What was built for the fixture; gives the test up where the machine lacks something."""
    result = prepared(fixture)
    if isinstance(result, MachineLacksError):
        not_run(result)
    if isinstance(result, Exception):
        raise result
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Builds what the test's fixtures need, or waits for another process that builds it, before the test's clock runs.

    pytest-timeout starts that clock in the same hook, inside this wrapper.
    """
    wanted = [name for name in PREPARATIONS if name in getattr(item, "fixturenames", ())]
    if wanted:
        give_the_first_test_time(item)
        capture = item.config.pluginmanager.getplugin("capturemanager")
        # Minutes without a word would look like a hang.
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            for fixture in wanted:
                prepared(fixture)
    return (yield)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with its controllers and no node, shared by the whole session: use a namespace of your own in it.

    `.kubeconfig` is the administrator's, `.kubectl("get", "pods")` returns stdout, `.kubectl.json(…)` data.
    """
    need("control_plane")
    with ControlPlane(directory=tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def node_cluster() -> Iterator[Cluster]:
    """A cluster that runs pods, shared by the whole session; `.load(archive)` gives it images.

    It is the one that was named, or our own (cluster_rig.choice). A test that needs our own's abilities
    (`host_address`, `inside`) asks with isinstance(…, NodeCluster).
    """
    need("node_cluster")
    with choose(f"test-{secrets.token_hex(3)}") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def other_python() -> OtherPython:
    """The Python of the published images, where this machine's own may be older."""
    need("other_python")
    return other_python_of_the_images()


@pytest.fixture(scope="session")
def python_image(node_cluster: Cluster) -> str:
    """The name of an image with `python3` that the node cluster has."""
    name, archive = images.python_image()
    need("python_image")
    node_cluster.load(archive)
    return name


@pytest.fixture(scope="session")
def project_images(node_cluster: Cluster) -> dict[str, Path]:
    """The project's images, built from its Dockerfiles and loaded into the node cluster: archives by image name."""
    need("project_images")
    built = images.build()
    node_cluster.load(*built.values())
    return built
