"""What a spool holds, counted: messages and octets, those on their way in included, against its limits. No I/O."""

import asyncio
import errno
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar

from o365mailer_sidecar.errors import Damaged, Gone, SpoolFull, StoreFailed
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool.disk import Disk
from o365mailer_sidecar.spool.entry import Changes, Event, QueueEntry, SpoolLimits
from o365mailer_sidecar.spool.files import MessageFiles, telling
from o365mailer_sidecar.spool.partition import Partition, abandoned, locked, neighbours


class QueueIndex:
    """Kept in the event loop's thread."""

    def __init__(self) -> None:
        self.limits = SpoolLimits(octets=2**29, messages=20_000)
        self.messages: dict[str, QueueEntry] = {}
        self.octets = 0
        """Of all their files."""
        self.storing = self.reserved = 0
        """Messages on their way in, and their octets."""

    @property
    def oldest(self) -> datetime | None:
        """When the oldest message was received."""
        return min((stored.received for stored in self.messages.values()), default=None)

    def enter(self, stored: QueueEntry) -> None:
        """One more."""
        self.messages[stored.queue_id] = stored
        self.octets += stored.octets

    def strike(self, queue_id: str) -> None:
        """One less, if it was there."""
        if stored := self.messages.pop(queue_id, None):
            self.octets -= stored.octets

    def correct(self, stored: QueueEntry, fresh: QueueEntry) -> None:
        """Make `stored` what its file says now."""
        if stored.queue_id in self.messages:
            self.octets += fresh.octets - stored.octets
        stored.follow(fresh)

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """For a message of that many octets, while it is stored. Raises SpoolFull."""
        messages, octets = len(self.messages), self.octets
        if messages + self.storing >= self.limits.messages:
            raise SpoolFull(f"the spool holds {messages} messages (delivery.spool.maxMessages)")
        if octets + self.reserved + size > self.limits.octets:
            raise SpoolFull(f"the spool holds {octets} of {self.limits.octets} octets (delivery.spool.maxSize)")
        self.storing += 1
        self.reserved += size
        try:
            yield
        finally:
            self.storing -= 1
            self.reserved -= size


# --- recovery --------------------
# What a spool finds in its directory that it did not put there itself: after a crash, from other processes, by hand.
#
# Blocking, a slice of it a turn of the event loop.


class Report(Protocol):
    """Where events are told (`log.EventLog.event`)."""

    def __call__(self, name: str, *, level: str = "info", **fields: str | int) -> None:
        """One event."""


class Recovery:
    """Enters what it finds into the ledger."""

    def __init__(
        self, partition: Partition, *, files: MessageFiles, index: QueueIndex, busy: set[str], report: Report
    ) -> None:
        self.partition, self.files, self.index, self.busy, self.report = partition, files, index, busy, report
        self.unreadable: set[str] = set()
        """Files that the disk did not give, and that were told of. It may give them later."""

    def begin(self) -> None:
        """See to what a crash has left half done, and to what others have left."""
        if self.partition.ends_with_the_container:
            self.report(
                "spool_in_container", level="warning", reason="it ends with the container: mount a volume there"
            )
        for name in self.files.left_spares():
            with telling(self._say_unreadable, name):
                self.files.settle_spare(name)
        self.take_abandoned()

    def messages(self) -> Iterator[QueueEntry]:
        """All in the queue but those that the ledger has or that a thread is at work on, longest untouched first."""
        for name in self.files.by_age():
            if name not in self.index.messages and name not in self.busy and (stored := self.recover(name)):
                yield stored

    def take_abandoned(self) -> list[str]:
        """Move to our slot what processes have left that shared the directory and are gone; which messages."""
        taken: list[str] = []
        with telling(self._say_unreadable, ""):
            for path in neighbours(self.partition):
                with telling(self._say_unreadable, path.name):
                    self._take_over(path, taken)
        return taken

    def _take_over(self, path: Path, taken: list[str]) -> None:
        """What was moved is in `taken`, also when an error ends it: nobody else would look for it."""
        partition = abandoned(path, disk=self.files.disk)
        if not partition:
            return
        try:
            other = MessageFiles(partition, disk=self.files.disk)
            try:
                for name in self.files.take_from(other, failed=self._say_unreadable):
                    taken.append(name)  # noqa: PERF402  # one by one: an error in between takes none of them back
            finally:
                other.close()
        finally:
            partition.unlock()

    def recover(self, name: str) -> QueueEntry | None:
        """Enter one message; None when there is nothing to be sent."""
        try:
            stored = self.files.peek(name)
            if not stored.recipients:  # everybody was settled, and then the process died
                self.files.settle(stored)
                return None
        except FileNotFoundError:
            self.unreadable.discard(name)
            return None
        except Damaged as damage:
            self.set_aside(name, damage)
            return None
        except OSError as error:
            self.cannot_read(name, error)
            return None
        self.unreadable.discard(name)
        self.index.enter(stored)
        return stored

    def reread(self) -> Changes:
        """See what a person has done to the files since."""
        changes = Changes([], [], [])
        sizes = self.files.sizes()
        for name in self.index.messages.keys() - sizes.keys() - self.busy:
            changes.gone.append(self.index.messages[name])
            self.index.strike(name)
        for name, octets in sizes.items():
            known = self.index.messages.get(name)
            if name in self.busy or (known and known.octets == octets):
                continue
            if not known:
                if stored := self.recover(name):
                    changes.appeared.append(stored)
            elif self._look_again(known):
                changes.changed.append(known)
        return changes

    def _look_again(self, stored: QueueEntry) -> bool:
        try:
            self.index.correct(stored, self.files.peek(stored.queue_id))
        except (Damaged, OSError):
            return False  # `open` meets it again, and sets it aside
        return True

    def set_aside(self, queue_id: str, damage: Damaged) -> None:
        """Out of the way, and told."""
        self.index.strike(queue_id)
        with suppress(OSError):  # it stays where it is then, and is not sent from there either
            self.files.set_aside(queue_id)
        self.report("spool_damaged", level="error", queue_id=queue_id, reason=str(damage))

    def cannot_read(self, name: str, error: OSError) -> None:
        """Told once, not at every try."""
        if name not in self.unreadable:
            self.unreadable.add(name)
            self._say_unreadable(name, error)

    def _say_unreadable(self, name: str, error: OSError) -> None:
        self.report("spool_unreadable", level="error", file=name, reason=error.strerror or type(error).__name__)


