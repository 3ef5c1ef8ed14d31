"""Fixtures that give tests a real API server, and a real node; a pytest plugin registered by the root conftest.

What they need is built before the first test begins, because a first build takes minutes and no test's time limit
should have to allow for that. What the machine lacks is named in one place, `not_run`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NoReturn

import pytest
from cluster_rig import programs
from cluster_rig.control_plane import ControlPlane
from cluster_rig.errors import MachineLacksError

NEEDS = {"control_plane": programs.CONTROL_PLANE}
"""The programs that each fixture's cluster is made of."""


def not_run(error: MachineLacksError) -> NoReturn:
    """The one place where a test of the cluster gives up, naming what the machine lacks."""
    pytest.skip(f"not run on this machine: {error}")


@functools.cache
def prepare(fixture: str) -> MachineLacksError | None:
    """Builds what the fixture needs; returns what the machine lacks, if it does."""
    try:
        programs.build(NEEDS[fixture])
    except MachineLacksError as error:
        return error
    return None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds for the tests that were collected, before the clock of the first one runs."""
    if session.config.option.collectonly:
        return
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    for fixture in NEEDS:
        if fixture in wanted:
            prepare(fixture)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with its controllers and no node, shared by the whole session: use a namespace of your own in it.

    `.kubeconfig` is the administrator's, `.kubectl("get", "pods")` returns stdout, `.kubectl.json(…)` data.
    """
    if lacking := prepare("control_plane"):
        not_run(lacking)
    with ControlPlane(directory=tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane
