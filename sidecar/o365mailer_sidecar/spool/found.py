"""Messages of a spool directory as a person's command finds them: in files, of all slots, whoever has them."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from o365mailer_sidecar.errors import Damaged, WrongCommandLine
from o365mailer_sidecar.message.body import MEMORY
from o365mailer_sidecar.message.header import header_block
from o365mailer_sidecar.spool import entry, record
from o365mailer_sidecar.spool.durable import Disk
from o365mailer_sidecar.spool.entry import Entry
from o365mailer_sidecar.spool.record import Event, events
from o365mailer_sidecar.spool.shelf import append, opener
from o365mailer_sidecar.spool.slot import DAMAGED, DEAD, LOCK, QUEUE, slots

State = Literal["queued", "held", "dead", "damaged"]

PLACES = (QUEUE, DEAD, DAMAGED)


@dataclass(frozen=True, slots=True)
class Found:
    """One file."""

    slot: Path
    place: str
    """`queue`, `dead` or `damaged`."""
    name: str
    entry: Entry | None
    """None where it cannot be read at all."""
    fault: str = ""
    """Why it is damaged."""

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.slot / self.place / self.name

    @property
    def state(self) -> State:
        """In a word."""
        if self.place == DAMAGED or self.entry is None:
            return "damaged"
        if self.place == DEAD:
            return "dead"
        return "held" if self.entry.standing.held else "queued"

    def history(self) -> list[Event]:
        """What happened to it."""
        if self.entry is None:
            return []
        with self.path.open("rb") as file:
            file.seek(self.entry.start + self.entry.header.size)
            return events(file.read(entry.EVENTS_LIMIT))[0]

    def headers(self) -> bytes:
        """Those of the message, up to its first empty line; never a line of what follows."""
        if self.entry is None:
            return b""
        with self.path.open("rb") as file:
            file.seek(self.entry.start)
            return header_block(file.read(min(MEMORY, self.entry.header.size)))

    # --- Changes, on disk when they return unless told otherwise; all raise OSError ----------------------------------

    def add(self, event: Event, *, disk: Disk, durable: bool = True) -> None:
        """Append it."""
        file = disk.reopen(str(self.path))
        try:
            append(disk, file, event)
            if durable:
                disk.sync(file)
        finally:
            disk.close(file)

    def requeue(self, *, disk: Disk) -> None:
        """Back into the queue, from wherever it is. Raises Damaged when it is still not what was stored."""
        with self.path.open("rb", buffering=0) as file:
            fresh = entry.read(file.fileno())
            record.check(fresh.line, fresh.header, fresh.blocks(file.fileno()))
        target = self.slot / QUEUE / fresh.header.queue_id
        if target.exists():
            raise Damaged("a message with its queue id is in the queue already")
        disk.rename(str(self.path), str(target))
        self._sync(target.parent, disk=disk)

    def drop(self, *, disk: Disk) -> None:
        """Delete it."""
        disk.remove(str(self.path))
        self._sync(self.path.parent, disk=disk)

    @staticmethod
    def _sync(directory: Path, *, disk: Disk) -> None:
        descriptor = disk.open_directory(str(directory))
        try:
            disk.sync(descriptor)
        finally:
            disk.close(descriptor)


def everything(directory: Path) -> list[Found]:
    """All files of all slots, oldest message first. Raises WrongCommandLine when there is no spool to read."""
    try:
        if (directory / LOCK).is_file() and (directory / QUEUE).is_dir():
            above = directory.absolute().parent
            raise WrongCommandLine(f"'{directory}' is one slot of a spool: name the directory above it, '{above}'")
        found = [
            each
            for slot in slots(directory)
            for place in PLACES
            if (slot / place).is_dir()
            for each in _in(slot, place)
        ]
    except PermissionError as error:
        raise WrongCommandLine(
            f"'{error.filename}' cannot be read: run this as the user that the sidecar runs as, or as root"
        ) from None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WrongCommandLine(f"'{directory}' is no spool directory: {error.strerror}") from None
    except OSError as error:
        raise WrongCommandLine(f"'{error.filename or directory}' cannot be read: {error.strerror}") from None
    return sorted(found, key=lambda each: (each.entry.header.received.timestamp() if each.entry else 0.0, each.name))


def _in(slot: Path, place: str) -> Iterator[Found]:
    for name in sorted(os.listdir(slot / place)):  # noqa: PTH208  # names, not paths
        if name.startswith("."):
            continue
        try:
            with open(slot / place / name, "rb", buffering=0, opener=opener) as file:
                found = Found(slot, place, name, entry.read(file.fileno()))
        except FileNotFoundError:
            continue  # sent, or moved, in this moment
        except Damaged as damage:
            found = Found(slot, place, name, None, str(damage))
        except OSError as error:  # one file, and no reason to show none
            found = Found(slot, place, name, None, f"it cannot be read: {error.strerror}")
        yield found


def named(queue_id: str, found: Iterable[Found]) -> Found:
    """The one message whose id begins so. Raises WrongCommandLine, which says which there are."""
    wanted = queue_id.upper()
    if not wanted:  # an unset variable of a script: every name begins so, and `drop` is for good
        raise WrongCommandLine("the queue id is empty: write one, or its beginning (`spool ls` says what there is)")
    matching = [each for each in found if each.name.upper().startswith(wanted)]
    exact = [each for each in matching if each.name.upper() == wanted] or matching
    if not exact:
        raise WrongCommandLine(f"no message '{queue_id}': it was sent, or never stored (`spool ls` says what there is)")
    if len(exact) > 1:
        places = ", ".join(f"{each.name} ({each.state}, slot {each.slot.name})" for each in exact[:5])
        raise WrongCommandLine(f"'{queue_id}' may be one of {len(exact)}: {places}")
    return exact[0]
