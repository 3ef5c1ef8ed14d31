"""Empty files whose directory entries are on disk already: a message then costs one fsync, its own.

An entry is durable only after an fsync of its directory, which costs as much as that of the file. So entries are made
before they are needed, 32 with one fsync, under names that are no queue id. A message is written into one, synced, and
then renamed: whether a crash comes before or after the rename, the next start finds it whole under one of both names.
Concurrent stores share an fsync of the directory in the same way.

Rejected: an fsync of the directory for each message (a quarter of the messages a second with one client, measured on
ext4), and syncfs, which writes everybody else's data too.
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
"""What stands under such a name is a message only if it is whole."""

BATCH: Final = 32
"""Entries made at once."""


class PreallocatedFile(NamedTuple):
    """An empty file that will be found after a crash."""

    path: str
    file: int


class PreallocatedFiles:
    """Hands them out, to any thread."""

    def __init__(self, *, disk: Disk, directory: str) -> None:
        self.disk, self.directory, self.descriptor = disk, directory, disk.open_directory(directory)
        self.ready: deque[PreallocatedFile] = deque()
        self.turn = threading.Lock()
        # A name is never used twice, not even after a restart: a crash may bring back an entry that was removed.
        self.series, self.made = os.urandom(6).hex(), 0

    def take(self) -> PreallocatedFile:
        """One of them; makes more when there is none. Raises OSError."""
        while True:
            try:
                return self.ready.popleft()
            except IndexError:
                pass
            with self.turn:
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
            # After a failure it is synced again for others: what is promised then are entries made since.
            self.disk.sync(self.descriptor)
        except OSError:
            for spare in fresh:
                self.discard(spare)
            raise
        self.ready.extend(fresh)

    def discard(self, spare: PreallocatedFile) -> None:
        """Remove it, whatever it holds. A disk that cannot even do that has said so before."""
        with suppress(OSError):
            self.disk.close(spare.file)
        with suppress(OSError):
            self.disk.remove(spare.path)

    def close(self) -> None:
        """Leave none behind."""
        while self.ready:
            self.discard(self.ready.popleft())
        self.disk.close(self.descriptor)


# --- shelf --------------------
# The message files of one slot: written, read, appended to, moved. Blocking; called from any thread.
#
# A file is in one directory at a time: `queue` while somebody is due, `dead` when somebody was refused for good,
# `damaged` when it is not what was stored.


Failed = Callable[[str, OSError], None]
"""Told of a file that cannot be dealt with, and why."""


@contextmanager
def telling(failed: Failed, name: str) -> Iterator[None]:
    """The block is about this file, and its failure is nobody else's; what has gone meanwhile is none."""
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as error:
        failed(name, error)


