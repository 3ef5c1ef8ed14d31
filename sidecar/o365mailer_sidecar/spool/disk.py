"""What the spool asks of a file system: the calls whose order makes it crash-safe, in one class.

Tests put a recording disk or a failing disk in its place. Reading is not part of it: after a crash, in a test too, the
spool reads a real directory.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

MODE: Final = 0o600
"""Only the relay's user can read mail."""

IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
"""File systems that lose a message, and the 250 that the app got for it, with the machine."""

MOUNTS: Final = Path("/proc/self/mountinfo")


class Disk:
    """Blocking calls; every one raises OSError. Nothing is durable before `sync` of the file, or of the directory."""

    def make_directory(self, path: str) -> None:
        """Its parent must exist."""
        os.mkdir(path, 0o700)  # noqa: PTH102  # a Path costs as much as the call

    def open_directory(self, path: str) -> int:
        """A descriptor for `sync`."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def create(self, path: str) -> int:
        """A descriptor of a new, empty file, for writing."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, MODE)

    def reopen(self, path: str) -> int:
        """A descriptor of an existing file, for appending and reading."""
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)

    def write(self, file: int, pieces: Sequence[bytes | bytearray]) -> None:
        """Write all pieces, in this order."""
        written = os.writev(file, pieces)
        for piece in pieces:
            rest = memoryview(piece)[written:]
            written = max(written - len(piece), 0)
            while rest:
                rest = rest[os.write(file, rest) :]

    def sync(self, file: int) -> None:
        """The file's content and size, or the directory's entries, are on the medium when it returns.

        After a failure never sync the same file again: the kernel has forgotten which pages it did not write, and the
        second call would succeed (Rebello and others, "Can Applications Recover from fsync Failures?", ATC 2020).

        fsync, not fdatasync: for a file that grew both write the same (POSIX has fdatasync write what is needed to
        read the data back, and that is its size), and for a directory only fsync is defined.
        """
        os.fsync(file)

    def sync_directory(self, path: str) -> None:
        descriptor = self.open_directory(path)
        try:
            self.sync(descriptor)
        finally:
            self.close(descriptor)

    def close(self, file: int) -> None:
        os.close(file)

    def rename(self, source: str, target: str) -> None:
        """Atomic, also in a crash, as on every file system with a journal."""
        os.rename(source, target)  # noqa: PTH104

    def remove(self, path: str) -> None:
        os.unlink(path)  # noqa: PTH108


def kind(directory: Path, *, mounts: str) -> str:
    """The type of the file system that holds it, by proc_pid_mountinfo(5); empty when it is not listed there.

    The device's number decides, not the path: there may be symbolic links, or a mount over another mount.
    """
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == number:
            return source.split()[0]
    return ""


def mounted() -> str:
    """The mounts that this process sees; empty where there is no such file."""
    try:
        return MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
