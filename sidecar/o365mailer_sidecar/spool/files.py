"""The message files of one partition: written, read, appended to, moved. Blocking; any thread may call.

A file is in one directory at a time: `queue` while a recipient is due, `dead` when a recipient was refused for good,
`damaged` when it is not what was stored.

A new message costs one fsync, its own. A directory entry is durable only after an fsync of its directory, which costs
as much as that of the file. So files are made before they are needed, 32 with one fsync of the directory, under names
that are no queue id. The spool writes a message into such a file, syncs it and renames it: whether a crash comes before
or after the rename, the next start finds the whole message under one of both names. Concurrent stores share an fsync of
the directory in the same way.

Rejected: an fsync of the directory for each message (a quarter of the messages a second with one client, measured on
ext4), and syncfs, which also writes the data of everything else on the file system.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from o365mailer_sidecar.errors import Damaged
from o365mailer_sidecar.message.body import BLOCK, Body
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool import entry
from o365mailer_sidecar.spool.disk import Disk
from o365mailer_sidecar.spool.entry import Entry, Event, QueueEntry
from o365mailer_sidecar.spool.partition import DAMAGED, DEAD, QUEUE, Partition

PREFIX: Final = ".spare."
"""The prefix of preallocated files. The content of one is a message only if it is complete."""

BATCH: Final = 32
"""Files made at once."""

Failed = Callable[[str, OSError], None]
"""Called with the name of a file that failed, and the error."""


class PreallocatedFile(NamedTuple):
    """An empty file whose directory entry survives a crash."""

    path: str
    file: int


class PreallocatedFiles:
    """Makes preallocated files, and gives them to any thread."""

    def __init__(self, *, disk: Disk, directory: str) -> None:
        self.disk, self.directory, self.descriptor = disk, directory, disk.open_directory(directory)
        self.ready: deque[PreallocatedFile] = deque()
        self.lock = threading.Lock()
        # A name is never used twice, not even after a restart: a crash may bring back an entry that was removed.
        self.series, self.made = os.urandom(6).hex(), 0

    def take(self) -> PreallocatedFile:
        """A preallocated file; makes more when there is none. Raises OSError."""
        while True:
            try:
                return self.ready.popleft()
            except IndexError:
                pass
            with self.lock:
                if not self.ready:
                    self._make()

    def _make(self) -> None:
        fresh: list[PreallocatedFile] = []
        try:
            for _ in range(BATCH):
                self.made += 1
                path = f"{self.directory}/{PREFIX}{self.series}.{self.made}"
                fresh.append(PreallocatedFile(path, self.disk.create(path)))
        except OSError:
            if not fresh:
                raise  # a few are as good as many, and the disk may have room for no more
        try:
            # After a failure the directory may be synced again: what counts then are entries made since.
            self.disk.sync(self.descriptor)
        except OSError:
            for each in fresh:
                self.discard(each)
            raise
        self.ready.extend(fresh)

    def discard(self, new: PreallocatedFile) -> None:
        """Remove the file, whatever is in it. An error is ignored: the disk has failed before."""
        with suppress(OSError):
            self.disk.close(new.file)
        with suppress(OSError):
            self.disk.remove(new.path)

    def close(self) -> None:
        """Remove the files that were not used."""
        while self.ready:
            self.discard(self.ready.popleft())
        self.disk.close(self.descriptor)


@contextmanager
def reported(failed: Failed, name: str) -> Iterator[None]:
    """Report an error of this file and go on with the next. A file that is gone meanwhile is no error."""
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as error:
        failed(name, error)


class MessageFiles:
    """Every method raises OSError, and Damaged where it reads a message."""

    def __init__(self, partition: Partition, *, disk: Disk) -> None:
        self.disk = disk
        self.queue, self.dead, self.damaged = (partition.directory(name) for name in (QUEUE, DEAD, DAMAGED))
        self.dead_descriptor = disk.open_directory(self.dead)
        self.preallocated = PreallocatedFiles(disk=disk, directory=self.queue)
        self.unsynced: set[str] = set()
        """Queue ids of files whose fsync failed once: a second fsync of the same file would prove nothing."""

    def close(self) -> None:
        """Remove the preallocated files and close the directories."""
        self.preallocated.close()
        self.disk.close(self.dead_descriptor)

    def write(self, message: Message) -> int:
        """Store a message: durable when it returns the size of its file in bytes. After an error nothing is left.

        Raises OSError, and Damaged or StoreFailed when the body's own file does not give back what it was given.
        """
        line, body = entry.header_line(message), message.body
        new = self.preallocated.take()
        try:
            if body.file is None:
                self.disk.write(new.file, [line, body.content])
            else:
                self.disk.write(new.file, [line])
                entry.check(line, entry.read_header(line), self._written(new.file, body))
            self.disk.sync(new.file)
            self.disk.rename(new.path, f"{self.queue}/{message.queue_id}")
        except BaseException:
            self.preallocated.discard(new)  # never sync it again: the kernel may call written what it has lost
            raise
        self.disk.close(new.file)
        return len(line) + len(body)

    def _written(self, file: int, body: Body) -> Iterator[bytes]:
        """Yields each block after it is written. The body's own file is read a second time, and must be the same."""
        for block in body.blocks():
            self.disk.write(file, [block])
            yield block

    def read(self, queue_id: str) -> tuple[Entry, Body]:
        """A message whose checksum is right."""
        file = open(f"{self.queue}/{queue_id}", "rb", buffering=0, opener=opener)  # noqa: SIM115  # the body's own
        try:
            found = _named(entry.read(file.fileno()), queue_id)
            return found, found.body(file)
        except BaseException:
            file.close()
            raise

    def peek(self, queue_id: str) -> QueueEntry:
        """A message's entry in the queue; its checksum is not checked."""
        with open(f"{self.queue}/{queue_id}", "rb", buffering=0, opener=opener) as file:
            return _named(entry.read(file.fileno()), queue_id).queued()

    def append(self, queue_id: str, event: Event, *, durable: bool) -> Entry:
        """Add an event. Returns what the file says after it."""
        path = f"{self.queue}/{queue_id}"
        if queue_id in self.unsynced:
            self._copy(path)
            self.unsynced.discard(queue_id)
        file = self.disk.reopen(path)
        try:
            append(self.disk, file, event)
            if durable:
                try:
                    self.disk.sync(file)
                except OSError:
                    self.unsynced.add(queue_id)
                    raise
            return entry.read(file)
        finally:
            self.disk.close(file)

    def _copy(self, path: str) -> None:
        """Replace the file by a new one with everything that can still be read of it."""
        new = self.preallocated.take()
        try:
            with open(path, "rb", buffering=0, opener=opener) as file:
                while block := file.read(BLOCK):
                    self.disk.write(new.file, [block])
            self.disk.sync(new.file)
            self.disk.rename(new.path, path)
        except BaseException:
            self.preallocated.discard(new)
            raise
        self.disk.close(new.file)

    def remove(self, queue_id: str) -> None:
        """Remove a message. Not synced: after a crash it may be there again, and then it is sent twice."""
        self.disk.remove(f"{self.queue}/{queue_id}")

    def move_to_dead(self, queue_id: str) -> None:
        """Make a message a dead letter; durable when it returns."""
        self.disk.rename(f"{self.queue}/{queue_id}", f"{self.dead}/{queue_id}")
        self.disk.sync(self.dead_descriptor)

    def finish(self, stored: QueueEntry) -> None:
        """Of a message without due recipients: move it to the dead letters if one was refused, else remove it."""
        if stored.refused:
            self.move_to_dead(stored.queue_id)
        else:
            self.remove(stored.queue_id)

    def set_aside(self, queue_id: str) -> None:
        """Move a file to `damaged`, where a person can look at it. It replaces no other file there."""
        target, number = Path(self.damaged, queue_id), 0
        while os.path.lexists(target):
            number += 1
            target = Path(self.damaged, f"{queue_id}.{number}")
        self.disk.rename(f"{self.queue}/{queue_id}", str(target))

    def recover_preallocated(self, failed: Failed) -> None:
        """Handle preallocated files that a crash has left. Only one with a complete message may have got a 250."""
        for name in _names(self.queue):
            if name.startswith(PREFIX):
                with reported(failed, name):
                    self._rename_if_whole(f"{self.queue}/{name}")

    def _rename_if_whole(self, path: str) -> None:
        try:
            with open(path, "rb", buffering=0, opener=opener) as file:
                found = entry.read(file.fileno())
                entry.check(found.line, found.header, found.blocks(file.fileno()))
        except Damaged:
            self.disk.remove(path)
            return
        target = Path(self.queue, found.header.queue_id)
        if target.exists() and target.stat().st_size > found.file_size:
            self.disk.remove(path)  # an unfinished copy of a file that is there
        else:
            self.disk.rename(path, str(target))

    def take_from(self, other: "MessageFiles", failed: Failed) -> Iterator[str]:
        """Move everything here from the partition of a process that is gone; yields each name that is in the queue now.

        What cannot be moved stays there and is reported to `failed`; the rest is moved.
        """
        other.recover_preallocated(failed)
        for source, target in ((other.queue, self.queue), (other.dead, self.dead)):
            for name in other.by_age() if source is other.queue else _names(source):
                with reported(failed, name):
                    if not Path(target, name).exists():  # a copy made by hand, or the leftover of a crash
                        self.disk.rename(f"{source}/{name}", f"{target}/{name}")
                    if target is self.queue:
                        yield name
        self.disk.sync(self.preallocated.descriptor)
        self.disk.sync(self.dead_descriptor)

    def by_age(self) -> list[str]:
        """The names in the queue, longest untouched first."""
        return [name for _, name in sorted((touched, name) for name, touched, _ in self._waiting())]

    def sizes(self) -> dict[str, int]:
        """Name in the queue → size of the file in bytes."""
        return {name: size for name, _, size in self._waiting()}

    def _waiting(self) -> Iterator[tuple[str, int, int]]:
        """Name, time of the last change in nanoseconds, size; without files that other threads remove meanwhile.

        A file whose status cannot be read is included: reading it reports the error, and no other file is left out.
        """
        with os.scandir(self.queue) as entries:
            for each in entries:
                if each.name.startswith("."):
                    continue
                try:
                    status = each.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError:
                    yield each.name, 0, 0
                else:
                    yield each.name, status.st_mtime_ns, status.st_size

    def expire_dead(self, *, before: float) -> int:
        """Delete the dead letters last changed before that time, in seconds since 1970; how many were deleted."""
        expired = 0
        for name in _names(self.dead):
            path = Path(self.dead, name)
            with suppress(OSError):  # one that cannot be deleted stays, and stops no other
                if path.stat().st_mtime < before:
                    self.disk.remove(str(path))
                    expired += 1
        return expired

    def count(self, directory: str) -> int:
        return len(_names(directory))


def append(disk: Disk, file: int, event: Event) -> None:
    """Add one line in one write: the `spool` command may append at the same moment.

    If a crash tore the last line, it is ended first. An event that is the last line already, from a try that failed
    after it was written, is not written again: each attempt counts once.
    """
    line, size = entry.event_line(event), os.fstat(file).st_size
    tail = os.pread(file, len(line), max(size - len(line), 0))
    if tail != line:
        torn = size > 0 and not tail.endswith(b"\n")
        disk.write(file, [b"\n" * torn + line])


def opener(path: str, flags: int) -> int:
    """For `open`: a person may have put a link into the spool, or a pipe that would block."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _named(found: Entry, name: str) -> Entry:
    if found.header.queue_id != name:
        raise Damaged("its name is not its queue id")
    return found


def _names(directory: str) -> list[str]:
    """The names in it; none if a person has removed it. The next start makes it again."""
    try:
        with os.scandir(directory) as entries:
            return sorted(each.name for each in entries)
    except FileNotFoundError:
        return []
