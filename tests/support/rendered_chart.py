"""The chart as the project's Helm renders it, and the rights that it grants the controller."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from chart.release import CHART, NAMESPACE, RELEASE, Manifest
from cluster_rig import programs, releases
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane
from cluster_rig.programs import HELM

ACCOUNT: Final = "o365mailer-controller"
OURS: Final = (ACCOUNT, "o365mailer-secrets")
"""What the names of the controller's roles and bindings begin with."""


def build_helm() -> None:
    """What PREPARATIONS of fixtures that render call, before the clock of the first test runs."""
    programs.build([HELM])


def helm_client(directory: Path, kubeconfig: Path) -> Client:
    """Helm with directories of its own: no repository, plugin or default of the user's."""
    environ = {f"HELM_{kind}_HOME": str(directory / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    return Client(program=programs.path_of(HELM), kubeconfig=kubeconfig, environ=environ)


def rendered(helm: Client, *values: str, namespace: str = NAMESPACE, tests: bool = False) -> list[Manifest]:
    """The objects of the chart with these values, released into a namespace; with those of `helm test` if asked."""
    sets = [part for value in values for part in ("--set", value)]
    version = ("--kube-version", f"v{releases.chosen().version}")
    skip = () if tests else ("--skip-tests",)
    text = helm("template", RELEASE, CHART, "--namespace", namespace, *version, *skip, *sets)
    return [document for document in yaml.safe_load_all(text) if document]


def controller_rights(namespace: str, *values: str) -> list[Manifest]:
    """The controller's ServiceAccount, its roles and bindings; the namespace is in the names of cluster-wide ones."""
    with tempfile.TemporaryDirectory() as directory:
        objects = rendered(helm_client(Path(directory), Path(directory) / "none"), *values, namespace=namespace)
    kinds = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    found = [each for each in objects if each["kind"] in kinds and each["metadata"]["name"].startswith(OURS)]
    for manifest in found:
        wide = [manifest["metadata"]] if manifest["kind"].startswith("Cluster") else []
        wide += [manifest["roleRef"]] if manifest.get("roleRef", {}).get("kind") == "ClusterRole" else []
        for named in wide:
            named["name"] = f"{namespace}-{named['name']}"
    return found


def rule(manifests: list[Manifest], resource: str, verb: str) -> dict[str, Any]:
    """The one rule without names that grants a verb on a resource, to be changed."""
    [found] = [
        rule
        for manifest in manifests
        for rule in manifest.get("rules", ())
        if resource in rule["resources"] and verb in rule["verbs"] and "resourceNames" not in rule
    ]
    assert isinstance(found, dict)
    return found


@contextmanager
def controller_account(
    plane: ControlPlane, namespace: str, manifests: list[Manifest], directory: Path
) -> Iterator[Path]:
    """A kubeconfig of the controller's ServiceAccount, whose rights are the manifests', while the context lasts."""
    plane.kubectl.apply(*manifests)
    wide = [f"{each['kind']}/{each['metadata']['name']}" for each in manifests if each["kind"].startswith("Cluster")]
    try:
        document = json.loads(plane.kubeconfig.read_text())
        token = plane.kubectl("create", "token", ACCOUNT, "--namespace", namespace).strip()
        document["users"][0]["user"] = {"token": token}
        path = directory / "controller.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
        yield path
    finally:
        plane.kubectl("delete", *wide)
