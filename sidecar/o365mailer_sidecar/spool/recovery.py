"""What a spool finds in its directory that it did not put there itself: after a crash, from other processes, by hand.

Blocking, a slice of it a turn of the event loop.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from o365mailer_sidecar.errors import Damaged
from o365mailer_sidecar.spool.ledger import Ledger
from o365mailer_sidecar.spool.shelf import Shelf, telling
from o365mailer_sidecar.spool.slot import Slot, abandoned, neighbours
from o365mailer_sidecar.spool.stored import Changes, Stored


class Report(Protocol):
    """Where events are told (`journal.Journal.event`)."""

    def __call__(self, name: str, *, level: str = "info", **fields: str | int) -> None:
        """One event."""


class Recovery:
    """Enters what it finds into the ledger."""

    def __init__(self, slot: Slot, *, shelf: Shelf, ledger: Ledger, busy: set[str], report: Report) -> None:
        self.slot, self.shelf, self.ledger, self.busy, self.report = slot, shelf, ledger, busy, report
        self.unreadable: set[str] = set()
        """Files that the disk did not give, and that were told of. It may give them later."""

    def begin(self) -> None:
        """See to what a crash has left half done, and to what others have left."""
        if self.slot.ends_with_the_container:
            self.report(
                "spool_in_container", level="warning", reason="it ends with the container: mount a volume there"
            )
        for name in self.shelf.left_spares():
            with telling(self._say_unreadable, name):
                self.shelf.settle_spare(name)
        self.take_abandoned()

    def messages(self) -> Iterator[Stored]:
        """All in the queue but those that the ledger has or that a thread is at work on, longest untouched first."""
        for name in self.shelf.by_age():
            if name not in self.ledger.messages and name not in self.busy and (stored := self.recover(name)):
                yield stored

    def take_abandoned(self) -> list[str]:
        """Move to our slot what processes have left that shared the directory and are gone; which messages."""
        taken: list[str] = []
        with telling(self._say_unreadable, ""):
            for path in neighbours(self.slot):
                with telling(self._say_unreadable, path.name):
                    self._take_over(path, taken)
        return taken

    def _take_over(self, path: Path, taken: list[str]) -> None:
        """What was moved is in `taken`, also when an error ends it: nobody else would look for it."""
        slot = abandoned(path, disk=self.shelf.disk)
        if not slot:
            return
        try:
            other = Shelf(slot, disk=self.shelf.disk)
            try:
                for name in self.shelf.take_from(other, failed=self._say_unreadable):
                    taken.append(name)  # noqa: PERF402  # one by one: an error in between takes none of them back
            finally:
                other.close()
        finally:
            slot.unlock()

    def recover(self, name: str) -> Stored | None:
        """Enter one message; None when there is nothing to be sent."""
        try:
            stored = self.shelf.peek(name)
            if not stored.recipients:  # everybody was settled, and then the process died
                self.shelf.settle(stored)
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
        self.ledger.enter(stored)
        return stored

    def reread(self) -> Changes:
        """See what a person has done to the files since."""
        changes = Changes([], [], [])
        sizes = self.shelf.sizes()
        for name in self.ledger.messages.keys() - sizes.keys() - self.busy:
            changes.gone.append(self.ledger.messages[name])
            self.ledger.strike(name)
        for name, octets in sizes.items():
            known = self.ledger.messages.get(name)
            if name in self.busy or (known and known.octets == octets):
                continue
            if not known:
                if stored := self.recover(name):
                    changes.appeared.append(stored)
            elif self._look_again(known):
                changes.changed.append(known)
        return changes

    def _look_again(self, stored: Stored) -> bool:
        try:
            self.ledger.correct(stored, self.shelf.peek(stored.queue_id))
        except (Damaged, OSError):
            return False  # `open` meets it again, and sets it aside
        return True

    def set_aside(self, queue_id: str, damage: Damaged) -> None:
        """Out of the way, and told."""
        self.ledger.strike(queue_id)
        with suppress(OSError):  # it stays where it is then, and is not sent from there either
            self.shelf.set_aside(queue_id)
        self.report("spool_damaged", level="error", queue_id=queue_id, reason=str(damage))

    def cannot_read(self, name: str, error: OSError) -> None:
        """Told once, not at every try."""
        if name not in self.unreadable:
            self.unreadable.add(name)
            self._say_unreadable(name, error)

    def _say_unreadable(self, name: str, error: OSError) -> None:
        self.report("spool_unreadable", level="error", file=name, reason=error.strerror or type(error).__name__)
