"""Helm, the chart as it renders, and an API server of this suite's own to install it on.

Of its own, because the chart's objects are cluster-scoped and have fixed names: the other suites bring theirs.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chart.release import CHART, NAMESPACE, RELEASE, Manifest, Render
from cluster_fixtures import not_run
from cluster_rig import programs
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane
from cluster_rig.errors import MachineLacksError

HELM = next(program for program in programs.CLIENTS if program.name == "helm")
NEEDS = {"helm": (HELM,), "plane": programs.CONTROL_PLANE}
NAMESPACES = {NAMESPACE: {"pod-security.kubernetes.io/enforce": "restricted"}, "team-a": {}, "team-b": {}}


@functools.cache
def prepare(fixture: str) -> MachineLacksError | None:
    """Builds what the fixture needs; returns what the machine lacks, if it does."""
    try:
        programs.build(NEEDS[fixture])
    except MachineLacksError as error:
        return error
    return None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds before the clock of the first test runs: a first build takes a minute or more."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    for fixture in NEEDS:
        if fixture in wanted and not session.config.option.collectonly:
            prepare(fixture)


def helm_client(directory: Path, kubeconfig: Path) -> Client:
    """Helm with directories of its own: no repository, plugin or default of the user's."""
    if lacking := prepare("helm"):
        not_run(lacking)
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
    if lacking := prepare("plane"):
        not_run(lacking)
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
