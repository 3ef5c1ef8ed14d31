"""The part of a spool directory that one process owns: `0`, `1`, ….

Pods may share a volume, and a pod that died leaves mail behind. So a process takes the first slot that nobody has
locked and that holds messages, else the first that nobody has locked, and moves to its own what it finds in `abandoned`
ones, when it starts and from time to time.
The lock is flock(2)'s: it ends with the process, however that ends.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
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

SLOTS: Final = 1000
"""More processes than will ever share a volume."""

PID_NAMESPACE: Final = "/proc/self/ns/pid"

ENDED: Final = frozenset({"Z", "X"})
"""States of a process that does nothing any more (proc_pid_stat(5))."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """What the lock file says: whom a person's command may signal."""

    pid: int
    host: str
    namespace: str
    """Where the pid means something: a volume may be shared by pods."""
    started: int = 0
    """When it started, in clock ticks since boot: with the pid it names one process. 0: not known."""


def owner() -> Owner:
    """This process."""
    pid = os.getpid()
    return Owner(pid=pid, host=socket.gethostname(), namespace=namespace(), started=started(pid))


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
    """A locked slot."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path, self.lock = path, lock

    @property
    def ends_with_the_container(self) -> bool:
        """Whether it lies on a container's own file system, which no restart of it survives."""
        return kind(self.path, mounts=mounted()) == "overlay"

    def directory(self, name: str) -> str:
        """`queue`, `dead` or `damaged`."""
        return str(self.path / name)

    def unlock(self) -> None:
        """Somebody else may have it."""
        os.close(self.lock)


def locked(directory: Path, *, disk: Disk) -> Partition:
    """A slot for this process. Raises SpoolUnusable."""
    try:
        _made(directory, disk=disk, ours=False)
        if (found := kind(directory, mounts=mounted())) in IN_MEMORY:
            raise SpoolUnusable(
                f"--spool-dir: '{directory}' is in memory ({found}), and a spool must outlive the machine; "
                "name a directory on a disk, in a pod a volume without medium: Memory"
            )
        for number in _candidates(directory):
            if partition := _taken(directory / number, disk=disk):
                return partition
    except OSError as error:
        raise SpoolUnusable(
            f"--spool-dir: '{directory}' is not a directory that can be written to and locked: {error.strerror}"
        ) from None
    raise SpoolUnusable(f"--spool-dir: every partition in '{directory}' is locked by another process")


def slots(directory: Path) -> list[Path]:
    """Those that exist, by number."""
    return sorted((entry for entry in directory.iterdir() if entry.name.isdigit()), key=lambda entry: int(entry.name))


def neighbours(own: Partition) -> list[Path]:
    """The other slots of its directory that hold something. Raises OSError."""
    return [path for path in slots(own.path.parent) if path != own.path and _holds_messages(path)]


def abandoned(path: Path, *, disk: Disk) -> Partition | None:
    """A slot that nobody has locked, locked now. Raises OSError."""
    return _furnished(partition, disk=disk) if (partition := _lock(path)) else None


def _candidates(directory: Path) -> Iterator[str]:
    """First those with messages."""
    yield from (partition.name for partition in slots(directory) if _holds_messages(partition))
    yield from map(str, range(SLOTS))


def _holds_messages(partition: Path) -> bool:
    for name in (QUEUE, DEAD):
        with suppress(OSError), os.scandir(partition / name) as entries:
            if next(entries, None) is not None:
                return True
    return False


def _made(directory: Path, *, disk: Disk, ours: bool = True) -> None:
    """A directory whose own entry is on disk; in a directory that is not `ours` only if it is new."""
    try:
        disk.make_directory(str(directory))
    except FileExistsError:
        if not ours:
            return
    parent = disk.open_directory(str(directory.parent))
    try:
        disk.sync(parent)
    finally:
        disk.close(parent)


def _taken(path: Path, *, disk: Disk) -> Partition | None:
    """The slot, or None when it is another's."""
    try:
        _made(path, disk=disk)
        partition = _lock(path)
    except PermissionError:
        if not path.exists():
            raise  # the volume itself cannot be written to
        return None  # a slot of another user
    if not partition:
        return None
    with suppress(OSError):  # a full disk takes no word about us, and its mail must leave to make room
        os.ftruncate(partition.lock, os.pwrite(partition.lock, msgspec.json.encode(owner()) + b"\n", 0))
    return _furnished(partition, disk=disk)


def _furnished(partition: Partition, *, disk: Disk) -> Partition:
    """With all of its directories: a backup may have left out those that were empty."""
    try:
        for name in (QUEUE, DEAD, DAMAGED):
            _made(partition.path / name, disk=disk)
    except OSError:
        partition.unlock()
        raise
    return partition


def _lock(path: Path) -> Partition | None:
    """A slot that exists; None when somebody has it."""
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return Partition(path, lock)
