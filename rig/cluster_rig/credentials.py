"""The certificates of a cluster and the kubeconfigs made of them: one authority, one certificate for each party."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

from cluster_rig.errors import StartError

SERVICE_RANGE = "10.96.0.0/16"
FIRST_SERVICE_ADDRESS = "10.96.0.1"
CLUSTER_DOMAIN = "cluster.local"
NODE_NAME = "node"

API_NAMES = [
    "localhost",
    *(f"kubernetes{tail}" for tail in ("", ".default", ".default.svc", ".default.svc.cluster.local")),
]

USERS = {
    "admin": ("o365mailer-test-admin", ["system:masters"]),
    "apiserver-kubelet-client": ("apiserver-kubelet-client", ["system:masters"]),
    "controller-manager": ("system:kube-controller-manager", []),
    "scheduler": ("system:kube-scheduler", []),
    "kubelet": (f"system:node:{NODE_NAME}", ["system:nodes"]),
    "kube-proxy": ("system:kube-proxy", []),
    "coredns": ("system:coredns", []),
}
"""Who asks the API server what: the names are the ones its built-in roles are bound to."""


def make(*, pki: Path, directory: Path, address: str) -> None:
    """Writes `ca.crt`, a certificate and key for the API server at `address` and for each user, and the token keys.

    Raises:
        StartError: the certificate program failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    subjects: list[dict[str, Any]] = [
        {"name": name, "common_name": common_name, "organization": groups}
        for name, (common_name, groups) in USERS.items()
    ]
    addresses = sorted({address, "127.0.0.1", FIRST_SERVICE_ADDRESS})
    subjects.append(
        {"name": "apiserver", "common_name": "kube-apiserver", "dns_names": API_NAMES, "addresses": addresses}
    )
    serving = {"name": "kubelet-serving", "common_name": NODE_NAME, "dns_names": [NODE_NAME], "addresses": [address]}
    subjects.append(serving)
    done = subprocess.run([pki, directory], input=json.dumps(subjects), capture_output=True, text=True)
    if done.returncode:
        raise StartError(f"the cluster's certificates could not be made in {directory}: {done.stderr.strip()}")


def write_kubeconfig(*, directory: Path, user: str, server: str) -> Path:
    """Writes `USER.kubeconfig`, complete in itself (certificates embedded), readable by its owner alone."""

    def embedded(name: str) -> str:
        return base64.b64encode((directory / name).read_bytes()).decode()

    identity = {"client-certificate-data": embedded(f"{user}.crt"), "client-key-data": embedded(f"{user}.key")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "o365mailer", "cluster": {"server": server, "certificate-authority-data": embedded("ca.crt")}}
        ],
        "users": [{"name": user, "user": identity}],
        "contexts": [{"name": "o365mailer", "context": {"cluster": "o365mailer", "user": user}}],
        "current-context": "o365mailer",
    }
    path = directory / f"{user}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path
