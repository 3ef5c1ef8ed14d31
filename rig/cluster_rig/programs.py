"""The programs of the cluster, and how they are built: one `go build` for each Go module (cluster_rig.modules).

The binaries land in the cache under a hash of the module, so a second run finds them and a changed pin builds anew.

`KUBEBUILDER_ASSETS` names a directory that has etcd, kube-apiserver and kubectl already (`setup-envtest use` fills one
and prints its path); then these are used and not built.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cluster_rig import cache, modules, releases, requirements, toolchain
from cluster_rig.errors import BuildError, MachineLacksError
from cluster_rig.modules import Module, OwnModule
from cluster_rig.releases import Release

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

    def module(self, release: Release) -> Module:
        """The module that it is built in for the release."""
        if self.package.startswith("k8s.io/kubernetes/"):
            return modules.kubernetes(release)
        if self.package.startswith("github.com/containerd/containerd/"):
            return modules.containerd(release.containerd or releases.CONTAINERD)
        return OwnModule()


def kubernetes(name: str) -> Program:
    """A program of Kubernetes."""
    return Program(name=name, package=f"k8s.io/kubernetes/cmd/{name}")


def containerd(name: str) -> Program:
    """A program of containerd 2."""
    return Program(name=name, package=f"github.com/containerd/containerd/v2/cmd/{name}")


KUBECTL = kubernetes("kubectl")
HELM = Program(name="helm", package="helm.sh/helm/v3/cmd/helm")
CLIENTS = (KUBECTL, HELM)
CONTROL_PLANE = (
    Program(name="pki", package="./pki"),
    Program(name="etcd", package="go.etcd.io/etcd/server/v3"),
    kubernetes("kube-apiserver"),
    kubernetes("kube-controller-manager"),
    kubernetes("kube-scheduler"),
    KUBECTL,
)
NODE = (
    *CONTROL_PLANE,
    HELM,
    kubernetes("kubelet"),
    kubernetes("kube-proxy"),
    Program(name="coredns", package="./coredns"),
    Program(name="pause", package="./pause"),
)
CONTAINERD = tuple(map(containerd, ("containerd", "containerd-shim-runc-v2", "ctr")))
ALL = (*NODE, *CONTAINERD)


def of_node(release: Release) -> tuple[Program, ...]:
    """All programs of a cluster with a node; the machine's own containerd serves where the release names none."""
    return ALL if release.containerd else NODE


def node_path(release: Release) -> str:
    """PATH on the node: the containerd that was built for the release is found before the machine's own."""
    built = [str(path_of(program, release).parent) for program in CONTAINERD[:1] if release.containerd]
    return ":".join([*built, requirements.search_path()])


def assets() -> Path | None:
    """The directory that `KUBEBUILDER_ASSETS` names."""
    named = os.environ.get(ASSETS)
    return Path(named) if named else None


def path_of(program: Program, release: Release | None = None) -> Path:
    """Where the program is: in the given assets, or where it is once built; the name changes with all that is in it."""
    if (given := assets()) and program.name in IN_ASSETS:
        return given / program.name
    return directory_of(program.module(release or releases.chosen())) / program.name


def directory_of(module: Module) -> Path:
    """Where the module's programs are once they are built."""
    return cache.directory() / "programs" / f"{module.name}-{modules.key_of(module)}"


@functools.cache
def check_assets(given: Path, release: Release) -> None:
    """Says it once where the given API server has another version than the one that was chosen.

    Raises:
        MachineLacksError: a program is missing.
    """
    if missing := sorted(name for name in IN_ASSETS if not (given / name).exists()):
        raise MachineLacksError(f"{ASSETS}={given} has no {', '.join(missing)}: name one that `setup-envtest use` made")
    said = subprocess.run([given / "kube-apiserver", "--version"], capture_output=True, text=True).stdout.split()
    if said[-1:] != [f"v{release.version}"]:
        cache.say(f"{ASSETS} has {' '.join(said)}; the tests run with Kubernetes v{release.version}")


def build(programs: Iterable[Program], release: Release | None = None) -> dict[str, Path]:
    """Builds what is not there yet for the release (the chosen one), and returns the path of each by name.

    Raises:
        BuildError: `go build` failed; the text ends with what it said.
        MachineLacksError: there is no Go toolchain and none can be installed, or `KUBEBUILDER_ASSETS` has not all.
        RefusedError: the environment chooses a release that there is not.
    """
    release = release or releases.chosen()
    if given := assets():
        check_assets(given, release)
    wanted = {program.name: program for program in programs}
    paths = {name: path_of(program, release) for name, program in wanted.items()}
    missing: dict[Module, list[Program]] = {}
    for name, program in wanted.items():
        if not paths[name].exists():
            missing.setdefault(program.module(release), []).append(program)
    for module, lacking in missing.items():
        build_in(module, lacking)
    return paths


def build_in(module: Module, programs: Iterable[Program]) -> None:
    """Builds what is still missing once no other process builds in the module."""
    target = directory_of(module)
    target.mkdir(parents=True, exist_ok=True)
    with cache.locked(cache.directory() / f"build-{module.name}.lock"):
        if missing := [program for program in programs if not (target / program.name).exists()]:
            go = toolchain.find()
            names = ", ".join(program.name for program in missing)
            with cache.timed(f"building {names} ({module.name}; minutes, the first time)"):
                compile_programs(go, module, {program: target / program.name for program in missing})


def compile_programs(go: Path, module: Module, paths: Mapping[Program, Path]) -> None:
    """One `go build`, whose results are moved into place when it is complete."""
    with (
        tempfile.TemporaryDirectory(dir=cache.directory() / "programs", prefix="unfinished-") as unfinished,
        module.sources(go) as (directory, options),
    ):
        fixed = ("-trimpath", "-buildvcs=false", "-ldflags", module.flags, "-o", f"{unfinished}/")
        command = [str(go), "build", *options, *fixed, *(program.package for program in paths)]
        # -mod=readonly: go.sum is the pin, nothing is added to it.
        environ = modules.go_environment("-mod=readonly")
        done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, errors="replace")
        if done.returncode:
            names = ", ".join(program.name for program in paths)
            raise BuildError(f"{names} did not build:\n{done.stderr.strip()[-3000:]}")
        for program, path in paths.items():
            (Path(unfinished) / program.binary).replace(path)
