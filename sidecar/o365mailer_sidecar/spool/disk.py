"""What the spool asks of a file system, as one port: a simulated disk stands in for it where crashes are proved.

Reading is not part of it: what is read after a crash is a real directory in the proof too.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

MODE: Final = 0o600
"""Mail is nobody else's to read."""


class Disk(Protocol):
    """Blocking; everything raises OSError. Nothing is durable before `sync` of the file, or of the directory."""

    def make_directory(self, path: str) -> None:
        """Below one that exists."""

    def open_directory(self, path: str) -> int:
        """A descriptor to `sync`."""

    def create(self, path: str) -> int:
        """A new, empty file, to be written."""

    def reopen(self, path: str) -> int:
        """An existing file, to be appended to and read."""

    def write(self, file: int, pieces: Sequence[bytes | bytearray]) -> None:
        """All of them, in this order."""

    def sync(self, file: int) -> None:
        """The file's content and size, or the directory's entries, on the medium when it returns.

        A failure is final for that file: the kernel has forgotten which pages were not written, and a second call
        would say that all is well (Rebello and others, "Can Applications Recover from fsync Failures?", ATC 2020).
        """

    def close(self, file: int) -> None:
        """Let go of it."""

    def rename(self, source: str, target: str) -> None:
        """At once and as a whole, also after a crash: as every file system with a journal does it."""

    def remove(self, path: str) -> None:
        """The entry."""


class Filesystem:
    """The real one."""

    def make_directory(self, path: str) -> None:
        """Below one that exists."""
        os.mkdir(path, 0o700)  # noqa: PTH102  # a Path costs as much as the call

    def open_directory(self, path: str) -> int:
        """A descriptor to `sync`."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def create(self, path: str) -> int:
        """A new, empty file, to be written."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, MODE)

    def reopen(self, path: str) -> int:
        """An existing file, to be appended to and read."""
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)

    def write(self, file: int, pieces: Sequence[bytes | bytearray]) -> None:
        """All of them, in this order."""
        written = os.writev(file, pieces)
        for piece in pieces:
            rest = memoryview(piece)[written:]
            written = max(written - len(piece), 0)
            while rest:
                rest = rest[os.write(file, rest) :]

    def sync(self, file: int) -> None:
        """On the medium when it returns.

        fsync, not fdatasync: for a file that grew both write the same (POSIX has fdatasync write what is needed to
        read the data back, and that is its size), and for a directory only fsync is defined.
        """
        os.fsync(file)

    def close(self, file: int) -> None:
        """Let go of it."""
        os.close(file)

    def rename(self, source: str, target: str) -> None:
        """At once and as a whole."""
        os.rename(source, target)  # noqa: PTH104

    def remove(self, path: str) -> None:
        """The entry."""
        os.unlink(path)  # noqa: PTH108


# --- volume --------------------
# What a directory lies on: a spool in memory would make a 250 a promise that ends with the machine.


IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})

MOUNTS: Final = Path("/proc/self/mountinfo")


def kind(directory: Path, *, mounts: str) -> str:
    """The type of the file system that holds it, from proc_pid_mountinfo(5); empty when it is not told.

    The device's number decides, not the path: a mount may lie behind symbolic links, or under another mount.
    """
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == number:
            return source.split()[0]
    return ""


def mounted() -> str:
    """The mounts that this process sees; empty where the system does not tell."""
    try:
        return MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
