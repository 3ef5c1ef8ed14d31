"""The installation that the end-to-end tests share, and their order.

The files of LAST look back on what ran before them: run alone, they judge less than in a run of the whole folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import apps, office365
from cluster.installation import TOKEN_SECONDS, Installation, install, remove
from cluster.team import Team
from cluster_rig import tryout
from cluster_rig.choice import Cluster

HERE = Path(__file__).parent
LAST = ("test_five_rotations.py", "test_nothing_leaks.py", "test_uninstall.py")
"""What waits for minutes to pass, what looks back on the other tests, and what ends the installation."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files of LAST after the other files of this folder; nothing else moves."""
    places = [place for place, item in enumerate(items) if item.path.parent == HERE]
    ours = sorted((items[place] for place in places), key=lambda item: rank(item.path.name))
    for place, item in zip(places, ours, strict=True):
        items[place] = item


def rank(file: str) -> int:
    """0 for a file whose order does not matter."""
    return LAST.index(file) + 1 if file in LAST else 0


@pytest.fixture(scope="session")
def steady(installation: Installation) -> Team:
    """A team whose two pods have mailed every two seconds since the installation began."""
    return installation.steady


@pytest.fixture(scope="session")
def installation(node_cluster: Cluster, project_images: dict[str, Path], python_image: str) -> Iterator[Installation]:
    """The chart and the emulator in a cluster with a node, and an app that mails all the time."""
    install(node_cluster, project_images)
    authority = tryout.ask_emulator(node_cluster, "/ca.crt")
    with office365.reached(node_cluster.kubectl) as reached:
        reached.settings(tokenLifetime=TOKEN_SECONDS, pace=0)  # a mail every second from one mailbox
        installed = Installation(cluster=node_cluster, office365=reached, image=python_image, authority=authority)
        with installed.team() as installed.steady:
            installed.steady.apply_mailer()
            spec = {"containers": [installed.steady.app(apps.ALWAYS)]}
            installed.steady.apply(apps.deployment(spec, replicas=2))
            yield installed
    remove(node_cluster)


@pytest.fixture
def team(installation: Installation) -> Iterator[Team]:
    """A team with a Ready mailer, in a namespace where Pod Security enforces `restricted`."""
    with installation.team() as team:
        team.apply_mailer()
        yield team


@pytest.fixture
def lax_team(installation: Installation) -> Iterator[Team]:
    """A team with a Ready mailer, in a namespace where Pod Security enforces nothing."""
    with installation.team(restricted=False) as team:
        team.apply_mailer()
        yield team
