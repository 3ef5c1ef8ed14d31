"""A cluster made by kind, where it and a container engine answer: no root and no Debian needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster_rig import cache, engines
from cluster_rig.bound import Bound
from cluster_rig.clients import Client
from cluster_rig.errors import BuildError, StartError
from cluster_rig.given import clients

WAIT = "180s"


def engine() -> str:
    """`docker` or `podman`, if kind is installed and that engine answers; otherwise nothing."""
    if shutil.which("kind"):
        for name in ("docker", "podman"):
            if engines.Engine(name=name).answers():
                return name
    return ""


def configuration() -> dict[str, Any]:
    """One node whose kubelet looks at mounted Secrets every 5 s, as our own cluster's does."""
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "syncFrequency": "5s",
    }
    node = {"role": "control-plane"}
    patches = [json.dumps(kubelet)]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [node],
        "kubeadmConfigPatches": patches,
    }


@dataclass(kw_only=True)
class KindCluster(Bound):
    """A kind cluster by its name."""

    name: str
    provider: str
    kubectl: Client = field(init=False)
    helm: Client = field(init=False)

    @property
    def kubeconfig(self) -> Path:
        """Its own file: kind would otherwise change the user's."""
        return cache.directory() / "kind" / f"{self.name}.kubeconfig"

    def run(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """One kind command; returns its stdout.

        Raises:
            StartError: it failed.
        """
        environ = {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": self.provider}
        command = ["kind", *map(str, arguments)]
        done = subprocess.run(command, env=environ, input=stdin, capture_output=True, text=True)
        if done.returncode:
            raise StartError(f"kind {arguments[0]} failed:\n{done.stderr.strip()[-3000:]}")
        return done.stdout

    def is_running(self) -> bool:
        """Whether kind knows it."""
        return self.name in self.run("get", "clusters").split()

    def up(self, *, bound: bool = False) -> None:
        """Creates it or finds it. The engine keeps it when we end, so `bound` is only kept by a clean end.

        Raises:
            StartError: kind failed.
        """
        del bound
        self.kubeconfig.parent.mkdir(exist_ok=True)
        where = ("--name", self.name, "--kubeconfig", self.kubeconfig)
        if self.is_running():
            self.run("export", "kubeconfig", *where)
        else:
            self.run("create", "cluster", *where, "--wait", WAIT, "--config", "-", stdin=json.dumps(configuration()))
        self.kubectl, self.helm = clients(self.kubeconfig, self.kubeconfig.with_suffix(".helm"))

    def load(self, *archives: Path) -> None:
        """Imports image archives into its node.

        Raises:
            BuildError: kind refused one.
        """
        for archive in archives:
            try:
                self.run("load", "image-archive", archive, "--name", self.name)
            except StartError as error:
                raise BuildError(f"kind could not load {archive}: {error}") from error

    def down(self) -> None:
        """Deletes it; does nothing where there is none."""
        self.run("delete", "cluster", "--name", self.name, "--kubeconfig", self.kubeconfig)
        self.kubeconfig.unlink(missing_ok=True)
        shutil.rmtree(self.kubeconfig.with_suffix(".helm"), ignore_errors=True)
