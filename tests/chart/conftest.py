"""Helm, the chart as it renders, and an API server of this suite's own to install it on.

Of its own, because the chart's objects are cluster-scoped and have fixed names: the other suites bring theirs.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chart.release import CHART, NAMESPACE, RELEASE, Manifest, Render
from cluster_fixtures import PREPARATIONS, need
from cluster_rig import programs
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane

HELM = next(program for program in programs.CLIENTS if program.name == "helm")
NAMESPACES = {NAMESPACE: {"pod-security.kubernetes.io/enforce": "restricted"}, "team-a": {}, "team-b": {}}

# Built with the other fixtures' programs, before the clock of the first test runs.
PREPARATIONS.update(helm=lambda: programs.build([HELM]), plane=lambda: programs.build(programs.CONTROL_PLANE))


def helm_client(directory: Path, kubeconfig: Path) -> Client:
    """Helm with directories of its own: no repository, plugin or default of the user's."""
    need("helm")
    environ = {f"HELM_{kind}_HOME": str(directory / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    return Client(program=programs.path_of(HELM), kubeconfig=kubeconfig, environ=environ)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Helm without a cluster."""
    directory = tmp_path_factory.mktemp("helm")
    return helm_client(directory, directory / "no-kubeconfig")


@pytest.fixture(scope="session")
def render(helm: Client) -> Render:
    """`render("webhook.replicas=3")` → the objects of the chart with these values."""

    def rendered(*values: str) -> list[Manifest]:
        sets = [part for value in values for part in ("--set", value)]
        version = ("--kube-version", programs.kubernetes_version())
        text = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, *version, *sets)
        return [document for document in yaml.safe_load_all(text) if document]

    return rendered


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
    return helm_client(tmp_path_factory.mktemp("helm-on-plane"), plane.kubeconfig)


@pytest.fixture
def installed(helm_on_plane: Client) -> Iterator[Client]:
    """The chart, installed as the documentation says; uninstalled at the end."""
    helm_on_plane("install", RELEASE, CHART, "--namespace", NAMESPACE)
    yield helm_on_plane
    helm_on_plane("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait")
