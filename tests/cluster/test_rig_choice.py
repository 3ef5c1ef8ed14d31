"""Which cluster is used, and which is refused: never one that was not named, never one with someone's mailers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_rig import given
from cluster_rig.choice import choose
from cluster_rig.control_plane import ControlPlane
from cluster_rig.errors import BuildError, RefusedError
from cluster_rig.given import GivenCluster
from cluster_rig.node import NodeCluster

SOMEONES = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "probes.o365mailer.dev"},
    "spec": {
        "group": "o365mailer.dev",
        "scope": "Namespaced",
        "names": {"kind": "Probe", "plural": "probes"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


@pytest.fixture(scope="module")
def someones_cluster(tmp_path_factory: pytest.TempPathFactory, control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """An API server of this module's own; the session's may have our CRDs. That one being there means it can run."""
    with ControlPlane(directory=tmp_path_factory.mktemp("given")) as plane:
        yield plane


@pytest.mark.timeout(120)
def test_a_named_cluster_is_used_and_its_context_shown(
    someones_cluster: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = choose("unused", {given.VARIABLE: str(someones_cluster.kubeconfig)})
    with chosen as cluster:
        assert "default" in cluster.kubectl("get", "namespaces")
    assert f"{someones_cluster.kubeconfig}, context o365mailer" in capsys.readouterr().err
    assert someones_cluster.api_is_ready()  # it was not ours to end


def test_a_named_cluster_with_our_definitions_is_refused(someones_cluster: ControlPlane) -> None:
    chosen = choose("unused", {given.VARIABLE: str(someones_cluster.kubeconfig)})
    someones_cluster.kubectl.apply(SOMEONES)
    try:
        with pytest.raises(RefusedError, match=r"has \S+/probes\.o365mailer\.dev already: tests would delete"):
            chosen.up()
    finally:
        someones_cluster.kubectl("delete", "crd", "probes.o365mailer.dev")


def test_a_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        RefusedError, match=r"missing\.yaml is not a file: give the path of one kubeconfig, or unset it"
    ):
        choose("unused", {given.VARIABLE: str(tmp_path / "missing.yaml")})


def test_kubectls_own_variable_names_no_cluster(someones_cluster: ControlPlane) -> None:
    named = str(someones_cluster.kubeconfig)
    assert isinstance(choose("unused", {"KUBECONFIG": named}), NodeCluster)
    assert isinstance(choose("unused", {given.VARIABLE: named}), GivenCluster)


def test_images_reach_a_named_cluster_by_the_users_command(tmp_path: Path) -> None:
    environ = {given.LOAD_VARIABLE: f"cp -t {tmp_path}"}
    archive = tmp_path / "from" / "image.tar"
    archive.parent.mkdir()
    archive.write_text("layers")
    GivenCluster(kubeconfig=tmp_path / "unused", environ=environ).load(archive)
    assert (tmp_path / "image.tar").read_text() == "layers"


def test_a_users_command_that_fails_is_shown(tmp_path: Path) -> None:
    cluster = GivenCluster(kubeconfig=tmp_path / "unused", environ={given.LOAD_VARIABLE: f"cp -t {tmp_path}"})
    with pytest.raises(BuildError, match=r"O365MAILER_TEST_LOAD failed for .*absent\.tar: .*No such file"):
        cluster.load(tmp_path / "absent.tar")
