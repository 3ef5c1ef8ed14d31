"""The webhook installed on the session's API server, for the modules that ask for it."""

from collections.abc import Iterator

import pytest
from cluster_rig.control_plane import ControlPlane
from support.cluster_fixtures import PREPARATIONS, need
from support.rendered_chart import build_helm
from webhook.installation import Installation

PREPARATIONS.update(installation=build_helm)  # its rights are the chart's


@pytest.fixture(scope="module")
def installation(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One replica by URL, for one module; the configuration is cluster-wide and goes with the module."""
    need("installation")
    with Installation(plane=control_plane, directory=tmp_path_factory.mktemp("webhook")) as installed:
        yield installed


@pytest.fixture
def namespace(installation: Installation) -> str:
    """A namespace of the test's own."""
    return installation.new_namespace()
