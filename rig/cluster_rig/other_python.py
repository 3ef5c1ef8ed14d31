"""The Python of the published images (3.13), where this machine's own is older: Debian trixie's, in a directory.

All that the tests need is next to it, as `locks/dev.txt` has it. Programs run in it by chroot: a copy of some of our
sources (`copy_of`), or this repository as it is (`run`).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster_rig import base_image, cache
from cluster_rig.errors import BuildError

VERSION = "3.13"
RELEASE = base_image.RELEASE
"""The Debian release that has it."""
REPOSITORY = Path(__file__).parents[2]
LOCK = REPOSITORY / "locks" / "dev.txt"
SITE = Path("/opt/site")
SOURCES = (REPOSITORY / "contract", REPOSITORY / "operator", REPOSITORY / "cli")
ENTER = """
set -eu
root=$1 repository=$2; shift 2
mount --make-rprivate /
# The root of a chroot is a mount, as a machine's is: the tests make mount namespaces of their own.
mount --bind "$root" "$root"
mkdir -p "$root$repository"
mount --rbind "$repository" "$root$repository"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" sh -c 'cd "$0" && exec "$@"' "$repository" "$@"
"""
"""A shell program that runs a command in the root, which sees the repository under its own path."""
RUN = """
set -eu
python3 -m venv --without-pip --system-site-packages "$1"
PYTHONPATH=$2 "$1/bin/python" "$3" --quiet --disable-pip-version-check install --no-index --no-deps \\
    --no-build-isolation --editable .
environment=$1; shift 3
exec "$environment/bin/python" "$@"
"""
"""A shell program of the root: our packages in an environment of their own, as in .venv, and a command in it."""


@dataclass(frozen=True)
class OtherPython:
    """A root directory with that Python and the operator's dependencies."""

    root: Path

    @contextlib.contextmanager
    def copy_of(self, *programs: Path) -> Iterator[Path]:
        """A directory in the root with our sources and these programs; gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.root / "tmp", prefix="probe-") as name:
            for source in SOURCES:
                shutil.copytree(source, Path(name) / source.name, ignore=shutil.ignore_patterns("__pycache__"))
            for program in programs:
                shutil.copy(program, name)
            yield Path(name)

    def inside(self, path: Path) -> Path:
        """The name inside the root of a path below it."""
        return Path("/") / path.relative_to(self.root)

    def command(self, directory: Path, program: str) -> list[str]:
        """A program of a `copy_of`, to be run from out here."""
        inside = self.inside(directory)
        path = ":".join(str(each) for each in (SITE, *(inside / source.name for source in SOURCES)))
        environment = [f"PYTHONPATH={path}", "PYTHONDONTWRITEBYTECODE=1", "LANG=C.UTF-8"]
        return ["chroot", str(self.root), "/usr/bin/env", "-i", *environment, "/usr/bin/python3", str(inside / program)]

    def run(self, *arguments: str) -> int:
        """Runs `python ARGUMENTS` in the repository's directory and returns its exit status.

        The mounts are in a namespace of their own and end with the process.
        """
        passed = [f"{key}={value}" for key, value in os.environ.items() if key == "CI" or key.startswith("O365MAILER_")]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        fixed = [path, "HOME=/root", "LANG=C.UTF-8", f"PYTHONPATH={SITE}", "PYTHONDONTWRITEBYTECODE=1"]
        [pip] = (str(Path(place)) for place in importlib.import_module("pip").__path__)
        shutil.copy("/etc/hosts", self.root / "etc" / "hosts")
        with tempfile.TemporaryDirectory(dir=self.root / "tmp", prefix="environment-") as name:
            inside = ["sh", "-c", RUN, "run", str(self.inside(Path(name))), str(SITE), pip, *arguments]
            enter = ["unshare", "--mount", "sh", "-c", ENTER, "enter", str(self.root), str(REPOSITORY)]
            return subprocess.run([*enter, "/usr/bin/env", "-i", *fixed, *passed, *inside]).returncode


def build(environ: Mapping[str, str] = os.environ) -> OtherPython:
    """Made once (about two minutes) and kept in the cache.

    Raises:
        MachineLacksError, BuildError: as their names say.
    """
    root = cache.directory(environ) / f"python-{VERSION}-{cache.fingerprint([RELEASE.encode(), LOCK.read_bytes()])}"
    if not root.exists():
        with cache.locked(cache.directory(environ) / "other-python.lock"):
            if not root.exists():
                with cache.timed(f"making a root of Debian {RELEASE} with Python {VERSION} and {LOCK.name}"):
                    make(root)
    return OtherPython(root)


def make(root: Path) -> None:
    """debootstrap and pip into a directory next to `root`, which then gets its name."""
    source = base_image.mirror(platform.freedesktop_os_release()["VERSION_CODENAME"])
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="python-") as name:
        made = Path(name) / "root"
        base_image.run("debootstrap", "--variant=minbase", "--include=python3", RELEASE, str(made), source)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile"]
        locked = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", str(LOCK)]
        target = ["--python-version", VERSION, "--target", str(made / SITE.relative_to("/"))]
        base_image.run(*pip, *locked, *target)
        found = subprocess.run(
            ["chroot", str(made), "/usr/bin/python3", "--version"], capture_output=True, text=True
        ).stdout
        if not found.startswith(f"Python {VERSION}."):
            raise BuildError(f"Debian {RELEASE} brings {found.strip() or 'no Python'} instead of Python {VERSION}")
        made.rename(root)