class MessageFiles:
    """Where they stand. Everything raises OSError, and Damaged where a message is read."""

    def __init__(self, partition: Partition, *, disk: Disk) -> None:
        self.disk = disk
        self.queue, self.dead, self.damaged = (partition.directory(name) for name in (QUEUE, DEAD, DAMAGED))
        self.dead_descriptor = disk.open_directory(self.dead)
        self.preallocated = PreallocatedFiles(disk=disk, directory=self.queue)
        self.doubted: set[str] = set()
        """Queue ids whose file could not be synced once: a second fsync of it would prove nothing."""

    def close(self) -> None:
        """Let go of the directories."""
        self.preallocated.close()
        self.disk.close(self.dead_descriptor)

    def write(self, message: Message) -> int:
        """A new message, durable when it returns; how many bytes its file has. After an error nothing is left.

        Raises OSError, and Damaged or StoreFailed when the body's own file does not give back what it was given.
        """
        line, body = entry.header_line(message), message.body
        spare = self.preallocated.take()
        try:
            if body.file is None:
                self.disk.write(spare.file, [line, body.content])
            else:
                self.disk.write(spare.file, [line])
                entry.check(line, entry.read_header(line), self._written(spare.file, body))
            self.disk.sync(spare.file)
            self.disk.rename(spare.path, f"{self.queue}/{message.queue_id}")
        except BaseException:
            self.preallocated.discard(spare)  # never synced again: the kernel may call written what it has lost
            raise
        self.disk.close(spare.file)
        return len(line) + len(body)

    def _written(self, file: int, body: Body) -> Iterator[bytes]:
        """Each block once it is written: the body's own file is read a second time, and must be the same."""
        for block in body.blocks():
            self.disk.write(file, [block])
            yield block

    def read(self, queue_id: str) -> tuple[Entry, Body]:
        """The message, and what stands beside it; its checksum is right."""
        file = open(f"{self.queue}/{queue_id}", "rb", buffering=0, opener=opener)  # noqa: SIM115  # the body's own
        try:
            found = _named(entry.read(file.fileno()), queue_id)
            return found, found.body(file)
        except BaseException:
            file.close()
            raise

    def peek(self, queue_id: str) -> QueueEntry:
        """What is kept of it in memory; its checksum is not looked at."""
        with open(f"{self.queue}/{queue_id}", "rb", buffering=0, opener=opener) as file:
            return _named(entry.read(file.fileno()), queue_id).stored()

    def append(self, queue_id: str, event: Event, *, durable: bool) -> Entry:
        """What happened to it, and how it stands then."""
        if queue_id in self.doubted:
            self._copy(queue_id)
        file = self.disk.reopen(f"{self.queue}/{queue_id}")
        try:
            append(self.disk, file, event)
            if durable:
                self._sync(file, queue_id)
            return entry.read(file)
        finally:
            self.disk.close(file)

    def _sync(self, file: int, queue_id: str) -> None:
        try:
            self.disk.sync(file)
        except OSError:
            self.doubted.add(queue_id)
            raise

    def _copy(self, queue_id: str) -> None:
        """Everything that can still be read of it, in a new file."""
        path, spare = f"{self.queue}/{queue_id}", self.preallocated.take()
        try:
            with open(path, "rb", buffering=0, opener=opener) as file:
                while block := file.read(BLOCK):
                    self.disk.write(spare.file, [block])
            self.disk.sync(spare.file)
            self.disk.rename(spare.path, path)
        except BaseException:
            self.preallocated.discard(spare)
            raise
        self.disk.close(spare.file)
        self.doubted.discard(queue_id)

    def remove(self, queue_id: str) -> None:
        """Not synced: a crash may bring it back, and then it is sent twice rather than not at all."""
        self.disk.remove(f"{self.queue}/{queue_id}")

    def bury(self, queue_id: str) -> None:
        """A dead letter from here on; durable when it returns."""
        self.disk.rename(f"{self.queue}/{queue_id}", f"{self.dead}/{queue_id}")
        self.disk.sync(self.dead_descriptor)

    def settle(self, stored: QueueEntry) -> None:
        """Nobody is due any more: a dead letter where somebody was refused, else nothing is left."""
        if stored.refused:
            self.bury(stored.queue_id)
        else:
            self.remove(stored.queue_id)

    def set_aside(self, queue_id: str) -> None:
        """Out of the way, for a person to look at; over no other file that was set aside before."""
        target, number = Path(self.damaged, queue_id), 0
        while os.path.lexists(target):
            number += 1
            target = Path(self.damaged, f"{queue_id}.{number}")
        self.disk.rename(f"{self.queue}/{queue_id}", str(target))

    def left_spares(self) -> list[str]:
        """Spares that a crash has left."""
        return [name for name in _names(self.queue) if name.startswith(PREFIX)]

    def settle_spare(self, name: str) -> None:
        """A whole message may have been acknowledged before it was renamed; any other was not."""
        path = f"{self.queue}/{name}"
        try:
            with open(path, "rb", buffering=0, opener=opener) as file:
                found = entry.read(file.fileno())
                entry.check(found.line, found.header, found.blocks(file.fileno()))
        except Damaged:
            self.disk.remove(path)
            return
        target = Path(self.queue, found.header.queue_id)
        if target.exists() and target.stat().st_size > found.octets:
            self.disk.remove(path)  # a copy that was not finished, of a file that is there
        else:
            self.disk.rename(path, str(target))

    def take_from(self, other: "MessageFiles", *, failed: Failed) -> Iterator[str]:
        """Move everything here from the shelf of a slot that was abandoned; each that has come into the queue.

        What cannot be moved stays there, and `failed` is told: the rest must not wait for it.
        """
        for name in other.left_spares():
            with telling(failed, name):
                other.settle_spare(name)
        for source, target in ((other.queue, self.queue), (other.dead, self.dead)):
            for name in other.by_age() if source is other.queue else _names(source):
                with telling(failed, name):
                    if not Path(target, name).exists():  # a copy made by hand, or the leftover of a crash
                        self.disk.rename(f"{source}/{name}", f"{target}/{name}")
                    if target is self.queue:
                        yield name
        self.disk.sync(self.preallocated.descriptor)
        self.disk.sync(self.dead_descriptor)

    def by_age(self) -> Iterator[str]:
        """The queue ids, longest untouched first."""
        return (name for _, name in sorted((touched, name) for name, touched, _ in self._waiting()))

    def sizes(self) -> dict[str, int]:
        """Queue id → octets of its file, as it is now."""
        return {name: octets for name, _, octets in self._waiting()}

    def _waiting(self) -> Iterator[tuple[str, int, int]]:
        """Name, when it was touched in nanoseconds, size. Without what leaves at this moment: threads are at work.

        An entry of which the disk does not even give that is named all the same: it is told when it is read, and keeps
        no other from being found.
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

    def expire(self, *, before: float) -> int:
        """Delete dead letters that nothing has happened to since then, in seconds of 1970; how many there were."""
        expired = 0
        for name in _names(self.dead):
            path = Path(self.dead, name)
            with suppress(OSError):  # one that cannot be deleted stays, and stops nothing
                if path.stat().st_mtime < before:
                    self.disk.remove(str(path))
                    expired += 1
        return expired

    def count(self, directory: str) -> int:
        """Files in it."""
        return len(_names(directory))


def append(disk: Disk, file: int, event: Event) -> None:
    """One line after the message, in one write: a person's command may append at the same moment.

    A line that a crash tore is ended first, so that it spoils no other. An event that stands there already, from a try
    that failed after it was written, is not written again: each attempt counts once.
    """
    line, size = entry.event_line(event), os.fstat(file).st_size
    tail = os.pread(file, len(line), max(size - len(line), 0))
    if tail != line:
        torn = size > 0 and not tail.endswith(b"\n")
        disk.write(file, [b"\n" * torn + line])


def _named(found: Entry, name: str) -> Entry:
    if found.header.queue_id != name:
        raise Damaged("its name is not its queue id")
    return found


def _names(directory: str) -> list[str]:
    """What is in it; nothing when a person has removed it, until the next start makes it again."""
    try:
        with os.scandir(directory) as entries:
            return sorted(each.name for each in entries)
    except FileNotFoundError:
        return []


def opener(path: str, flags: int) -> int:
    """For `open`: what a hand has put into a spool may be a link, or a pipe that nothing is written to."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
