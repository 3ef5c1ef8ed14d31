"""The format of a spooled message. docs/spool.md shows a person how to read and repair a file.

A file is one JSON line that describes the message (`Header`), then exactly `size` bytes, the message as the app meant
it (CRLF, dots unstuffed), then one JSON line for each event since (`Event`). Lines are only appended, so the relay and
the `spool` command can both write them. Every complete line counts; what a crash left of the last line does not.

`crc32` covers the header before it and the message: a crash tears a header as easily as the message after it.
"""

import os
import re
import stat
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Annotated, Final, Literal

import msgspec

from o365mailer_sidecar.errors import Damaged
from o365mailer_sidecar.message.body import BLOCK, MEMORY, Body
from o365mailer_sidecar.message.envelope import ADDRESS, PARAMETER, Envelope, Recipient, Sender, domains
from o365mailer_sidecar.message.message import Message

VERSION: Final = 1
"""Within a version members are only added, and unknown ones are ignored."""

CRC: Final = b',"crc32":'
UNCHECKED: Final = "unchecked"
"""What a person who has edited the header or the message writes as `crc32`."""

QUEUE_ID: Final = re.compile(r"[A-Za-z0-9]{1,64}")
"""A queue id becomes the name of a file."""

PROTOCOL: Final = re.compile(r"[A-Za-z0-9-]{0,40}")
"""The protocol in the Received line."""

FIRST_READ: Final = 2**14
"""Bytes: most messages fit, and one call reads them."""

HEADER_LIMIT: Final = 2**23
"""Bytes: a thousand recipients with all their parameters take a quarter of it."""

EVENTS_LIMIT: Final = 2**23
"""Bytes of the events that are read."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""With its time zone: a time without one, in a line that a person wrote, cannot be compared with another."""

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
    """Bytes of the message."""
    crc32: str
    """Eight hexadecimal digits, or `unchecked`. The last member: it covers those before it."""

    def envelope(self, *, settled: Collection[str]) -> Envelope:
        """The envelope for the recipients that are due: all but the addresses in `settled`."""
        due = tuple(to for to in self.recipients if to.address not in settled)
        return Envelope(queue_id=self.queue_id, sender=self.sender, recipients=due, protocol=self.protocol)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line after the message: what happened to it, without what earlier lines say."""

    at: Moment
    event: EventName
    """`attempt` counts as one; `note` changes only what it names."""
    outcome: str = ""
    reason: str = ""
    reply: str = ""
    due: Moment | None = None
    """The time of the next attempt."""
    accepted: tuple[str, ...] = ()
    """Recipients that have the message."""
    refused: dict[str, str] = {}
    """Recipients that were refused for good, with the reply."""


EVENTS: Final = msgspec.json.Decoder(Event)


@dataclass(slots=True, eq=False)
class QueueEntry:
    """What the spool keeps in memory of one message: about 400 bytes, because there may be thousands."""

    queue_id: str
    received: datetime
    size: int
    """Bytes of the message."""
    file_size: int
    recipients: int
    """The recipients that are still due."""
    refused: int = 0
    """The recipients that were refused for good."""
    attempts: int = 0
    due: datetime | None = None
    """The time of the next attempt; None: now."""
    held: bool = False
    """On hold: a person has to release it first."""

    def update(self, fresh: "QueueEntry") -> None:
        """Copy what can change from `fresh`."""
        self.file_size, self.recipients, self.refused = fresh.file_size, fresh.recipients, fresh.refused
        self.attempts, self.due, self.held = fresh.attempts, fresh.due, fresh.held


@dataclass(slots=True, eq=False)
class Entry:
    """What a file says in addition to the message itself: its header, and the result of all events."""

    header: Header
    line: bytes
    """The header as it is in the file."""
    file_size: int
    attempts: int = 0
    due: datetime | None = None
    held: bool = False
    accepted: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    last: Event | None = None
    unread: int = 0
    """Lines after the message that cannot be read, torn by a crash or by a person."""

    def follow(self, event: Event) -> None:
        """Apply the next event."""
        self.last = event
        self.attempts += event.event == "attempt"
        self.due = event.due or self.due
        self.accepted.update(event.accepted)
        self.refused.update(event.refused)
        if event.event == "hold":
            self.held = True
        elif event.event in ("release", "retry"):
            self.held, self.due = False, event.at
        if event.event == "retry":  # a dead letter is tried again for the recipients who were refused
            self.refused.clear()

    @property
    def settled(self) -> set[str]:
        """The recipients that are not due any more."""
        return self.accepted.union(self.refused)

    @property
    def start(self) -> int:
        """Where the message begins in the file."""
        return len(self.line)

    def queued(self) -> QueueEntry:
        """What the spool keeps of this message in memory."""
        settled = self.settled
        return QueueEntry(
            queue_id=self.header.queue_id,
            received=self.header.received,
            size=self.header.size,
            file_size=self.file_size,
            recipients=sum(to.address not in settled for to in self.header.recipients),
            refused=sum(to.address in self.refused for to in self.header.recipients),
            attempts=self.attempts,
            due=self.due,
            held=self.held,
        )

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
        """The message; the body closes `file`. Raises Damaged when it is not what was stored, OSError.

        The relay sends what it has checked: it does not read a small message again, and checks a large one again while
        it sends it.
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
    """Raises Damaged, also for an address or a parameter that could end a command: a person may have written it."""
    try:
        found = msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Damaged("its header cannot be read") from None
    if found.version > VERSION:
        raise Damaged(f"it is of version {found.version}, and this sidecar reads {VERSION}")
    if not QUEUE_ID.fullmatch(found.queue_id) or found.size < 0 or found.received.tzinfo is None:
        raise Damaged("its header makes no sense")
    to = found.recipients
    if not to:
        raise Damaged("its header names no recipient")
    addresses = [found.sender.address, *(each.address for each in to)]
    parameters = [*found.sender.parameters, *(parameter for each in to for parameter in each.parameters)]
    if not (
        all(each.address for each in to)
        and all(ADDRESS.fullmatch(address) and domains(address) < 2 for address in addresses)
        and all(PARAMETER.fullmatch(parameter) for parameter in parameters)
        and PROTOCOL.fullmatch(found.protocol)
    ):
        raise Damaged("its header holds an address or a parameter that SMTP cannot carry")
    return found


