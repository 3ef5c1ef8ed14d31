"""Messages of a spool directory as a person's command finds them: in files, of all slots, whoever has them."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import msgspec

from o365mailer_sidecar.errors import Damaged, WrongCommandLine
from o365mailer_sidecar.message.body import MEMORY
from o365mailer_sidecar.message.header import read as read_header
from o365mailer_sidecar.spool import entry
from o365mailer_sidecar.spool.disk import Disk
from o365mailer_sidecar.spool.entry import Entry, Event, read_events
from o365mailer_sidecar.spool.files import append, opener
from o365mailer_sidecar.spool.partition import DAMAGED, DEAD, LOCK, QUEUE, slots

State = Literal["queued", "held", "dead", "damaged"]

PLACES = (QUEUE, DEAD, DAMAGED)


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """One file."""

    partition: Path
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
        return self.partition / self.place / self.name

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
            return read_events(file.read(entry.EVENTS_LIMIT))[0]

    def headers(self) -> bytes:
        """Those of the message, up to its first empty line; never a line of what follows."""
        if self.entry is None:
            return b""
        with self.path.open("rb") as file:
            file.seek(self.entry.start)
            return read_header(file.read(min(MEMORY, self.entry.header.size))).block()

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
            entry.check(fresh.line, fresh.header, fresh.blocks(file.fileno()))
        target = self.partition / QUEUE / fresh.header.queue_id
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


def everything(directory: Path) -> list[SpoolFile]:
    """All files of all slots, oldest message first. Raises WrongCommandLine when there is no spool to read."""
    try:
        if (directory / LOCK).is_file() and (directory / QUEUE).is_dir():
            above = directory.absolute().parent
            raise WrongCommandLine(f"'{directory}' is one partition of a spool: name the directory above it, '{above}'")
        found = [
            each
            for partition in slots(directory)
            for place in PLACES
            if (partition / place).is_dir()
            for each in _in(partition, place)
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


def _in(partition: Path, place: str) -> Iterator[SpoolFile]:
    for name in sorted(os.listdir(partition / place)):  # noqa: PTH208  # names, not paths
        if name.startswith("."):
            continue
        try:
            with open(partition / place / name, "rb", buffering=0, opener=opener) as file:
                found = SpoolFile(partition, place, name, entry.read(file.fileno()))
        except FileNotFoundError:
            continue  # sent, or moved, in this moment
        except Damaged as damage:
            found = SpoolFile(partition, place, name, None, str(damage))
        except OSError as error:  # one file, and no reason to show none
            found = SpoolFile(partition, place, name, None, f"it cannot be read: {error.strerror}")
        yield found


def named(queue_id: str, found: Iterable[SpoolFile]) -> SpoolFile:
    """The one message whose id begins so. Raises WrongCommandLine, which says which there are."""
    wanted = queue_id.upper()
    if not wanted:  # an unset variable of a script: every name begins so, and `drop` is for good
        raise WrongCommandLine("the queue id is empty: write one, or its beginning (`spool ls` says what there is)")
    matching = [each for each in found if each.name.upper().startswith(wanted)]
    exact = [each for each in matching if each.name.upper() == wanted] or matching
    if not exact:
        raise WrongCommandLine(f"no message '{queue_id}': it was sent, or never stored (`spool ls` says what there is)")
    if len(exact) > 1:
        places = ", ".join(f"{each.name} ({each.state}, partition {each.partition.name})" for each in exact[:5])
        raise WrongCommandLine(f"'{queue_id}' may be one of {len(exact)}: {places}")
    return exact[0]


# --- listing --------------------
# How the spool's messages are shown: as a table for a person, or as JSON. Pure; never a body.
#
# What apps wrote (addresses, headers) and what Exchange answered is shown with its control characters escaped: a
# terminal would obey them.


COLUMNS: Final = ("QUEUE ID", "STATE", "AGE", "SIZE", "TRIES", "NEXT", "FROM", "TO", "LAST ANSWER")

ANSWER_WIDTH: Final = 60
"""Characters of an answer in the table; `show` has all of it."""

Json = dict[str, object]


def plain(text: str) -> str:
    """Text that a terminal only prints."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def span(length: timedelta) -> str:
    """The two largest units: `3d04h`, `5m09s`."""
    rest = max(int(length.total_seconds()), 0)
    days, hours, minutes, seconds = rest // 86400, rest // 3600 % 24, rest // 60 % 60, rest % 60
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def size(octets: int) -> str:
    """In the largest unit that leaves a number to read."""
    for unit in ("", "Ki", "Mi"):
        if octets < 1024:
            return f"{octets}{unit}"
        octets //= 1024
    return f"{octets}Gi"


def next_attempt(found: SpoolFile, now: datetime) -> str:
    """When it is tried next."""
    if found.state != "queued" or found.entry is None:
        return "-"
    due = found.entry.standing.due
    return "now" if due is None or due <= now else f"in {span(due - now)}"


