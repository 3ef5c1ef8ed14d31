"""The programs of the cluster, and how they are built: one `go build` in go/, whose go.mod and go.sum pin them.

They share one go.mod, so that Kubernetes' libraries are compiled once and not again for Helm and CoreDNS. The binaries
land in the cache under the hash of the module's files, so a second run finds them and a changed pin builds anew.

`KUBEBUILDER_ASSETS` names a directory that has etcd, kube-apiserver and kubectl already (`setup-envtest use` fills one
and prints its path); then these are used and not built.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cluster_rig import cache, toolchain
from cluster_rig.errors import BuildError, MachineLacksError

ASSETS = "KUBEBUILDER_ASSETS"
IN_ASSETS = frozenset({"etcd", "kube-apiserver", "kubectl"})


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program to build."""

    name: str
    package: str

    @property
    def binary(self) -> str:
        """What `go build` calls it: the package's last word that is no version."""
        return [part for part in PurePosixPath(self.package).parts if not re.fullmatch(r"v\d+", part)][-1]


CONTROL_PLANE = (
    Program(name="pki", package="./pki"),
    Program(name="etcd", package="go.etcd.io/etcd/server/v3"),
    Program(name="kube-apiserver", package="k8s.io/kubernetes/cmd/kube-apiserver"),
    Program(name="kube-controller-manager", package="k8s.io/kubernetes/cmd/kube-controller-manager"),
    Program(name="kube-scheduler", package="k8s.io/kubernetes/cmd/kube-scheduler"),
    Program(name="kubectl", package="k8s.io/kubernetes/cmd/kubectl"),
)
CLIENTS = (
    Program(name="kubectl", package="k8s.io/kubernetes/cmd/kubectl"),
    Program(name="helm", package="helm.sh/helm/v3/cmd/helm"),
)
NODE = (
    *CONTROL_PLANE,
    CLIENTS[1],
    Program(name="kubelet", package="k8s.io/kubernetes/cmd/kubelet"),
    Program(name="kube-proxy", package="k8s.io/kubernetes/cmd/kube-proxy"),
    Program(name="coredns", package="./coredns"),
    Program(name="pause", package="./pause"),
)


def kubernetes_version() -> str:
    """The version that go/go.mod pins, such as `v1.35.4`."""
    pinned = re.search(r"k8s.io/kubernetes (v\S+)", (toolchain.MODULE / "go.mod").read_text())
    if not pinned:
        raise BuildError("go/go.mod does not require k8s.io/kubernetes")
    return pinned[1]


def link_flags() -> str:
    """Without the version the API server calls itself v0.0.0, and Helm's `kubeVersion` refuses it."""
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{key}={word}" for key, word in values.items())])


def assets() -> Path | None:
    """The directory that `KUBEBUILDER_ASSETS` names."""
    named = os.environ.get(ASSETS)
    return Path(named) if named else None


def path_of(program: Program) -> Path:
    """Where the program is: in the given assets, or where it is once built; the name changes with all that is in it."""
    if (given := assets()) and program.name in IN_ASSETS:
        return given / program.name
    files = sorted(path for path in toolchain.MODULE.rglob("*") if path.suffix in {".mod", ".sum", ".go"})
    machine = " ".join((os.uname().sysname, os.uname().machine))
    named = (part for path in files for part in (str(path.relative_to(toolchain.MODULE)).encode(), path.read_bytes()))
    parts = [link_flags().encode(), machine.encode(), *named]
    return cache.directory() / "programs" / cache.fingerprint(parts) / program.name


@functools.cache
def check_assets(given: Path) -> None:
    """Says it once where the given API server has another version than the one that the tests are written for.

    Raises:
        MachineLacksError: a program is missing.
    """
    if missing := sorted(name for name in IN_ASSETS if not (given / name).exists()):
        raise MachineLacksError(f"{ASSETS}={given} has no {', '.join(missing)}: name one that `setup-envtest use` made")
    said = subprocess.run([given / "kube-apiserver", "--version"], capture_output=True, text=True).stdout.split()
    if said[-1:] != [kubernetes_version()]:
        cache.say(f"{ASSETS} has {' '.join(said)}; the tests are written for Kubernetes {kubernetes_version()}")


def build(programs: Iterable[Program]) -> dict[str, Path]:
    """Builds what is not there yet, all of it at once, and returns the path of each by name.

    Raises:
        BuildError: `go build` failed; the text ends with what it said.
        MachineLacksError: there is no Go toolchain and none can be installed, or `KUBEBUILDER_ASSETS` has not all.
    """
    if given := assets():
        check_assets(given)
    wanted = {program.name: program for program in programs}
    paths = {name: path_of(program) for name, program in wanted.items()}
    if all(path.exists() for path in paths.values()):
        return paths
    with cache.locked(cache.directory() / "build.lock"):
        if missing := [program for program in wanted.values() if not paths[program.name].exists()]:
            go = toolchain.find()
            with cache.timed(f"building {', '.join(program.name for program in missing)} (minutes, the first time)"):
                compile_programs(go, {program: paths[program.name] for program in missing})
    return paths


def compile_programs(go: Path, paths: dict[Program, Path]) -> None:
    """One `go build`, whose results are moved into place when it is complete."""
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.directory() / "programs", prefix="unfinished-") as unfinished:
        options = ["-trimpath", "-buildvcs=false", "-ldflags", link_flags(), "-o", f"{unfinished}/"]
        command = [str(go), "build", *options, *(program.package for program in paths)]
        # GOTOOLCHAIN=local: the toolchain is ours to choose. -mod=readonly: go.sum is the pin, nothing is added to it.
        environ = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=readonly",
            "GOWORK": "off",
        }
        done = subprocess.run(
            command, cwd=toolchain.MODULE, env=environ, capture_output=True, text=True, errors="replace"
        )
        if done.returncode:
            names = ", ".join(program.name for program in paths)
            raise BuildError(f"{names} did not build:\n{done.stderr.strip()[-3000:]}")
        for program, path in paths.items():
            (Path(unfinished) / program.binary).replace(path)
