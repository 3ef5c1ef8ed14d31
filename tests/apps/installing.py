"""What the programs are made of that Debian does not ship, from locked lists into the cache outside the repository.

The ordinary clients fetch it, as they are configured on this machine; what they bring is checked against hashes that
are committed next to each program.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cluster_rig import cache, toolchain
from cluster_rig.errors import BuildError, MachineLacksError
from cluster_rig.requirements import search_path

SOURCES = Path(__file__).resolve().parent / "sources"
COPIER = "org.apache.maven.plugins:maven-dependency-plugin:2.8"
LOCK = Path(__file__).resolve().parents[2] / "locks" / "apps.txt"


def tool(name: str) -> str:
    """Its path. Raises MachineLacksError."""
    found = shutil.which(name, path=search_path())
    if not found:
        raise MachineLacksError(f"{name} is not installed")
    return found


def kept(name: str, files: Iterable[Path], make: Callable[[Path], None]) -> Path:
    """A directory in the cache that `make` filled; another one when one of the files changes."""
    parts = [part for file in files for part in (file.name.encode(), file.read_bytes())]
    target = cache.directory() / "apps" / f"{name}-{cache.fingerprint([sys.version.encode(), *parts])}"
    target.parent.mkdir(exist_ok=True)
    with cache.locked(target.parent / f"{name}.lock"):
        if not (target / "complete").exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            with cache.timed(f"installing {name} for the tests' programs"):
                make(target)
            (target / "complete").touch()
    return target


def run(command: list[str], *, folder: Path, **environment: str) -> None:
    """One installation step. Raises BuildError with the end of what it said."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise BuildError(f"{command[0]} failed:\n{(done.stdout + done.stderr).strip()[-3000:]}")


def python() -> Mapping[str, str]:
    """Django and Flask-Mail (locks/apps.txt)."""

    def make(target: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--only-binary", ":all:", "--target", str(target), "--requirement", str(LOCK)]
        run(command, folder=target)

    return {"PYTHONPATH": str(kept("python", [LOCK], make))}


def node() -> Mapping[str, str]:
    """nodemailer (package-lock.json)."""
    files = [SOURCES / "nodemailer" / name for name in ("package.json", "package-lock.json")]
    npm = tool("npm")
    tool("node")

    def make(target: Path) -> None:
        for file in files:
            shutil.copy(file, target)
        run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder=target)

    return {"MODULES": str(kept("nodemailer", files, make))}


def spring() -> Mapping[str, str]:
    """Spring's and Jakarta's jars (pom.xml, jars.sha256), and our class compiled with them."""
    source = SOURCES / "spring"
    pom, hashes, program = (source / name for name in ("pom.xml", "jars.sha256", "Send.java"))
    maven, javac = tool("mvn"), tool("javac")
    tool("java")

    def make(target: Path) -> None:
        shutil.copy(pom, target)
        run([maven, "-B", "-q", f"{COPIER}:copy-dependencies", "-DoutputDirectory=jars"], folder=target)
        check_hashes(target / "jars", hashes.read_text())
        run([javac, "-cp", "jars/*", "-d", "classes", str(program)], folder=target)

    target = kept("spring", [pom, hashes, program], make)
    return {"CLASSPATH": f"{target}/classes:{target}/jars/*"}


def check_hashes(folder: Path, listed: str) -> None:
    """Raises BuildError unless the folder holds exactly the files of a `sha256sum` list."""
    wanted = set(listed.splitlines())
    found = {f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in folder.iterdir()}
    if wrong := sorted({line.split()[1] for line in wanted ^ found}):
        raise BuildError(f"not the jars of jars.sha256: {', '.join(wrong)}")


def go() -> Mapping[str, str]:
    """The Go program: the standard library alone."""
    source = SOURCES / "go"

    def make(target: Path) -> None:
        command = [str(toolchain.find()), "build", "-trimpath", "-buildvcs=false", "-o", str(target / "app"), "."]
        run(command, folder=source, CGO_ENABLED="0", GOTOOLCHAIN="local", GOFLAGS="-mod=readonly", GOWORK="off")

    return {"GO_APP": str(kept("go", [source / "go.mod", source / "main.go"], make) / "app")}
