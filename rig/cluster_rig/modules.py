"""The Go modules that the programs are built in: our own, and those of Kubernetes and containerd.

Kubernetes and containerd are built inside their own published modules, with the dependencies that their releases have.
A module of ours that requires Kubernetes would need a go.mod and a go.sum of a thousand lines for each minor version.
go/upstream/go.sum pins the published modules by checksum, and with them the go.sum that each of them contains.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster_rig import cache, toolchain
from cluster_rig.errors import BuildError
from cluster_rig.releases import RELEASES, Release

PINS = toolchain.MODULE / "upstream" / "go.sum"
LIBRARIES = "k8s.io/"

Sources = tuple[Path, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class OwnModule:
    """The module in go/: what all releases share."""

    name: str = "shared"
    flags: str = "-s -w"

    def contents(self) -> list[bytes]:
        """The names and contents of its files."""
        top = toolchain.MODULE
        every = (path for path in top.rglob("*") if path.suffix in {".mod", ".sum", ".go"})
        files = sorted(path for path in every if path.parent != PINS.parent)
        return [part for path in files for part in (str(path.relative_to(top)).encode(), path.read_bytes())]

    @contextlib.contextmanager
    def sources(self, go: Path) -> Iterator[Sources]:
        """The directory to call `go build` in; it needs no options."""
        del go
        yield toolchain.MODULE, ()


@dataclass(frozen=True, kw_only=True)
class PublishedModule:
    """A module of the Go proxy, built in its place in Go's module cache."""

    name: str
    """What the directory of its programs is called."""
    path: str
    version: str
    libraries: str = ""
    """The version of Kubernetes' libraries, which upstream's go.mod takes from directories of its repository."""
    flags: str = "-s -w"
    """For the linker."""

    def pins(self) -> list[str]:
        """The lines of go/upstream/go.sum for it and for its libraries."""
        return [line for line in PINS.read_text(encoding="utf-8").splitlines() if self.is_about(line)]

    def is_about(self, line: str) -> bool:
        """Whether a line of a go.sum is about this module or one of its libraries."""
        path, version, _ = line.split()
        version = version.removesuffix("/go.mod")
        is_library = path.startswith(LIBRARIES) and version == self.libraries
        return is_library or (path, version) == (self.path, self.version)

    def contents(self) -> list[bytes]:
        """The pins, which decide over every byte of it."""
        return [line.encode() for line in self.pins()]

    @contextlib.contextmanager
    def sources(self, go: Path) -> Iterator[Sources]:
        """The module's directory, and the option that names a go.mod (and a go.sum) with its libraries' versions."""
        directory = self.directory(go)
        with tempfile.TemporaryDirectory(prefix="o365mailer-go-") as name:
            file = Path(name) / "go.mod"
            file.write_text(self.with_versions((directory / "go.mod").read_text(encoding="utf-8")), encoding="utf-8")
            lines = [*(directory / "go.sum").read_text(encoding="utf-8").splitlines(), *self.pins()]
            file.with_suffix(".sum").write_text("\n".join([*lines, ""]), encoding="utf-8")
            yield directory, (f"-modfile={file}",)

    def directory(self, go: Path) -> Path:
        """Where Go has unpacked it.

        Raises:
            BuildError: it cannot be fetched, or has another checksum than the pinned one.
        """
        return Path(download(go, self.path, self.version)["Dir"])

    def with_versions(self, text: str) -> str:
        """Upstream's go.mod with versions: it says v0.0.0 and ./staging, which is not in the published module.

        The samples are left out: only upstream's own tests need them, and the proxy does not have all of them.
        """
        if not self.libraries:
            return text
        text = re.sub(rf"^\t{LIBRARIES}sample-.*\n", "", text, flags=re.MULTILINE)
        text = re.sub(r"=> \./staging/src/(\S+)", rf"=> \1 {self.libraries}", text)
        return re.sub(rf"({LIBRARIES}\S+) v0\.0\.0$", rf"\1 {self.libraries}", text, flags=re.MULTILINE)

    def parts(self, go: Path) -> list[tuple[str, str]]:
        """Path and version of it and of its libraries: all that is pinned here."""
        text = self.with_versions((self.directory(go) / "go.mod").read_text(encoding="utf-8"))
        libraries = sorted(set(re.findall(rf"({LIBRARIES}\S+) {re.escape(self.libraries)}$", text, flags=re.MULTILINE)))
        return [(self.path, self.version), *((path, self.libraries) for path in libraries if self.libraries)]


Module = OwnModule | PublishedModule


def kubernetes(release: Release) -> PublishedModule:
    """Without the linker's flags the API server calls itself v0.0.0, and Helm's `kubeVersion` refuses it."""
    version = f"v{release.version}"
    major, minor = release.minor.split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return PublishedModule(
        name=f"kubernetes-{release.version}",
        path="k8s.io/kubernetes",
        version=version,
        libraries=release.libraries,
        flags=" ".join(["-s -w", *(f"-X k8s.io/component-base/version.{key}={word}" for key, word in values.items())]),
    )


def containerd(version: str) -> PublishedModule:
    """containerd 2."""
    path = "github.com/containerd/containerd/v2"
    return PublishedModule(name=f"containerd-{version}", path=path, version=f"v{version}")


def key_of(module: Module) -> str:
    """Changes with everything that the module's programs are made of."""
    machine = " ".join((os.uname().sysname, os.uname().machine))
    return cache.fingerprint([machine.encode(), module.flags.encode(), *module.contents()])


def go_environment(flags: str) -> dict[str, str]:
    """GOTOOLCHAIN=local: the toolchain is ours to choose. The user's own flags and workspace are not for our builds."""
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": flags, "GOWORK": "off"}


def download(go: Path, path: str, version: str) -> Mapping[str, str]:
    """What `go mod download -json` says of the module: Dir, Sum, GoModSum; checked against go/upstream/go.sum.

    Raises:
        BuildError: it failed; the text ends with what it said.
    """
    command = [str(go), "mod", "download", "-json", f"{path}@{version}"]
    done = subprocess.run(command, cwd=PINS.parent, env=go_environment(""), capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{path} {version} could not be had:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    answer: Mapping[str, str] = json.loads(done.stdout)
    return answer


def pin(go: Path) -> None:
    """Writes go/upstream/go.sum anew: what the Go proxy and Go's checksum database say of every release in the table.

    Raises:
        BuildError: a module is not there, or its checksum is not the one that was pinned before.
    """
    published = [kubernetes(release) for release in RELEASES]
    published += [containerd(version) for version in {release.containerd for release in RELEASES} if version]
    lines = set()
    for module in published:
        for path, version in module.parts(go):
            found = download(go, path, version)
            lines |= {f"{path} {version} {found['Sum']}", f"{path} {version}/go.mod {found['GoModSum']}"}
    PINS.write_text("\n".join([*sorted(lines), ""]), encoding="utf-8")
