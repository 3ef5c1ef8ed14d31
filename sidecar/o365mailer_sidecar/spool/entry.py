"""The format of a spooled message; pure. docs/spool.md tells a person how to read and repair it.

A file is one JSON line that says everything about the message (`Header`), then exactly `size` octets, the message as
the app meant it (CRLF, dots unstuffed), then one JSON line for each thing that happened to it since (`Event`). Lines
are only ever appended, so the relay and a person's command can both write them: every complete line counts, and what a
crash left of the last one does not.

`crc32` covers the header's octets before it and the message: a header is as easily torn as what it describes.
"""

import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Annotated, Final, Literal, NamedTuple

import msgspec

from o365mailer_sidecar.errors import Damaged
from o365mailer_sidecar.message.body import BLOCK, MEMORY, Body
from o365mailer_sidecar.message.envelope import ADDRESS, Envelope, Recipient, Sender, domains
from o365mailer_sidecar.message.message import Message

VERSION: Final = 1
"""Within a version members are only added, and unknown ones are ignored."""

CRC: Final = b',"crc32":'
UNCHECKED: Final = "unchecked"
"""Written as `crc32` by a person who has edited the header or the message."""

QUEUE_ID: Final = re.compile(r"[A-Za-z0-9]{1,64}")
"""What may become a file's name."""

WORD: Final = re.compile(r"[\x21-\x7e]+")
"""A parameter of MAIL or RCPT (RFC 5321 §4.1.2)."""

PROTOCOL: Final = re.compile(r"[A-Za-z0-9-]{0,40}")
"""What stands in the Received line."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""With its time zone: what a person wrote without one cannot be compared, and is a line that makes no sense."""

EventName = Literal["attempt", "hold", "release", "retry", "note"]


