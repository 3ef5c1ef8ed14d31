"""A spool directory as the `spool` command finds and shows it: the files of all partitions, without a body.

It escapes the control characters in what apps wrote (addresses, headers) and in what Exchange answered: a terminal
would obey them.
"""

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
from o365mailer_sidecar.message.header import Header
from o365mailer_sidecar.spool import entry
from o365mailer_sidecar.spool.disk import Disk
from o365mailer_sidecar.spool.entry import Entry, Event, read_events
from o365mailer_sidecar.spool.files import append, opener
from o365mailer_sidecar.spool.partition import DAMAGED, DEAD, LOCK, QUEUE, partitions

State = Literal["queued", "held", "dead", "damaged"]
STATES: Final[tuple[State, ...]] = ("queued", "held", "dead", "damaged")

COLUMNS: Final = ("QUEUE ID", "STATE", "AGE", "SIZE", "TRIES", "NEXT", "FROM", "TO", "LAST ANSWER")

ANSWER_WIDTH: Final = 60
"""Characters of an answer in the table; `show` has all of it."""

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """One file."""

    partition: Path
    place: str
    """`queue`, `dead` or `damaged`."""
    name: str
    entry: Entry | None
    """None if the file cannot be read."""
    fault: str = ""
    """Why it cannot be read."""

    @property
    def path(self) -> Path:
        return self.partition / self.place / self.name

    @property
    def state(self) -> State:
        if self.place == DAMAGED or self.entry is None:
            return "damaged"
        if self.place == DEAD:
            return "dead"
        return "held" if self.entry.held else "queued"

    def history(self) -> list[Event]:
        """Its events, read again. Raises OSError."""
        if self.entry is None:
            return []
        with self.path.open("rb") as file:
            file.seek(self.entry.start + self.entry.header.size)
            return read_events(file.read(entry.EVENTS_LIMIT))[0]

    def headers(self) -> str:
        """The message's header fields, nothing of what follows. Raises OSError."""
        if self.entry is None:
            return ""
        with self.path.open("rb") as file:
            file.seek(self.entry.start)
            block = Header(file.read(min(MEMORY, self.entry.header.size))).block()
        return block.decode("utf-8", "backslashreplace")

    # --- Changes, on disk when they return unless told otherwise; all raise OSError ----------------------------------

    def add(self, event: Event, *, disk: Disk, durable: bool = True) -> None:
        file = disk.reopen(str(self.path))
        try:
            append(disk, file, event)
            if durable:
                disk.sync(file)
        finally:
            disk.close(file)

    def requeue(self, *, disk: Disk) -> None:
        """Move it into the queue. Raises Damaged when it is still not what was stored."""
        with self.path.open("rb", buffering=0) as file:
            fresh = entry.read(file.fileno())
            entry.check(fresh.line, fresh.header, fresh.blocks(file.fileno()))
        target = self.partition / QUEUE / fresh.header.queue_id
        if target.exists():
            raise Damaged("a message with its queue id is in the queue already")
        disk.rename(str(self.path), str(target))
        disk.sync_directory(str(target.parent))

    def drop(self, *, disk: Disk) -> None:
        disk.remove(str(self.path))
        disk.sync_directory(str(self.path.parent))


# --- Finding ---------------------------------------------------------------------------------------------------------