def checksum(covered: bytes, blocks: Iterable[bytes | bytearray]) -> int:
    """CRC-32 of the header before its `crc32`, and of the message."""
    crc = zlib.crc32(covered)
    for block in blocks:
        crc = zlib.crc32(block, crc)
    return crc


def check(line: bytes, found: Header, blocks: Iterable[bytes]) -> tuple[int, int]:
    """The checksums before and after the message, if header and message are what was stored. Raises Damaged.

    It reads the whole message even if it is `unchecked`: the file may be too short for it.
    """
    covered = line.rpartition(CRC)[0]
    after = checksum(covered, blocks)
    if found.crc32 not in (UNCHECKED, f"{after:08x}"):
        raise Damaged("its checksum is wrong")
    return zlib.crc32(covered), after


def event_line(event: Event) -> bytes:
    """One line, with its line end."""
    return msgspec.json.encode(event) + b"\n"


def read_events(content: bytes) -> tuple[list[Event], int]:
    """The events after the message, and how many lines cannot be read."""
    found, unread = [], 0
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            found.append(EVENTS.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            unread += 1
    return found, unread


def read(file: int) -> Entry:
    """Everything but the message, whose checksum is not checked. Raises Damaged, OSError."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise Damaged("it is no file")
    content = os.pread(file, FIRST_READ, 0)
    while b"\n" not in content:
        more = os.pread(file, len(content), len(content)) if len(content) < HEADER_LIMIT else b""
        if not more:
            raise Damaged("its header does not end")
        content += more
    line = content[: content.index(b"\n") + 1]
    header = read_header(line)
    end, size = len(line) + header.size, status.st_size
    if size < end:
        raise Damaged("it is shorter than its header says")
    events, unread = read_events(content[end:size] if size <= len(content) else os.pread(file, EVENTS_LIMIT, end))
    found = Entry(header, line, size, unread=unread)
    for event in events:
        found.follow(event)
    return found
