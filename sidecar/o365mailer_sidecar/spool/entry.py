"""One file of the spool, read: the header, where the message lies, and what happened since."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

from o365mailer_sidecar.errors import Damaged
from o365mailer_sidecar.message.body import BLOCK, MEMORY, Body
from o365mailer_sidecar.spool import record
from o365mailer_sidecar.spool.record import Header
from o365mailer_sidecar.spool.stored import Standing, Stored

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
    standing: Standing
    unread: int
    """Lines behind the message that make no sense."""

    @property
    def start(self) -> int:
        """Where the message begins."""
        return len(self.line)

    def stored(self) -> Stored:
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

        checksum = record.check(self.line, self.header, seen())
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
    header = record.header(line)
    end = len(line) + header.size
    if status.st_size < end:
        raise Damaged("it is shorter than its header says")
    behind = octets[end : status.st_size] if status.st_size <= len(octets) else os.pread(file, EVENTS_LIMIT, end)
    events, unread = record.events(behind)
    return Entry(header, line, status.st_size, Standing.after(events), unread)
