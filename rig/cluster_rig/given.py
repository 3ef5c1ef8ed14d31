"""A cluster that someone else runs, named by `O365MAILER_TEST_KUBECONFIG` and by nothing else.

Never `KUBECONFIG` or `~/.kube`: the tests scale a webhook to zero and delete namespaces, and must not find a cluster by
accident. One that has our CRDs already is refused, because its mailers are someone's; unless `make cluster` put them
there.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster_rig import cache, programs
from cluster_rig.bound import Bound
from cluster_rig.clients import Client
from cluster_rig.errors import BuildError, RefusedError
from cluster_rig.releases import Release

VARIABLE = "O365MAILER_TEST_KUBECONFIG"
LOAD_VARIABLE = "O365MAILER_TEST_LOAD"
API_GROUP = "o365mailer.dev"
OPERATOR = "o365mailer-system"
LOADED = "example.com/loaded"
"""On the operator's namespace: the archives that `make cluster` has loaded, so that it loads only what has changed."""


def clients(kubeconfig: Path, helm_home: Path, release: Release | None = None) -> tuple[Client, Client]:
    """The release's kubectl, and helm, for the cluster; Helm keeps its own files in `helm_home`."""
    built = programs.build(programs.CLIENTS, release)
    homes = {f"HELM_{kind}_HOME": str(helm_home) for kind in ("CACHE", "CONFIG", "DATA")}
    kubectl = Client(program=built["kubectl"], kubeconfig=kubeconfig)
    return kubectl, Client(program=built["helm"], kubeconfig=kubeconfig, environ=homes)


@dataclass(kw_only=True)
class GivenCluster(Bound):
    """Someone's cluster: used as it is, neither started nor ended."""

    kubeconfig: Path
    environ: Mapping[str, str]
    kubectl: Client = field(init=False)
    helm: Client = field(init=False)

    def up(self, *, bound: bool = False) -> None:
        """Prints the context and returns if the cluster may be used; `bound` changes nothing here.

        Raises:
            RefusedError: it does not answer, or has our CRDs already.
        """
        del bound
        self.kubectl, self.helm = clients(self.kubeconfig, Path(tempfile.gettempdir()) / "o365mailer-helm")
        context = self.kubectl.process("config", "current-context").stdout.strip()
        cache.say(f"using the cluster of {VARIABLE}={self.kubeconfig}, context {context or 'none'}")
        found = self.kubectl.process("get", "customresourcedefinitions", "--output", "name")
        if found.returncode:
            raise RefusedError(f"the cluster of {VARIABLE}={self.kubeconfig} does not answer: {found.stderr.strip()}")
        ours = [name for name in found.stdout.split() if name.endswith(f".{API_GROUP}")]
        if ours and not self.is_tried_out():
            text = f"the cluster of {VARIABLE}={self.kubeconfig} (context {context}) has {', '.join(ours)} already"
            raise RefusedError(f"{text}: tests would delete what is someone's; name another cluster, or remove them")

    def is_tried_out(self) -> bool:
        """Whether `make cluster` has installed the product here."""
        found = self.kubectl.process("get", "namespace", OPERATOR, "--output", "jsonpath={.metadata.annotations}")
        return found.returncode == 0 and LOADED in found.stdout

    def down(self) -> None:
        """Leaves the cluster alone."""

    def is_running(self) -> bool:
        """Always true: the cluster's owner starts and stops it."""
        return True

    def load(self, *archives: Path) -> None:
        """Runs `$O365MAILER_TEST_LOAD ARCHIVE` for each: `kind load image-archive`; unset, the images are there.

        Raises:
            BuildError: the command failed.
        """
        command = shlex.split(self.environ.get(LOAD_VARIABLE, ""))
        if not command:
            cache.say(f"{LOAD_VARIABLE} is not set: the cluster is taken to have the images already")
            return
        for archive in archives:
            done = subprocess.run([*command, str(archive)], capture_output=True, text=True)
            if done.returncode:
                raise BuildError(f"{LOAD_VARIABLE} failed for {archive}: {done.stderr.strip()}")