def everything(directory: Path) -> list[SpoolFile]:
    """All files of all partitions, oldest message first. Raises WrongCommandLine when there is no spool to read."""
    try:
        if (directory / LOCK).is_file() and (directory / QUEUE).is_dir():
            above = directory.absolute().parent
            raise WrongCommandLine(f"'{directory}' is one partition of a spool: name the directory above it, '{above}'")
        found = [
            each
            for partition in partitions(directory)
            for place in (QUEUE, DEAD, DAMAGED)
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
                yield SpoolFile(partition, place, name, entry.read(file.fileno()))
        except FileNotFoundError:
            continue  # sent, or moved, in this moment
        except Damaged as damage:
            yield SpoolFile(partition, place, name, None, str(damage))
        except OSError as error:  # one file, and no reason to show none
            yield SpoolFile(partition, place, name, None, f"it cannot be read: {error.strerror}")


def named(queue_id: str, found: Iterable[SpoolFile]) -> SpoolFile:
    """The one message with this id, or whose id begins so. Raises WrongCommandLine, which lists those that match."""
    wanted = queue_id.upper()
    if not wanted:  # an unset variable of a script: it is the beginning of every id, and `drop` is for good
        raise WrongCommandLine("the queue id is empty: write one, or its beginning (`spool ls` says what there is)")
    matching = [each for each in found if each.name.upper().startswith(wanted)]
    exact = [each for each in matching if each.name.upper() == wanted] or matching
    if not exact:
        raise WrongCommandLine(f"no message '{queue_id}': it was sent, or never stored (`spool ls` says what there is)")
    if len(exact) > 1:
        places = ", ".join(f"{each.name} ({each.state}, partition {each.partition.name})" for each in exact[:5])
        raise WrongCommandLine(f"'{queue_id}' may be one of {len(exact)}: {places}")
    return exact[0]


# --- Showing ---------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text with its control characters escaped."""
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


def size(count: int) -> str:
    """Bytes in the largest unit that leaves a number to read."""
    for unit in ("", "Ki", "Mi"):
        if count < 1024:
            return f"{count}{unit}"
        count //= 1024
    return f"{count}Gi"


def table(found: Sequence[SpoolFile], now: datetime) -> str:
    """All files, and how many there are in each state, like `2 queued (8Ki), 1 held (4Ki)`."""
    rows = [COLUMNS, *(_row(each, now) for each in found)] if found else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    counts: Counter[str] = Counter()
    bytes_: Counter[str] = Counter()
    for each in found:
        counts[each.state] += 1
        bytes_[each.state] += each.entry.file_size if each.entry else 0
    summary = ", ".join(f"{counts[state]} {state} ({size(bytes_[state])})" for state in STATES if counts[state])
    return "\n".join([*lines, summary or "nothing"]) + "\n"


def _row(found: SpoolFile, now: datetime) -> tuple[str, ...]:
    if found.entry is None:
        return (plain(found.name), found.state, "?", "?", "?", "-", "?", "?", plain(found.fault))
    header = found.entry.header
    first, others = header.recipients[0].address, len(header.recipients) - 1
    return (
        plain(found.name),
        found.state,
        span(now - header.received),
        size(header.size),
        str(found.entry.attempts),
        _next_attempt(found, found.entry, now),
        f"<{plain(header.sender.address)}>",
        plain(first) + (f" +{others}" if others else ""),
        plain(_answer(found.entry))[:ANSWER_WIDTH],
    )


def _next_attempt(found: SpoolFile, known: Entry, now: datetime) -> str:
    if found.state != "queued":
        return "-"
    return "now" if known.due is None or known.due <= now else f"in {span(known.due - now)}"


def _answer(known: Entry) -> str:
    """Why it is still here."""
    last = known.last
    if last and last.reply.startswith("2"):  # for some of its recipients; it is here for the others
        refused = next(iter(known.refused.values()), "")
        return refused or f"accepted for {len(known.accepted)} of {len(known.header.recipients)} recipients"
    return (last.reply or last.reason or last.outcome or last.event) if last else ""


def facts(found: SpoolFile) -> Json:
    """Everything but the message, for JSON."""
    shown: Json = {
        "queueId": found.name,
        "state": found.state,
        "partition": found.partition.name,
        "file": str(found.path),
    }
    if found.entry is None:
        return shown | {"fault": found.fault}
    header = found.entry.header
    return shown | {
        "received": header.received,
        "size": header.size,
        "attempts": found.entry.attempts,
        "due": found.entry.due,
        "sender": header.sender,
        "recipients": _recipients(found.entry),
        "last": found.entry.last,
    }


def _recipients(known: Entry) -> list[dict[str, str]]:
    shown: list[dict[str, str]] = []
    for to in known.header.recipients:
        state = "accepted" if to.address in known.accepted else "due"
        shown.append({"address": to.address, "state": "refused" if to.address in known.refused else state})
        if reply := known.refused.get(to.address):
            shown[-1]["reply"] = reply
    return shown


def as_json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def details(found: SpoolFile, now: datetime, *, headers: bool) -> str:
    """Everything about one message but its body, and what happened to it. Raises OSError."""
    lines = [f"Queue id:   {plain(found.name)}", f"State:      {found.state}", f"File:       {plain(str(found.path))}"]
    known = found.entry
    if known is None:
        return "\n".join([*lines, f"Damaged:    {plain(found.fault)}"]) + "\n"
    header = known.header
    lines += [
        f"Received:   {header.received:%Y-%m-%d %H:%M:%S} UTC, {span(now - header.received)} ago",
        f"Size:       {header.size} bytes{', 8-bit' if header.eight_bit else ''}",
        f"Tries:      {known.attempts}, next {_next_attempt(found, known, now)}",
        f"From:       <{plain(header.sender.address)}> {plain(' '.join(header.sender.parameters))}".rstrip(),
    ]
    for to in _recipients(known):
        lines.append(plain(f"To:         <{to['address']}> {to['state']} {to.get('reply', '')}".rstrip()))
    for event in found.history():
        said = " ".join(filter(None, (event.event, event.outcome, event.reason, event.reply)))
        lines.append(f"{event.at:%Y-%m-%d %H:%M:%S}  {plain(said)}")
    if known.unread:
        lines.append(f"{known.unread} lines after the message cannot be read")
    if headers:
        text = found.headers().replace("\r\n", "\n")
        lines += ["", *(plain(line.replace("\t", " ")) for line in text.split("\n"))]
    return "\n".join(lines).rstrip("\n") + "\n"
