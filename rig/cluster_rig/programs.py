"""The programs of the cluster, and how they are built: `go build` in the directory whose go.mod and go.sum pin them.

Each group has a go.mod of its own, because the programs pin different versions of the same dependencies. The binaries
land in the cache under the hash of the group's files, so a second run finds them and a changed pin builds anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster_rig import cache, toolchain
from cluster_rig.errors import BuildError


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program to build."""

    name: str
    group: str
    """The directory under go/ whose go.mod pins it."""
    package: str
    seconds: int
    """How long it took on 2 cores with nothing cached (2026-11-23); shown while it builds."""


CONTROL_PLANE = (
    Program(name="pki", group="pki", package=".", seconds=3),
    Program(name="etcd", group="etcd", package="go.etcd.io/etcd/server/v3", seconds=25),
    Program(name="kube-apiserver", group="kubernetes", package="k8s.io/kubernetes/cmd/kube-apiserver", seconds=189),
    Program(
        name="kube-controller-manager",
        group="kubernetes",
        package="k8s.io/kubernetes/cmd/kube-controller-manager",
        seconds=51,
    ),
    Program(name="kube-scheduler", group="kubernetes", package="k8s.io/kubernetes/cmd/kube-scheduler", seconds=5),
    Program(name="kubectl", group="kubernetes", package="k8s.io/kubernetes/cmd/kubectl", seconds=19),
)
CLIENTS = (
    Program(name="kubectl", group="kubernetes", package="k8s.io/kubernetes/cmd/kubectl", seconds=19),
    Program(name="helm", group="helm", package="helm.sh/helm/v3/cmd/helm", seconds=68),
)
NODE = (
    *CONTROL_PLANE,
    CLIENTS[1],
    Program(name="kubelet", group="kubernetes", package="k8s.io/kubernetes/cmd/kubelet", seconds=14),
    Program(name="kube-proxy", group="kubernetes", package="k8s.io/kubernetes/cmd/kube-proxy", seconds=6),
    Program(name="coredns", group="coredns", package=".", seconds=120),
    Program(name="pause", group="pause", package=".", seconds=1),
)


def kubernetes_version() -> str:
    """The version that go/kubernetes/go.mod pins, such as `v1.35.4`."""
    pinned = re.search(r"k8s.io/kubernetes (v\S+)", (toolchain.MODULES / "kubernetes" / "go.mod").read_text())
    if not pinned:
        raise BuildError("go/kubernetes/go.mod does not require k8s.io/kubernetes")
    return pinned[1]


def link_flags() -> str:
    """Without the version the API server calls itself v0.0.0, and Helm's `kubeVersion` refuses it."""
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{key}={word}" for key, word in values.items())])


def path_of(program: Program) -> Path:
    """Where the program is, once built; the name changes with everything that goes into it."""
    source = toolchain.MODULES / program.group
    files = sorted(path for path in source.iterdir() if path.suffix in {".mod", ".sum", ".go"})
    machine = " ".join((os.uname().sysname, os.uname().machine))
    parts = [link_flags().encode(), machine.encode(), *(part for path in files for part in read_named(path))]
    return cache.directory() / "programs" / f"{program.group}-{cache.fingerprint(parts)}" / program.name


def read_named(path: Path) -> tuple[bytes, bytes]:
    """A file's name and content, as the fingerprint wants them."""
    return path.name.encode(), path.read_bytes()


def build(programs: Iterable[Program]) -> dict[str, Path]:
    """Builds what is not there yet, one program at a time, and returns the path of each by name.

    Raises:
        BuildError: `go build` failed; the text ends with what it said.
        MachineLacksError: there is no Go toolchain and none can be installed.
    """
    wanted = {program.name: program for program in programs}
    paths = {name: path_of(program) for name, program in wanted.items()}
    if all(path.exists() for path in paths.values()):
        return paths
    with cache.locked(cache.directory() / "build.lock"):
        missing = [program for program in wanted.values() if not paths[program.name].exists()]
        go = toolchain.find() if missing else Path()
        for number, program in enumerate(missing, 1):
            cache.say(f"building {program.name} ({number} of {len(missing)}; about {program.seconds} s if never built)")
            began = time.monotonic()
            compile_program(go, program, paths[program.name])
            cache.say(f"built {program.name} in {time.monotonic() - began:.0f} s")
    return paths


def compile_program(go: Path, program: Program, path: Path) -> None:
    """One `go build`, moved into place only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    options = ["-trimpath", "-buildvcs=false", "-ldflags", link_flags(), "-o", str(unfinished)]
    command = [str(go), "build", *options, program.package]
    # GOTOOLCHAIN=local: the toolchain is ours to choose. -mod=readonly: go.sum is the pin, nothing is added to it.
    environ = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    done = subprocess.run(
        command, cwd=toolchain.MODULES / program.group, env=environ, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        raise BuildError(f"{program.name} did not build:\n{done.stderr.strip()[-3000:]}")
    unfinished.replace(path)
