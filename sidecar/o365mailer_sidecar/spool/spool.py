"""The spool: durable storage for messages that the app got a 250 for and Office 365 has not taken yet.

Calls to the disk run in a few threads. Everything else, the index of messages too, stays in the event loop's thread.
"""

import asyncio
import errno
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from o365mailer_sidecar.errors import Damaged, Gone, SpoolFull, StoreFailed
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool.disk import Disk
from o365mailer_sidecar.spool.entry import Event, QueueEntry
from o365mailer_sidecar.spool.files import MessageFiles, reported
from o365mailer_sidecar.spool.partition import Partition, lock_abandoned, lock_partition, siblings

THREADS: Final = 10
"""Stores that wait for the disk at once: its journal writes them together."""

FULL: Final = {
    errno.ENOSPC: "no room, or no inode, is left on the spool's file system",
    errno.EDQUOT: "the quota of the spool's file system is used up",
}

T = TypeVar("T")


class Changes(NamedTuple):
    """What a person has changed."""

    appeared: list[QueueEntry]
    changed: list[QueueEntry]
    """The same objects as before."""
    gone: list[QueueEntry]


class Spool:
    """The messages of one partition. Call its methods in the event loop's thread."""

    def __init__(
        self, directory: Path, *, now: Callable[[], datetime], report: Callable[..., None], disk: Disk | None = None
    ) -> None:
        """Lock a partition of `directory` and finish what a crash has left half done. Raises SpoolUnusable.

        `report` gets events as `EventLog.event` does.
        """
        self.disk, self.now, self.report = disk or Disk(), now, report
        self.partition = lock_partition(directory, disk=self.disk)
        self.files = MessageFiles(self.partition, disk=self.disk)
        self.max_size, self.max_messages = 2**29, 20_000
        """Limits: bytes of all files, and messages. More is refused; nothing is thrown away."""
        self.messages: dict[str, QueueEntry] = {}
        """By queue id."""
        self.size = 0
        """Bytes of their files."""
        self.storing = self.storing_size = 0
        """Messages that are being stored, and their bytes."""
        self.busy: set[str] = set()
        """Queue ids that a thread works on: what the directory says of them is about to change."""
        self.served: dict[str, set[str]] = {}
        """Queue id → recipients for whom Exchange has taken a message that is still here. A person may edit the file
        while the message is sent, and the relay must not send it to them twice."""
        self.unreadable: set[str] = set()
        """Names that the disk did not give, and that were reported. It may give them later."""
        self.trouble = ""
        """With the disk, as it was reported last; empty since a message was stored."""
        self.threads: Executor = ThreadPoolExecutor(THREADS, thread_name_prefix="spool")
        if self.partition.ends_with_the_container:
            report("spool_in_container", level="warning", reason="it ends with the container: mount a volume there")
        self.files.recover_preallocated(self._report_unreadable)
        self._take_abandoned()

    def close(self) -> None:
        """End the threads, and let another process have the partition."""
        self.threads.shutdown()
        self.files.close()
        self.partition.unlock()

    # --- What it holds -----------------------------------------------------------------------------------------------

    @property
    def oldest(self) -> datetime | None:
        """When the oldest message was received."""
        return min((stored.received for stored in self.messages.values()), default=None)

    @property
    def dead(self) -> int:
        """Number of dead letters; asks the disk."""
        return self.files.count(self.files.dead)

    @property
    def damaged(self) -> int:
        """Number of files that were set aside; asks the disk."""
        return self.files.count(self.files.damaged)

    def _enter(self, stored: QueueEntry) -> None:
        self.messages[stored.queue_id] = stored
        self.size += stored.file_size

    def _strike(self, queue_id: str) -> None:
        if stored := self.messages.pop(queue_id, None):
            self.size -= stored.file_size

    def _forget(self, queue_id: str) -> None:
        """Its file is gone, and not to be repaired or put back."""
        self._strike(queue_id)
        self.served.pop(queue_id, None)

    def _update(self, stored: QueueEntry, fresh: QueueEntry) -> None:
        if stored.queue_id in self.messages:
            self.size += fresh.file_size - stored.file_size
        stored.update(fresh)

    # --- A message's life --------------------------------------------------------------------------------------------

    async def store(self, message: Message) -> QueueEntry:
        """Durable when it returns. Raises StoreFailed, SpoolFull: then nothing was kept.

        When it is cancelled, the message is removed again: the app has no 250 for it.
        """
        job = asyncio.ensure_future(self._store(message))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            job.add_done_callback(self._discard)
            raise

    async def _store(self, message: Message) -> QueueEntry:
        queue_id, size = message.queue_id, len(message.body)
        if len(self.messages) + self.storing >= self.max_messages:
            raise SpoolFull(f"the spool holds {len(self.messages)} messages (delivery.spool.maxMessages)")
        if self.size + self.storing_size + size > self.max_size:
            raise SpoolFull(f"the spool holds {self.size} of {self.max_size} bytes (delivery.spool.maxSize)")
        self.storing += 1
        self.storing_size += size
        self.busy.add(queue_id)
        try:
            file_size = await self._in_thread(lambda: self.files.write(message))
        except OSError as error:
            raise self._failed(error) from None
        except Damaged as damage:  # the file in the scratch directory that it was read from
            raise StoreFailed(f"it cannot be read back: {damage}") from None
        finally:
            self.busy.discard(queue_id)
            self.storing -= 1
            self.storing_size -= size
        self.trouble = ""
        stored = QueueEntry(queue_id, message.received, size, file_size, len(message.envelope.recipients))
        self._enter(stored)
        return stored

    def _discard(self, job: "asyncio.Future[QueueEntry]") -> None:
        if not job.cancelled() and not job.exception():
            self._strike(job.result().queue_id)
            with suppress(OSError):
                self.files.remove(job.result().queue_id)

    async def open(self, stored: QueueEntry) -> Message:
        """The message, for the recipients who are due; close its body. Raises Damaged, Gone, StoreFailed.

        It reads the file anew: what a person has changed counts, whether the process was notified or not.
        """
        found, body = await self._work(stored, lambda: self.files.read(stored.queue_id), reading=True)
        self.unreadable.discard(stored.queue_id)
        self._update(stored, found.queued())
        if stored.held:
            body.close()
            raise Gone("it is on hold")
        settled = found.settled | self.served.get(stored.queue_id, set())
        return Message(found.header.envelope(settled=settled), body, found.header.received)

    async def record(self, stored: QueueEntry, event: Event, *, durable: bool) -> None:
        """Append what happened; on disk when it returns if `durable`. Raises Gone, Damaged, StoreFailed.

        When it fails the message is as safe as before, but a crash may forget the event.
        """
        self.remember(stored, event.accepted)
        found = await self._work(stored, lambda: self.files.append(stored.queue_id, event, durable=durable))
        self._update(stored, found.queued())

    def remember(self, stored: QueueEntry, accepted: Collection[str]) -> None:
        """Exchange has taken it for these recipients: this process sends it to them no more, whatever the file says."""
        if accepted:
            self.served.setdefault(stored.queue_id, set()).update(accepted)

    async def remove(self, stored: QueueEntry) -> None:
        """No recipient is due: it becomes a dead letter if one was refused, else it is deleted.

        Raises Gone, Damaged, StoreFailed.
        """
        await self._work(stored, lambda: self.files.finish(stored))
        self._forget(stored.queue_id)

    async def move_to_dead(self, stored: QueueEntry, event: Event | None = None) -> None:
        """Append `event` and make it a dead letter; durable when it returns. Raises Gone, Damaged, StoreFailed."""

        def work() -> None:
            if event:
                self.files.append(stored.queue_id, event, durable=True)
            self.files.move_to_dead(stored.queue_id)

        await self._work(stored, work)
        self._forget(stored.queue_id)

    def set_aside(self, queue_id: str, damage: Damaged) -> None:
        """Move a file that is not what was stored to `damaged`, and report it. Blocking."""
        self._strike(queue_id)
        with suppress(OSError):  # then it stays where it is, and is not sent from there either
            self.files.set_aside(queue_id)
        self.report("spool_damaged", level="error", queue_id=queue_id, reason=str(damage))

    def expire_dead(self, *, keep: float) -> int:
        """Delete the dead letters that have not changed for `keep` seconds; how many were deleted."""
        return self.files.expire_dead(before=self.now().timestamp() - keep)

    # --- Messages that are in the directory already ----------------------------------------------------------

    def recovered(self) -> Iterator[QueueEntry]:
        """Messages of an earlier process, longest untouched first, without those that `store` has taken meanwhile.

        Blocking, some 60 µs a message.
        """
        for name in self.files.by_age():
            if name not in self.messages and name not in self.busy and (stored := self._recover(name)):
                yield stored

    async def take_over(self) -> list[QueueEntry]:
        """Move messages of processes that are gone from their partitions to this one; read again what was unreadable.

        Returns the messages that are new in this partition. It costs little if there are none.
        """
        names = [*await self._in_thread(self._take_abandoned), *self.unreadable]
        found = (self._recover(name) for name in names if name not in self.messages)
        return [stored for stored in found if stored]

    def _take_abandoned(self) -> list[str]:
        """The names of the messages that were moved, also of those before an error: nothing would look for them."""
        taken: list[str] = []
        with reported(self._report_unreadable, ""):
            for path in siblings(self.partition):
                with reported(self._report_unreadable, path.name):
                    if partition := lock_abandoned(path, disk=self.disk):
                        try:
                            self._take_from(partition, taken)
                        finally:
                            partition.unlock()
        return taken

    def _take_from(self, partition: Partition, taken: list[str]) -> None:
        other = MessageFiles(partition, disk=self.disk)
        try:
            for name in self.files.take_from(other, self._report_unreadable):
                taken.append(name)  # noqa: PERF402  # one by one: an error takes none of them back
        finally:
            other.close()

    def _recover(self, name: str) -> QueueEntry | None:
        """Enter one message; None when there is nothing to send."""
        try:
            stored = self.files.peek(name)
            if not stored.recipients:  # the last was settled, and then the process died
                self.files.finish(stored)
                return None
        except FileNotFoundError:
            self.unreadable.discard(name)
            return None
        except Damaged as damage:
            self.set_aside(name, damage)
            return None
        except OSError as error:
            self._cannot_read(name, error)
            return None
        self.unreadable.discard(name)
        self._enter(stored)
        return stored

    def reread(self) -> Changes:
        """See what a person has changed. Blocking, some 5 µs a message and 60 µs a change."""
        changes = Changes([], [], [])
        sizes = self.files.sizes()
        for name in self.messages.keys() - sizes.keys() - self.busy:
            changes.gone.append(self.messages[name])
            self._strike(name)
        for name, size in sizes.items():
            known = self.messages.get(name)
            if name in self.busy or (known and known.file_size == size):
                continue
            if not known:
                if stored := self._recover(name):
                    changes.appeared.append(stored)
                continue
            with suppress(Damaged, OSError):  # `open` meets it again, and sets it aside
                self._update(known, self.files.peek(name))
                changes.changed.append(known)
        return changes

    # --- Work on the disk, and its errors ----------------------------------------------------------------------------

    async def _work(self, stored: QueueEntry, work: Callable[[], T], *, reading: bool = False) -> T:
        """Do it on the message's file, in a thread. Raises Gone when there is no file, Damaged, StoreFailed."""
        self.busy.add(stored.queue_id)
        try:
            return await self._in_thread(work)
        except FileNotFoundError:
            self._forget(stored.queue_id)
            raise Gone("it was removed") from None
        except Damaged as damage:
            self.set_aside(stored.queue_id, damage)
            raise
        except OSError as error:
            if reading:  # about this file, not about room for others
                self._cannot_read(stored.queue_id, error)
                raise StoreFailed(f"the spool's disk failed: {error.strerror}") from None
            raise self._failed(error) from None
        finally:
            self.busy.discard(stored.queue_id)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    def _failed(self, error: OSError) -> StoreFailed:
        full = FULL.get(error.errno or 0)
        trouble = full or error.strerror or type(error).__name__
        if trouble != self.trouble:  # not once a message
            self.report("spool_failed", level="error", reason=trouble)
        self.trouble = trouble
        return SpoolFull(full) if full else StoreFailed(f"the spool's disk failed: {error.strerror}")

    def _cannot_read(self, name: str, error: OSError) -> None:
        """Report a file once, not at every try."""
        if name not in self.unreadable:
            self.unreadable.add(name)
            self._report_unreadable(name, error)

    def _report_unreadable(self, name: str, error: OSError) -> None:
        self.report("spool_unreadable", level="error", file=name, reason=error.strerror or type(error).__name__)
