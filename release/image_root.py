"""Copies what an image runs into an empty root: the last stage of each Dockerfile starts from nothing.

    python3 release/image_root.py ROOT

It runs as root in the build stage, with the interpreter that the image gets; the virtual environment is in /app. Into
ROOT go

- /app, the interpreter, and the standard library without what a server never imports (`NOT_A_SERVERS`);
- the shared libraries that these need, as ldd names them;
- the certificate authorities, and the few files of /etc that the C library and scanners read;
- for each Debian package of which a file was copied: its licence and its control record, where scanners look for the
  packages of an image without dpkg (/var/lib/dpkg/status.d, as in the "distroless" images).

Every path keeps its name, its mode and the links that lead to it. Bytecode is compiled here and never checked, because
the root filesystem is read-only where this runs. All times are $SOURCE_DATE_EPOCH (seconds; 0 if unset), so that two
builds of the same inputs have the same layer (https://reproducible-builds.org/docs/source-date-epoch/).

It imports only the standard library, and works on Python 3.11 or newer, on Debian and on what is made from it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

APP = Path("/app")
NOT_A_SERVERS = (
    "test", "tests", "idle_test", "_test*", "xx*", "*_test.*.so",  # Python's tests of itself
    "tkinter", "_tkinter*", "idlelib", "turtle.py", "turtledemo", "curses", "_curses*",  # screens
    "ensurepip", "venv", "lib2to3", "distutils", "config-*", "EXTERNALLY-MANAGED",  # builds and installs
    "site-packages", "dist-packages", "sitecustomize.py",  # other environments than ours
    "readline*", "sqlite3", "_sqlite3*", "dbm", "_dbm*", "_gdbm*", "pydoc_data", "__pycache__",
)  # fmt: skip
"""Names of files and directories of the standard library that stay out."""
ALSO = (
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/usr/lib/ssl",
    "/etc/nsswitch.conf",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/os-release",
    "/etc/debian_version",
)
LOADED_BY_NAME = ("libgcc_s.so.1",)
"""Libraries that no ELF header names: the C library loads this one when a thread is cancelled."""
USERS = "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
GROUPS = "root:x:0:\nnogroup:x:65534:\n"


IMPORT_ALL = """
import importlib, pkgutil
for package in pkgutil.iter_modules():
    if package.name.startswith("o365mailer_"):
        found = importlib.import_module(package.name)
        for module in pkgutil.walk_packages(found.__path__, found.__name__ + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
"""


class Root:
    """The new root, and what was copied into it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.copied: set[Path] = set()
        """Names of the files, with no link in them."""

    def at(self, path: Path) -> Path:
        """Where an absolute path is in the new root."""
        return self.top / path.relative_to("/")

    def add(self, path: Path) -> None:
        """A file, a link with what it leads to, or a directory with all below it. What is not there is left out."""
        real = self._directory(path.parent) / path.name
        if real.is_symlink():
            if not self.at(real).is_symlink():
                self.at(real).symlink_to(real.readlink())
            self.add(Path(os.path.normpath(real.parent / real.readlink())))
        elif real.is_dir():
            self._directory(real)
            for below in sorted(real.iterdir()):
                self.add(below)
        elif real.is_file() and real not in self.copied:
            shutil.copy2(real, self.at(real))
            self.copied.add(real)

    def _directory(self, path: Path) -> Path:
        """Makes a directory, and the links that lead to it; returns its name without links."""
        if path == Path("/"):
            return path
        real = self._directory(path.parent) / path.name
        if real.is_symlink():
            if not self.at(real).is_symlink():
                self.at(real).symlink_to(real.readlink())
            return self._directory(Path(os.path.normpath(real.parent / real.readlink())))
        self.at(real).mkdir(exist_ok=True)
        shutil.copymode(real, self.at(real))
        return real

    def write(self, name: str, text: str) -> None:
        """A file of our own making."""
        self.at(Path(name)).parent.mkdir(parents=True, exist_ok=True)
        self.at(Path(name)).write_text(text)


def wanted(directory: Path) -> Iterator[Path]:
    """The files and links of the standard library that a server may import."""
    for path in sorted(directory.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in NOT_A_SERVERS):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from wanted(path)
        else:
            yield path


def libraries(programs: Iterable[Path]) -> set[Path]:
    """What the loader adds to these programs and extension modules.

    Raises:
        SystemExit: a library is missing.
    """
    found: set[Path] = set()
    for program in programs:
        said = subprocess.run(["ldd", program], capture_output=True, text=True)
        for line in said.stdout.splitlines():
            if "not found" in line:
                sys.exit(f"{program} needs a library that is not here: {line.strip()}")
            found |= {Path(word) for word in line.split() if word.startswith("/")}
    return found


def is_elf(path: Path) -> bool:
    """Whether it is a program or a shared library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def packages(files: Iterable[Path]) -> set[str]:
    """The Debian packages that these files are from. Some packages still name theirs without the leading /usr."""
    names = [name for path in sorted(files) for name in (str(path), str(path).removeprefix("/usr"))]
    said = subprocess.run(["dpkg", "--search", *names], capture_output=True, text=True).stdout
    owners = (line.rpartition(": ")[0] for line in said.splitlines() if not line.startswith("diversion "))
    return {owner for line in owners for owner in line.split(", ")}


def record(root: Root, package: str) -> None:
    """The licence of a package, and the record by which scanners know it."""
    bare = package.partition(":")[0]
    root.add(Path("/usr/share/doc", bare, "copyright"))
    said = subprocess.run(["dpkg-query", "--status", package], capture_output=True, text=True, check=True)
    root.write(f"/var/lib/dpkg/status.d/{bare}", said.stdout)


def main(top: Path) -> None:
    """Fills the new root."""
    top.mkdir(parents=True)
    root = Root(top)
    standard_library = Path(sysconfig.get_path("stdlib"))
    for path in (*wanted(standard_library), Path(sys.executable), APP, *map(Path, ALSO)):
        root.add(path)
    linked = libraries(path for path in root.copied if is_elf(path))
    named = [each.with_name(name) for name in LOADED_BY_NAME for each in linked if each.with_name(name).exists()]
    if not named:
        sys.exit(f"{LOADED_BY_NAME} are in no directory of the other libraries")
    for path in (*linked, *named):
        root.add(path)
    for package in sorted(packages(path for path in root.copied if not path.is_relative_to(APP))):
        record(root, package)
    root.write("/etc/passwd", USERS)
    root.write("/etc/group", GROUPS)
    root.at(Path("/tmp")).mkdir(mode=0o1777)  # noqa: S108 - a directory of the image, not a file of ours in it
    root.at(Path("/tmp")).chmod(0o1777)  # noqa: S108
    finish(root, [standard_library, APP / "lib"])
    # A part of the standard library or a shared library that is missing shows here, and not in the first pod.
    subprocess.run(["chroot", top, APP / "bin/python3", "-B", "-c", IMPORT_ALL], check=True)


def finish(root: Root, sources: Iterable[Path]) -> None:
    """The loader's cache, bytecode, and one time for everything."""
    subprocess.run(["ldconfig", "-X", "-r", root.top], check=True)
    shutil.rmtree(root.at(Path("/var/cache")), ignore_errors=True)
    for path in sources:
        command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        subprocess.run([*command, "-s", root.top, "-p", "/", root.at(path)], check=True)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    for path in (root.top, *root.top.rglob("*")):
        os.utime(path, (epoch, epoch), follow_symlinks=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
