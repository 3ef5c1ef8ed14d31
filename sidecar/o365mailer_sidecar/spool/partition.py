"""The part of a spool directory that one process owns: `0`, `1`, ….

Pods may share a volume, and a pod that died leaves mail there. So a process takes the first unlocked partition that
holds messages, or else the first unlocked one. When it starts, and from time to time, it moves the messages of other
unlocked partitions to its own. The lock is flock(2)'s: it ends with the process, however the process ends.
"""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from o365mailer_contract import names
from o365mailer_sidecar.errors import SpoolUnusable
from o365mailer_sidecar.spool.disk import IN_MEMORY, Disk, kind, mounted

QUEUE: Final = names.SPOOL_QUEUE
DEAD: Final = "dead"
DAMAGED: Final = "damaged"
LOCK: Final = "lock"

PARTITIONS: Final = 1000
"""The most partitions of one directory; fewer processes share a volume."""

PID_NAMESPACE: Final = "/proc/self/ns/pid"

ENDED: Final = frozenset({"Z", "X"})
"""States of a process that has ended (proc_pid_stat(5))."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the lock file: the process that the `spool` command signals."""

    pid: int
    host: str
    namespace: str
    """Where the pid is valid: pods may share a volume."""
    started: int = 0
    """When the process started, in clock ticks since boot: with the pid it names one process. 0: unknown."""


def started(pid: int) -> int:
    """When the process with this pid started, in clock ticks since boot; 0 when there is none, or it has ended.

    Any user may read it, also of a process whose program that user cannot read, unlike its descriptors and links
    (proc_pid_stat(5), field 22; the name in field 2 may hold spaces and parentheses).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in ENDED else int(fields[19])


def namespace() -> str:
    """The pid namespace of this process; empty where there are none."""
    try:
        return str(Path(PID_NAMESPACE).readlink())
    except OSError:
        return ""


class Partition:
    """A partition that this process has locked."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path, self.lock = path, lock

    @property
    def ends_with_the_container(self) -> bool:
        """Whether it is on a container's own file system, which is deleted with the container."""
        return kind(self.path, mounts=mounted()) == "overlay"

    def directory(self, name: str) -> str:
        """The path of `queue`, `dead` or `damaged`."""
        return str(self.path / name)

    def unlock(self) -> None:
        """Unlock the partition, so that another process can lock it."""
        os.close(self.lock)


def lock_partition(directory: Path, *, disk: Disk) -> Partition:
    """Lock a partition for this process. Raises SpoolUnusable."""
    try:
        _make(directory, disk=disk, ours=False)
        if (found := kind(directory, mounts=mounted())) in IN_MEMORY:
            raise SpoolUnusable(
                f"--spool-dir: '{directory}' is in memory ({found}), and a spool must outlive the machine; "
                "name a directory on a disk, in a pod a volume without medium: Memory"
            )
        with_messages = [path.name for path in partitions(directory) if _holds_messages(path)]
        for number in (*with_messages, *map(str, range(PARTITIONS))):
            if partition := _lock_or_make(directory / number, disk=disk):
                return partition
    except OSError as error:
        raise SpoolUnusable(
            f"--spool-dir: '{directory}' is not a directory that can be written to and locked: {error.strerror}"
        ) from None
    raise SpoolUnusable(f"--spool-dir: every partition in '{directory}' is locked by another process")


def partitions(directory: Path) -> list[Path]:
    """The partitions in a directory, by number."""
    return sorted((entry for entry in directory.iterdir() if entry.name.isdigit()), key=lambda entry: int(entry.name))


def siblings(own: Partition) -> list[Path]:
    """The other partitions in its directory that hold messages. Raises OSError."""
    return [path for path in partitions(own.path.parent) if path != own.path and _holds_messages(path)]


def lock_abandoned(path: Path, *, disk: Disk) -> Partition | None:
    """Lock the partition of a process that is gone; None if another process has it. Raises OSError."""
    return _furnished(partition, disk=disk) if (partition := _lock(path)) else None


def _holds_messages(path: Path) -> bool:
    for name in (QUEUE, DEAD):
        with suppress(OSError), os.scandir(path / name) as entries:
            if next(entries, None) is not None:
                return True
    return False


def _make(directory: Path, *, disk: Disk, ours: bool = True) -> None:
    """Make a directory whose own entry is on disk.

    One that exists is not synced unless it is `ours`: then a process that made it may have died before it synced it.
    """
    try:
        disk.make_directory(str(directory))
    except FileExistsError:
        if not ours:
            return
    disk.sync_directory(str(directory.parent))


def _lock_or_make(path: Path, *, disk: Disk) -> Partition | None:
    """The partition, made if it is not there; None when another process or another user has it."""
    try:
        _make(path, disk=disk)
        partition = _lock(path)
    except PermissionError:
        if not path.exists():
            raise  # the volume itself cannot be written to
        return None  # another user's
    if not partition:
        return None
    pid = os.getpid()
    owner = Owner(pid=pid, host=socket.gethostname(), namespace=namespace(), started=started(pid))
    with suppress(OSError):  # a full disk does not take it, and the relay must still deliver the mail on it
        os.ftruncate(partition.lock, os.pwrite(partition.lock, msgspec.json.encode(owner) + b"\n", 0))
    return _furnished(partition, disk=disk)


def _furnished(partition: Partition, *, disk: Disk) -> Partition:
    """With all of its directories: a backup may have left out those that were empty."""
    try:
        for name in (QUEUE, DEAD, DAMAGED):
            _make(partition.path / name, disk=disk)
    except OSError:
        partition.unlock()
        raise
    return partition


def _lock(path: Path) -> Partition | None:
    """Lock a partition that exists; None when a process has it."""
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return Partition(path, lock)
