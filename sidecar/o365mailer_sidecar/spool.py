"""The spool: what a 250 without Exchange's own stands on. A message is durable when `store` returns.

What touches the disk (`shelf`) runs in a few threads; what counts runs in the event loop.
"""

import asyncio
import errno
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol, TypeVar

from o365mailer_sidecar.body import Body
from o365mailer_sidecar.durable import Disk, Filesystem
from o365mailer_sidecar.envelope import Envelope
from o365mailer_sidecar.errors import Damaged, Gone, SpoolFull, StoreFailed
from o365mailer_sidecar.record import Event
from o365mailer_sidecar.shelf import Shelf
from o365mailer_sidecar.slot import Slot, abandoned, locked
from o365mailer_sidecar.stored import Changes, SpoolLimits, Stored

THREADS: Final = 10
"""Stores that wait for the disk at once: its journal writes them together."""

FULL: Final = {
    errno.ENOSPC: "no room, or no inode, is left on the spool's file system",
    errno.EDQUOT: "the quota of the spool's file system is used up",
}

T = TypeVar("T")


class Report(Protocol):
    """Where events are told (`journal.Journal.event`)."""

    def __call__(self, name: str, *, level: str = "info", **fields: str | int) -> None:
        """One event."""


class Spool:
    """The messages of one slot. Its methods are called in the event loop's thread."""

    def __init__(self, slot: Slot, *, disk: Disk, now: Callable[[], datetime], report: Report) -> None:
        self.slot, self.disk, self.now, self.report = slot, disk, now, report
        self.shelf = Shelf(slot, disk=disk)
        self.limits = SpoolLimits(octets=2**29, messages=20_000)
        self.messages: dict[str, Stored] = {}
        self.busy: set[str] = set()
        """Queue ids that a thread is at work on: what the directory says of them is about to change."""
        self.octets = self.storing = self.reserved = self.damaged = 0
        self.threads: Executor = ThreadPoolExecutor(THREADS, thread_name_prefix="spool")

    @classmethod
    def opened(
        cls, directory: Path, *, now: Callable[[], datetime], report: Report, disk: Disk | None = None
    ) -> "Spool":
        """Lock a slot of `directory`, and see to what a crash left half done. Raises SpoolUnusable."""
        disk = disk or Filesystem()
        spool = cls(locked(directory, disk=disk), disk=disk, now=now, report=report)
        for name in spool.shelf.left_spares():
            try:
                spool.shelf.settle_spare(name)
            except OSError as error:
                spool._say_unreadable(name, error)
        spool._take_abandoned()
        return spool

    def close(self) -> None:
        """End the threads, and let another process have the slot."""
        self.threads.shutdown()
        self.shelf.close()
        self.slot.unlock()

    # --- What there is -----------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """Messages."""
        return len(self.messages)

    @property
    def oldest(self) -> datetime | None:
        """When the oldest of them was received."""
        return min((stored.received for stored in self.messages.values()), default=None)

    @property
    def dead(self) -> int:
        """Dead letters; asks the disk."""
        return self.shelf.count(self.shelf.dead)

    def recovered(self) -> Iterator[Stored]:
        """What an earlier process left, longest untouched first, without what `store` has taken meanwhile.

        Blocking, some 60 µs a message.
        """
        for name in self.shelf.by_age():
            if name not in self.messages and name not in self.busy and (stored := self._recover(name)):
                yield stored

    async def adopted(self) -> list[Stored]:
        """What others have left in this directory that are gone, in our slot now. Cheap where there is none."""
        names = await self._in_thread(self._take_abandoned)
        found = (self._recover(name) for name in names if name not in self.messages)
        return [stored for stored in found if stored]

    def _take_abandoned(self) -> list[str]:
        taken: list[str] = []
        try:
            for slot in abandoned(self.slot):
                other = Shelf(slot, disk=self.disk)
                try:
                    taken += self.shelf.take_from(other)
                finally:
                    other.close()
                    slot.unlock()
        except OSError as error:
            self._say_unreadable("", error)
        return taken

    def _recover(self, name: str) -> Stored | None:
        try:
            stored = self.shelf.peek(name)
            if not stored.recipients:  # everybody was settled, and then the process died
                self._settle(stored)
                return None
        except FileNotFoundError:
            return None
        except Damaged as damage:
            self._set_aside(name, damage)
            return None
        except OSError as error:
            self._say_unreadable(name, error)
            return None
        self._count(stored)
        return stored

    def _say_unreadable(self, name: str, error: OSError) -> None:
        self.report("spool_unreadable", level="error", file=name, reason=error.strerror or type(error).__name__)

    def _count(self, stored: Stored) -> None:
        self.messages[stored.queue_id] = stored
        self.octets += stored.octets

    def _forget(self, queue_id: str) -> None:
        if stored := self.messages.pop(queue_id, None):
            self.octets -= stored.octets

    def _take_over(self, stored: Stored, fresh: Stored) -> None:
        """What a file says now."""
        if stored.queue_id in self.messages:
            self.octets += fresh.octets - stored.octets
        stored.follow(fresh)

    def _set_aside(self, queue_id: str, damage: Damaged) -> None:
        self.damaged += 1
        self.report("spool_damaged", level="error", queue_id=queue_id, reason=str(damage))
        self._forget(queue_id)
        with suppress(OSError):  # it stays where it is then, and is not sent from there either
            self.shelf.set_aside(queue_id)

    # --- A message's life --------------------------------------------------------------------------------------------

    async def store(self, envelope: Envelope, body: Body, *, received: datetime) -> Stored:
        """Durable when it returns. Raises StoreFailed, SpoolFull: then nothing was kept.

        When it is cancelled nobody relies on the message, and it is removed again.
        """
        job = asyncio.ensure_future(self._store(envelope, body, received))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            job.add_done_callback(self._unwanted)
            raise

    async def _store(self, envelope: Envelope, body: Body, received: datetime) -> Stored:
        queue_id, size = envelope.queue_id, len(body)
        self._check_room(size)
        self.busy.add(queue_id)
        self.storing += 1
        self.reserved += size
        try:
            octets = await self._in_thread(lambda: self.shelf.write(envelope, body, received=received))
        except OSError as error:
            raise self._failed(error) from None
        finally:
            self.busy.discard(queue_id)
            self.storing -= 1
            self.reserved -= size
        stored = Stored(queue_id, received, size, octets, len(envelope.recipients))
        self._count(stored)
        return stored

    def _check_room(self, size: int) -> None:
        if self.depth + self.storing >= self.limits.messages:
            raise SpoolFull(f"the spool holds {self.depth} messages (delivery.spool.maxMessages)")
        if self.octets + self.reserved + size > self.limits.octets:
            raise SpoolFull(f"the spool holds {self.octets} of {self.limits.octets} octets (delivery.spool.maxSize)")

    def _unwanted(self, job: "asyncio.Future[Stored]") -> None:
        if not job.cancelled() and not job.exception():
            self._forget(job.result().queue_id)
            with suppress(OSError):
                self.shelf.remove(job.result().queue_id)

    async def open(self, stored: Stored) -> tuple[Envelope, Body]:
        """The message, for the recipients who are due; `Body.close` it. Raises Damaged, Gone, StoreFailed.

        The file is read anew: what was done to it by hand counts, whether the process was told or not.
        """
        try:
            found, body = await self._at_work(stored, lambda: self.shelf.read(stored.queue_id))
        except Damaged as damage:
            self._set_aside(stored.queue_id, damage)
            raise
        self._take_over(stored, found.stored())
        if stored.held:
            body.close()
            raise Gone("it is on hold")
        return found.header.envelope(settled=found.standing.settled), body

    async def record(self, stored: Stored, event: Event, *, durable: bool) -> None:
        """Append what happened; on disk when it returns if `durable`. Raises Gone, StoreFailed.

        When it fails the message is as safe as before, but a crash may forget the event.
        """
        found = await self._at_work(stored, lambda: self.shelf.append(stored.queue_id, event, durable=durable))
        self._take_over(stored, found.stored())

    async def remove(self, stored: Stored) -> None:
        """Nobody is due any more. Where somebody was refused it becomes a dead letter; else nothing is left of it."""
        await self._at_work(stored, lambda: self._settle(stored))
        self._forget(stored.queue_id)

    async def bury(self, stored: Stored, event: Event | None = None) -> None:
        """Append `event`, and make it a dead letter; on disk when it returns. Raises Gone, StoreFailed."""

        def work() -> None:
            if event:
                self.shelf.append(stored.queue_id, event, durable=True)
            self.shelf.bury(stored.queue_id)

        await self._at_work(stored, work)
        self._forget(stored.queue_id)

    def _settle(self, stored: Stored) -> None:
        if stored.refused:
            self.shelf.bury(stored.queue_id)
        else:
            self.shelf.remove(stored.queue_id)

    # --- By hand, and by time ----------------------------------------------------------------------------------------

    def reread(self) -> Changes:
        """See what a person has done to the files since. Blocking, some 5 µs a message and 60 µs a change."""
        changes = Changes([], [], [])
        sizes = self.shelf.sizes()
        for name in self.messages.keys() - sizes.keys() - self.busy:
            changes.gone.append(self.messages[name])
            self._forget(name)
        for name, octets in sizes.items():
            known = self.messages.get(name)
            if name in self.busy or (known and known.octets == octets):
                continue
            if not known:
                if stored := self._recover(name):
                    changes.appeared.append(stored)
            elif self._look_again(known):
                changes.changed.append(known)
        return changes

    def _look_again(self, stored: Stored) -> bool:
        try:
            self._take_over(stored, self.shelf.peek(stored.queue_id))
        except (Damaged, OSError):
            return False  # `open` meets it again, and sets it aside
        return True

    def expire_dead(self, *, keep: timedelta) -> int:
        """Delete dead letters that nothing has happened to for so long; how many there were."""
        return self.shelf.expire(before=self.now() - keep)

    # --- Threads -----------------------------------------------------------------------------------------------------

    async def _at_work(self, stored: Stored, work: Callable[[], T]) -> T:
        """`work` on the message's file. Raises Gone when there is none any more, StoreFailed."""
        self.busy.add(stored.queue_id)
        try:
            return await self._in_thread(work)
        except FileNotFoundError:
            self._forget(stored.queue_id)
            raise Gone("it was removed") from None
        except OSError as error:
            raise self._failed(error) from None
        finally:
            self.busy.discard(stored.queue_id)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    def _failed(self, error: OSError) -> StoreFailed:
        full = FULL.get(error.errno or 0)
        self.report("spool_failed", level="error", reason=full or error.strerror or type(error).__name__)
        return SpoolFull(full) if full else StoreFailed(f"the spool's disk failed: {error.strerror}")
