"""Helm, the chart as it renders, and an API server of this suite's own to install it on.

Of its own, because the chart's objects are cluster-scoped and have fixed names: the other suites bring theirs.
"""

import functools
from collections.abc import Iterator

import pytest
from cluster_rig import programs
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane
from support.cluster_fixtures import PREPARATIONS, need
from support.rendered_chart import build_helm, helm_client, rendered

from chart.release import CHART, HELM_TEST, NAMESPACE, RELEASE, Render

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
NAMESPACES: dict[str, dict[str, str]] = {NAMESPACE: RESTRICTED, HELM_TEST: RESTRICTED, "team-a": {}, "team-b": {}}
"""The one of `helm test` is there so that its Job can be tried without being kept."""

# Built with the other fixtures' programs, before the clock of the first test runs.
PREPARATIONS.update(helm=build_helm, plane=lambda: programs.build(programs.CONTROL_PLANE))


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Helm without a cluster."""
    need("helm")
    directory = tmp_path_factory.mktemp("helm")
    return helm_client(directory, directory / "no-kubeconfig")


@pytest.fixture(scope="session")
def render(helm: Client) -> Render:
    """`render("webhook.replicas=3")` → the objects of the chart with these values."""

    return functools.partial(rendered, helm)


@pytest.fixture(scope="package")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with the operator's namespace, where Pod Security enforces `restricted`, and two of users'."""
    need("plane")
    with ControlPlane(directory=tmp_path_factory.mktemp("chart-plane")) as plane:
        for name, labels in NAMESPACES.items():
            plane.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        yield plane


@pytest.fixture(scope="package")
def helm_on_plane(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Helm on that API server."""
    need("helm")
    return helm_client(tmp_path_factory.mktemp("helm-on-plane"), plane.kubeconfig)


@pytest.fixture
def installed(helm_on_plane: Client) -> Iterator[Client]:
    """The chart, installed as the documentation says; uninstalled at the end."""
    helm_on_plane("install", RELEASE, CHART, "--namespace", NAMESPACE)
    yield helm_on_plane
    helm_on_plane("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait")