# --- spool --------------------
# The spool: what a 250 without Exchange's own stands on. A message is durable when `store` returns.
#
# What touches the disk (`files`) runs in a few threads; what counts runs in the event loop.


THREADS: Final = 10
"""Stores that wait for the disk at once: its journal writes them together."""

FULL: Final = {
    errno.ENOSPC: "no room, or no inode, is left on the spool's file system",
    errno.EDQUOT: "the quota of the spool's file system is used up",
}

T = TypeVar("T")


class Spool:
    """The messages of one slot. Its methods are called in the event loop's thread."""

    def __init__(self, partition: Partition, *, disk: Disk, now: Callable[[], datetime], report: Report) -> None:
        self.partition, self.disk, self.now, self.report = partition, disk, now, report
        self.files = MessageFiles(partition, disk=disk)
        self.index = QueueIndex()
        self.busy: set[str] = set()
        """Queue ids that a thread is at work on: what the directory says of them is about to change."""
        self.served: dict[str, set[str]] = {}
        """Queue id → recipients that Exchange has taken a message for that is still here. A file can be edited by hand
        while the message is out, and must not have them served twice."""
        self.recovery = Recovery(partition, files=self.files, index=self.index, busy=self.busy, report=report)
        self.trouble = ""
        """With the disk, as it was told last; empty since a message was kept."""
        self.threads: Executor = ThreadPoolExecutor(THREADS, thread_name_prefix="spool")

    @classmethod
    def opened(
        cls, directory: Path, *, now: Callable[[], datetime], report: Report, disk: Disk | None = None
    ) -> "Spool":
        """Lock a slot of `directory`, and see to what a crash left half done. Raises SpoolUnusable."""
        disk = disk or Disk()
        spool = cls(locked(directory, disk=disk), disk=disk, now=now, report=report)
        spool.recovery.begin()
        return spool

    def close(self) -> None:
        """End the threads, and let another process have the slot."""
        self.threads.shutdown()
        self.files.close()
        self.partition.unlock()

    # --- What there is -----------------------------------------------------------------------------------------------

    @property
    def limits(self) -> SpoolLimits:
        """What it may hold; more is refused, nothing is thrown away."""
        return self.index.limits

    @limits.setter
    def limits(self, limits: SpoolLimits) -> None:
        self.index.limits = limits

    @property
    def messages(self) -> Mapping[str, QueueEntry]:
        """By queue id."""
        return self.index.messages

    @property
    def depth(self) -> int:
        """Messages."""
        return len(self.index.messages)

    @property
    def octets(self) -> int:
        """Of their files."""
        return self.index.octets

    @property
    def oldest(self) -> datetime | None:
        """When the oldest of them was received."""
        return self.index.oldest

    @property
    def dead(self) -> int:
        """Dead letters; asks the disk."""
        return self.files.count(self.files.dead)

    @property
    def damaged(self) -> int:
        """Files that were set aside; asks the disk."""
        return self.files.count(self.files.damaged)

    def recovered(self) -> Iterator[QueueEntry]:
        """What an earlier process left, longest untouched first, without what `store` has taken meanwhile.

        Blocking, some 60 µs a message.
        """
        return self.recovery.messages()

    async def take_over(self) -> list[QueueEntry]:
        """What others have left in this directory that are gone, in our slot now; and what can be read again.

        Cheap where there is none.
        """
        names = [*await self._in_thread(self.recovery.take_abandoned), *self.recovery.unreadable]
        found = (self.recovery.recover(name) for name in names if name not in self.messages)
        return [stored for stored in found if stored]

    # --- A message's life --------------------------------------------------------------------------------------------

    async def store(self, message: Message) -> QueueEntry:
        """Durable when it returns. Raises StoreFailed, SpoolFull: then nothing was kept.

        When it is cancelled nobody relies on the message, and it is removed again.
        """
        job = asyncio.ensure_future(self._store(message))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            job.add_done_callback(self._unwanted)
            raise

    async def _store(self, message: Message) -> QueueEntry:
        queue_id, size = message.queue_id, len(message.body)
        with self.index.room(size):
            self.busy.add(queue_id)
            try:
                octets = await self._in_thread(lambda: self.files.write(message))
            except OSError as error:
                raise self._failed(error) from None
            except Damaged as damage:  # the file in the scratch directory that it was read from
                raise StoreFailed(f"it cannot be read back: {damage}") from None
            finally:
                self.busy.discard(queue_id)
        self.trouble = ""
        stored = QueueEntry(queue_id, message.received, size, octets, len(message.envelope.recipients))
        self.index.enter(stored)
        return stored

    def _unwanted(self, job: "asyncio.Future[QueueEntry]") -> None:
        if not job.cancelled() and not job.exception():
            self.index.strike(job.result().queue_id)
            with suppress(OSError):
                self.files.remove(job.result().queue_id)

    async def open(self, stored: QueueEntry) -> Message:
        """The message, for the recipients who are due; close its body. Raises Damaged, Gone, StoreFailed.

        The file is read anew: what was done to it by hand counts, whether the process was told or not.
        """
        found, body = await self._at_work(stored, lambda: self.files.read(stored.queue_id), reading=True)
        self.recovery.unreadable.discard(stored.queue_id)
        self.index.correct(stored, found.stored())
        if stored.held:
            body.close()
            raise Gone("it is on hold")
        settled = found.standing.settled | self.served.get(stored.queue_id, set())
        return Message(found.header.envelope(settled=settled), body, found.header.received)

    async def record(self, stored: QueueEntry, event: Event, *, durable: bool) -> None:
        """Append what happened; on disk when it returns if `durable`. Raises Gone, Damaged, StoreFailed.

        When it fails the message is as safe as before, but a crash may forget the event.
        """
        self.remember(stored, event.accepted)
        found = await self._at_work(stored, lambda: self.files.append(stored.queue_id, event, durable=durable))
        self.index.correct(stored, found.stored())

    def remember(self, stored: QueueEntry, accepted: Collection[str]) -> None:
        """Exchange has taken it for these: whatever becomes of the file, this process sends it to others only."""
        if accepted:
            self.served.setdefault(stored.queue_id, set()).update(accepted)

    async def remove(self, stored: QueueEntry) -> None:
        """Nobody is due any more. Where somebody was refused it becomes a dead letter; else nothing is left of it."""
        await self._at_work(stored, lambda: self.files.settle(stored))
        self.index.strike(stored.queue_id)
        self.served.pop(stored.queue_id, None)

    async def bury(self, stored: QueueEntry, event: Event | None = None) -> None:
        """Append `event`, and make it a dead letter; on disk when it returns. Raises Gone, Damaged, StoreFailed."""

        def work() -> None:
            if event:
                self.files.append(stored.queue_id, event, durable=True)
            self.files.bury(stored.queue_id)

        await self._at_work(stored, work)
        self.index.strike(stored.queue_id)
        self.served.pop(stored.queue_id, None)

    def set_aside(self, stored: QueueEntry, damage: Damaged) -> None:
        """It is not what was stored: out of the way, for a person to look at. Blocking."""
        self.recovery.set_aside(stored.queue_id, damage)

    # --- By hand, and by time ----------------------------------------------------------------------------------------

    def reread(self) -> Changes:
        """See what a person has done to the files since. Blocking, some 5 µs a message and 60 µs a change."""
        return self.recovery.reread()

    def expire_dead(self, *, keep: float) -> int:
        """Delete dead letters that nothing has happened to for so many seconds; how many there were."""
        return self.files.expire(before=self.now().timestamp() - keep)

    # --- Threads -----------------------------------------------------------------------------------------------------

    async def _at_work(self, stored: QueueEntry, work: Callable[[], T], *, reading: bool = False) -> T:
        """`work` on the message's file. Raises Gone when there is none any more, Damaged, StoreFailed."""
        self.busy.add(stored.queue_id)
        try:
            return await self._in_thread(work)
        except FileNotFoundError:
            self.index.strike(stored.queue_id)
            self.served.pop(stored.queue_id, None)
            raise Gone("it was removed") from None
        except Damaged as damage:
            self.recovery.set_aside(stored.queue_id, damage)
            raise
        except OSError as error:
            if reading:  # about this file, not about room for others
                self.recovery.cannot_read(stored.queue_id, error)
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