class Header(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The first line."""

    version: int = msgspec.field(name="o365mailer")
    queue_id: str
    received: datetime
    protocol: str
    sender: Sender
    recipients: tuple[Recipient, ...]
    eight_bit: bool
    size: int
    """Octets of the message."""
    crc32: str
    """Eight hexadecimal digits, or `unchecked`. The last member: it covers those before it."""

    def envelope(self, *, settled: Iterable[str]) -> Envelope:
        """To those who are still due: all but the addresses in `settled`."""
        done = frozenset(settled)
        return Envelope(
            queue_id=self.queue_id,
            sender=self.sender,
            recipients=tuple(to for to in self.recipients if to.address not in done),
            protocol=self.protocol,
        )


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line behind the message: something that happened to it. It says what is new, nothing twice."""

    at: Moment
    event: EventName
    """`attempt` counts as one; `note` changes only what it names."""
    outcome: str = ""
    reason: str = ""
    reply: str = ""
    due: Moment | None = None
    """When the next attempt may be made."""
    accepted: tuple[str, ...] = ()
    """Recipients who need nothing more."""
    refused: dict[str, str] = {}
    """Recipients who are refused for good, with the reply."""


def header_line(message: Message) -> bytes:
    """The first line, with its line end. Reads the whole body, for the checksum."""
    envelope, body = message.envelope, message.body
    header = Header(
        version=VERSION,
        queue_id=envelope.queue_id,
        received=message.received,
        protocol=envelope.protocol,
        sender=envelope.sender,
        recipients=envelope.recipients,
        eight_bit=body.eight_bit,
        size=len(body),
        crc32="",
    )
    covered = msgspec.json.encode(header).rpartition(CRC)[0]
    blocks = [body.content] if body.file is None else body.blocks()
    return b'%b%b"%08x"}\n' % (covered, CRC, checksum(covered, blocks))


def read_header(line: bytes) -> Header:
    """The first line, read. Raises Damaged."""
    try:
        found = msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Damaged("its header cannot be read") from None
    if found.version > VERSION:
        raise Damaged(f"it is of version {found.version}, and this sidecar reads {VERSION}")
    if not QUEUE_ID.fullmatch(found.queue_id) or found.size < 0 or found.received.tzinfo is None:
        raise Damaged("its header makes no sense")
    if not found.recipients:
        raise Damaged("its header names no recipient")
    if not _speakable(found):
        raise Damaged("its header holds an address or a parameter that SMTP cannot carry")
    return found


def _speakable(found: Header) -> bool:
    """Whether nothing in it can become another command or another line: a person may have written it."""
    to = found.recipients
    addresses = [found.sender.address, *(each.address for each in to)]
    words = [*found.sender.parameters, *(word for each in to for word in each.parameters)]
    return (
        all(each.address for each in to)
        and all(ADDRESS.fullmatch(address) and domains(address) < 2 for address in addresses)
        and all(WORD.fullmatch(word) for word in words)
        and PROTOCOL.fullmatch(found.protocol) is not None
    )


def checksum(covered: bytes, blocks: Iterable[bytes | bytearray]) -> int:
    """Over what stands in the header before its `crc32`, and the message."""
    crc = zlib.crc32(covered)
    for block in blocks:
        crc = zlib.crc32(block, crc)
    return crc


def check(line: bytes, found: Header, blocks: Iterable[bytes]) -> tuple[int, int]:
    """The checksums before and after the message, if header and message are what was stored. Raises Damaged.

    It reads all of a message, also an `unchecked` one: a file may be too short for it.
    """
    covered = line.rpartition(CRC)[0]
    after = checksum(covered, blocks)
    if found.crc32 not in (UNCHECKED, f"{after:08x}"):
        raise Damaged("its checksum is wrong")
    return zlib.crc32(covered), after


def event_line(event: Event) -> bytes:
    """One line, with its line end."""
    return msgspec.json.encode(event) + b"\n"


def read_events(octets: bytes) -> tuple[list[Event], int]:
    """What stands behind the message, and how many lines of it cannot be read (torn by a crash, or by hand)."""
    found, unread = [], 0
    for line in octets.split(b"\n"):
        if not line.strip():
            continue
        try:
            found.append(EVENTS.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            unread += 1
    return found, unread


EVENTS: Final = msgspec.json.Decoder(Event)


# --- stored --------------------
# What the spool knows of a message while its octets are on disk: little, because there may be thousands.


@dataclass(slots=True, eq=False)
class QueueEntry:
    """One message; about 400 octets of memory. The spool changes it in place."""

    queue_id: str
    received: datetime
    size: int
    """Octets of the message."""
    octets: int
    """Of its file."""
    recipients: int
    """Still due."""
    refused: int = 0
    """Refused for good."""
    attempts: int = 0
    due: datetime | None = None
    """When the next attempt may be made; None: at once."""
    held: bool = False
    """By hand: not to be attempted until it is released."""

    def follow(self, fresh: "QueueEntry") -> None:
        """Stand as the other does."""
        self.octets, self.recipients, self.refused = fresh.octets, fresh.recipients, fresh.refused
        self.attempts, self.due, self.held = fresh.attempts, fresh.due, fresh.held


class Changes(NamedTuple):
    """What was changed by hand."""

    appeared: list[QueueEntry]
    changed: list[QueueEntry]
    """The same objects as before."""
    gone: list[QueueEntry]


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """What the spool may hold."""

    octets: int
    messages: int


@dataclass(slots=True)
class DeliveryState:
    """How a message stands after what happened to it."""

    attempts: int = 0
    due: datetime | None = None
    held: bool = False
    accepted: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    last: Event | None = None

    @classmethod
    def after(cls, events: Iterable[Event]) -> "DeliveryState":
        """All of them, in the order of their lines."""
        standing = cls()
        for event in events:
            standing.follow(event)
        return standing

    def follow(self, event: Event) -> None:
        """One more."""
        self.last = event
        self.attempts += event.event == "attempt"
        self.due = event.due or self.due
        self.accepted.update(event.accepted)
        self.refused.update(event.refused)
        if event.event == "hold":
            self.held = True
        elif event.event in ("release", "retry"):
            self.held, self.due = False, event.at
        if event.event == "retry":  # a dead letter is tried again for those who were refused
            self.refused.clear()

    @property
    def settled(self) -> set[str]:
        """Who is not due any more."""
        return self.accepted.union(self.refused)

    def stored(self, header: Header, *, octets: int) -> QueueEntry:
        """What is kept in memory of a message that stands so; `octets` of its file."""
        return QueueEntry(
            queue_id=header.queue_id,
            received=header.received,
            size=header.size,
            octets=octets,
            recipients=sum(to.address not in self.settled for to in header.recipients),
            refused=sum(to.address in self.refused for to in header.recipients),
            attempts=self.attempts,
            due=self.due,
            held=self.held,
        )


# --- entry --------------------
# One file of the spool, read: the header, where the message lies, and what happened since.


FIRST_READ: Final = 2**14
"""Octets: all of most messages, and one call."""

HEADER_LIMIT: Final = 2**23
"""Octets: a thousand recipients with all their parameters fit in a quarter of it."""

EVENTS_LIMIT: Final = 2**23
"""Octets of the lines behind the message that are read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in the file beside the message itself."""

    header: Header
    line: bytes
    """The header as it stands there."""
    octets: int
    """Of the file."""
    standing: DeliveryState
    unread: int
    """Lines behind the message that make no sense."""

    @property
    def start(self) -> int:
        """Where the message begins."""
        return len(self.line)

    def stored(self) -> QueueEntry:
        """What is kept of it in memory."""
        return self.standing.stored(self.header, octets=self.octets)

    def blocks(self, file: int) -> Iterator[bytes]:
        """The message. Raises Damaged when the file is too short for it, OSError."""
        place, end = self.start, self.start + self.header.size
        while place < end:
            block = os.pread(file, min(BLOCK, end - place), place)
            if not block:
                raise Damaged("it is shorter than its header says")
            yield block
            place += len(block)

    def body(self, file: IO[bytes]) -> Body:
        """The message, ready to be sent; takes the file over. Raises Damaged when it is not what was stored, OSError.

        What has been checked is what is sent: a small message is not read again, and a large one is checked again.
        """
        beginning = bytearray()

        def seen() -> Iterator[bytes]:
            for block in self.blocks(file.fileno()):
                beginning.extend(block[: MEMORY - len(beginning)])
                yield block

        checksum = check(self.line, self.header, seen())
        size, eight_bit = self.header.size, self.header.eight_bit
        if size > MEMORY:
            return Body(beginning, eight_bit, file, size, self.start, checksum)
        file.close()
        return Body(beginning, eight_bit, None, size)


def read(file: int) -> Entry:
    """Everything but the message, whose checksum is not looked at. Raises Damaged, OSError."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise Damaged("it is no file")
    octets = os.pread(file, FIRST_READ, 0)
    while b"\n" not in octets:
        more = os.pread(file, len(octets), len(octets)) if len(octets) < HEADER_LIMIT else b""
        if not more:
            raise Damaged("its header does not end")
        octets += more
    line = octets[: octets.index(b"\n") + 1]
    header = read_header(line)
    end = len(line) + header.size
    if status.st_size < end:
        raise Damaged("it is shorter than its header says")
    behind = octets[end : status.st_size] if status.st_size <= len(octets) else os.pread(file, EVENTS_LIMIT, end)
    events, unread = read_events(behind)
    return Entry(header, line, status.st_size, DeliveryState.after(events), unread)
