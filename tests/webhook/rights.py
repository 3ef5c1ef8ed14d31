"""The controller's identity, with exactly the rights that keeping the authority takes: what the chart grants for it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster_rig.control_plane import ControlPlane

from o365mailer_contract import names

Manifest = dict[str, Any]
ACCOUNT = "controller"
SECRETS: list[Manifest] = [
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [names.CA_SECRET], "verbs": ["get", "update"]},
]
CONFIGURATION: list[Manifest] = [
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "resourceNames": [names.WEBHOOK_NAME],
        "verbs": ["get", "list", "watch", "patch"],
    }
]


@contextlib.contextmanager
def controller_kubeconfig(plane: ControlPlane, namespace: str, directory: Path) -> Iterator[Path]:
    """A kubeconfig of that identity, for as long as the context lasts."""
    plane.kubectl.apply(*_objects(namespace))
    try:
        document = json.loads(plane.kubeconfig.read_text())
        token = plane.kubectl("create", "token", ACCOUNT, "--namespace", namespace).strip()
        document["users"][0]["user"] = {"token": token}
        path = directory / "controller.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
        yield path
    finally:
        plane.kubectl("delete", "clusterrole,clusterrolebinding", namespace)


def _objects(namespace: str) -> list[Manifest]:
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    found: list[Manifest] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}}
    ]
    for kind, rules, metadata in (
        ("Role", SECRETS, {"name": ACCOUNT, "namespace": namespace}),
        ("ClusterRole", CONFIGURATION, {"name": namespace}),
    ):
        found.append({"apiVersion": f"{rbac}/v1", "kind": kind, "metadata": metadata, "rules": rules})
        reference = {"apiGroup": rbac, "kind": kind, "name": metadata["name"]}
        binding = {"apiVersion": f"{rbac}/v1", "kind": f"{kind}Binding", "metadata": metadata}
        found.append({**binding, "roleRef": reference, "subjects": [account]})
    return found