def answer(found: SpoolFile) -> str:
    """What is known of why it is still here."""
    if found.entry is None:
        return found.fault
    standing = found.entry.standing
    last = standing.last
    if last and last.reply.startswith("2"):  # for some of its recipients; it is here for the others
        refused = next(iter(standing.refused.values()), "")
        return refused or f"accepted for {len(standing.accepted)} of {len(found.entry.header.recipients)} recipients"
    return (last.reply or last.reason or last.outcome or last.event) if last else ""


def row(found: SpoolFile, now: datetime) -> tuple[str, ...]:
    """A line of the table."""
    if found.entry is None:
        return (plain(found.name), found.state, "?", "?", "?", "-", "?", "?", plain(found.fault))
    header, standing = found.entry.header, found.entry.standing
    first, others = header.recipients[0].address if header.recipients else "", len(header.recipients) - 1
    return (
        plain(found.name),
        found.state,
        span(now - header.received),
        size(header.size),
        str(standing.attempts),
        next_attempt(found, now),
        f"<{plain(header.sender.address)}>",
        plain(first) + (f" +{others}" if others > 0 else ""),
        plain(answer(found))[:ANSWER_WIDTH],
    )


def table(found: Sequence[SpoolFile], now: datetime) -> str:
    """All of them, and how many there are."""
    rows = [COLUMNS, *(row(each, now) for each in found)] if found else []
    widths = [max(len(line[column]) for line in rows) for column in range(len(COLUMNS))] if rows else []
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in rows]
    return "\n".join([*lines, summary(found)]) + "\n"


def summary(found: Iterable[SpoolFile]) -> str:
    """`2 queued (8Ki), 1 held, 1 dead`."""
    counts: Counter[str] = Counter()
    octets: Counter[str] = Counter()
    for each in found:
        counts[each.state] += 1
        octets[each.state] += each.entry.octets if each.entry else 0
    words = [f"{counts[state]} {state} ({size(octets[state])})" for state in ("queued", "held", "dead", "damaged")]
    return (
        ", ".join(
            word for word, state in zip(words, ("queued", "held", "dead", "damaged"), strict=True) if counts[state]
        )
        or "nothing"
    )


def facts(found: SpoolFile) -> Json:
    """Everything but the message, for JSON."""
    known: Json = {
        "queueId": found.name,
        "state": found.state,
        "partition": found.partition.name,
        "file": str(found.path),
    }
    if found.entry is None:
        return known | {"fault": found.fault}
    header, standing = found.entry.header, found.entry.standing
    return known | {
        "received": header.received,
        "size": header.size,
        "attempts": standing.attempts,
        "due": standing.due,
        "sender": header.sender,
        "recipients": recipients(found),
        "last": standing.last,
    }


def recipients(found: SpoolFile) -> list[Json]:
    """Each with how it stands."""
    if found.entry is None:
        return []
    standing = found.entry.standing
    shown: list[Json] = []
    for to in found.entry.header.recipients:
        state = "accepted" if to.address in standing.accepted else "due"
        reply = standing.refused.get(to.address, "")
        shown.append({"address": to.address, "state": "refused" if to.address in standing.refused else state})
        if reply:
            shown[-1]["reply"] = reply
    return shown


def as_json(value: object) -> str:
    """Indented, for a person with jq or without."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def details(found: SpoolFile, now: datetime, *, headers: bool) -> str:
    """All that is known of one message, and what happened to it."""
    lines = [f"Queue id:   {plain(found.name)}", f"State:      {found.state}", f"File:       {plain(str(found.path))}"]
    if found.entry is None:
        return "\n".join([*lines, f"Damaged:    {plain(found.fault)}"]) + "\n"
    header, standing = found.entry.header, found.entry.standing
    lines += [
        f"Received:   {header.received:%Y-%m-%d %H:%M:%S} UTC, {span(now - header.received)} ago",
        f"Size:       {header.size} octets{', 8-bit' if header.eight_bit else ''}",
        f"Tries:      {standing.attempts}, next {next_attempt(found, now)}",
        f"From:       <{plain(header.sender.address)}> {plain(' '.join(header.sender.parameters))}".rstrip(),
    ]
    for to in recipients(found):
        lines.append(plain(f"To:         <{to['address']}> {to['state']} {to.get('reply', '')}".rstrip()))
    for event in found.history():
        said = " ".join(filter(None, (event.event, event.outcome, event.reason, event.reply)))
        lines.append(f"{event.at:%Y-%m-%d %H:%M:%S}  {plain(said)}")
    if found.entry.unread:
        lines.append(f"{found.entry.unread} lines behind the message cannot be read")
    if headers:
        text = found.headers().decode("utf-8", "backslashreplace").replace("\r\n", "\n")
        lines += ["", *(plain(line.replace("\t", " ")) for line in text.split("\n"))]
    return "\n".join(lines).rstrip("\n") + "\n"
