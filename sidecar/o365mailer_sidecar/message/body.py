"""The octets between 354 and CRLF.CRLF, decoded as they come (RFC 5321 §4.5.2).

Only CRLF.CRLF ends the data: neither LF.LF nor LF.CRLF nor CR.CR does, which is what SMTP smuggling lives on. What a
lone LF becomes is decided before the dots are looked at, so that nobody behind us can read a line where we saw none.
"""

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import IncrementalNewlineDecoder
from pathlib import Path
from typing import IO, Final, Literal

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Damaged, Refused, StoreFailed

END: Final = b"\r\n.\r\n"
HOLD: Final = len(END) - 1
"""Octets held back at the edge of a chunk: they may begin the end of the data."""

DOT_LINE: Final = re.compile(rb"\n\.")
DOT_AT_END: Final = re.compile(rb"\.\r\n")
"""Patterns, because `bytes.find`, `count` and `replace` look for two or more octets one by one, at four times the cost
(CPython 3.11)."""

LineEndings = Literal["Normalize", "Reject"]


MEMORY: Final = 2**18
"""Octets of a message that are held in memory; what is larger goes to a file."""

BLOCK: Final = 2**16
"""Octets read at once: a message is never copied whole."""


@dataclass(frozen=True, slots=True)
class Body:
    """A message as the app meant it: dots unstuffed, every line ending CRLF, empty or ending with CRLF."""

    content: bytes | bytearray
    """All of it, or its beginning where there is a file."""
    eight_bit: bool = False
    file: IO[bytes] | None = None
    """All of it, when it is large: a file without a name, so that nothing is left behind whatever happens to the
    process, or a file of the spool."""
    size: int | None = None
    offset: int = 0
    """Where it begins in the file."""
    checksum: tuple[int, int] | None = None
    """CRC-32 before its first byte and after its last, where somebody else can write to the file."""

    def __len__(self) -> int:
        return len(self.content) if self.size is None else self.size

    def blocks(self, *, start: int = 0) -> Iterator[bytes]:
        """All of it from byte `start` on, 64 KiB at a time.

        Raises Damaged, at the latest instead of ending, when the file has changed, and StoreFailed when the disk does
        not give it: who sends these blocks must not send the end of data then. A `checksum` is compared only if
        `start` lies within `content`.
        """
        content = memoryview(self.content)
        for place in range(start, len(content), BLOCK):
            yield bytes(content[place : place + BLOCK])
        if self.file is not None:
            yield from self._from_file(self.file.fileno(), start=max(start, len(content)))

    def _from_file(self, file: int, *, start: int) -> Iterator[bytes]:
        place, end = self.offset + start, self.offset + len(self)
        before, after = self.checksum or (0, 0)
        crc = zlib.crc32(self.content, before)
        while place < end:
            try:
                block = os.pread(file, min(BLOCK, end - place), place)
            except OSError as error:
                raise StoreFailed(f"its disk failed: {error.strerror}") from None
            if not block:
                raise Damaged("its file has become shorter")
            crc = zlib.crc32(block, crc)
            yield block
            place += len(block)
        if self.checksum and crc != after:
            raise Damaged("its file has been changed")

    def close(self) -> None:
        """Let go of the file; what has none needs no closing."""
        if self.file is not None:
            self.file.close()


class BodyReader:
    """Takes chunks of any size; keeps at most `size_limit` octets, and at most `MEMORY` of them in memory."""

    def __init__(self, *, size_limit: int, line_endings: LineEndings, scratch: Path | None = None) -> None:
        self.size_limit, self.scratch = size_limit, scratch
        self.file: IO[bytes] | None = None
        self.normalize = line_endings == "Normalize"
        self.held = b"\r\n"
        # DATA's own line end stands before the first line, so that the first line is like every other; it is cut off
        # the front of what is decoded.
        self.cut = 2
        self.before = b""
        self.content = bytearray()
        self.size = 0
        self.eight_bit = False
        self.fault: Refused | None = None

    def feed(self, chunk: bytes) -> bytes | None:
        """None while the data goes on; at its end the octets that came behind it."""
        octets = self.held + chunk
        end = _end(octets)
        if end >= 0:
            self.held = b""
            self.decode(octets[: end + 2])
            return octets[end + len(END) :]
        keep = HOLD if octets[-HOLD - 1 : -HOLD] != b"\r" else HOLD + 1
        self.held = octets[-keep:]
        self.decode(octets[:-keep])
        return None

    def body(self) -> Body:
        """The whole message. Raises Refused when it holds what must not be handed on, or too much of it."""
        if self.size > self.size_limit:
            raise Refused(replies.filled(replies.TOO_BIG, limit=self.size_limit))
        if self.fault:
            raise self.fault
        return Body(self.content, self.eight_bit, self.file, self.size)

    def decode(self, piece: bytes) -> None:
        """Append what `piece` means; it never ends between CR and LF."""
        if not piece:
            return
        octets = self.line_ends(self.before + piece)
        decoded = octets.replace(b"\r\n.", b"\r\n") if b"." in octets and DOT_LINE.search(octets) else octets
        decoded = decoded[len(self.before) + self.cut :]
        self.before, self.cut = (b"\r\n" if octets.endswith(b"\r\n") else b""), 0
        self.size += len(decoded)
        self.eight_bit = self.eight_bit or not decoded.isascii()
        if self.size > self.size_limit or self.fault:
            self.content.clear()
            self.file = None
        else:
            self.keep(decoded)

    def keep(self, decoded: bytes) -> None:
        """In memory, or in a file once there is more than belongs there. A full disk is a fault."""
        if self.file is None and len(self.content) + len(decoded) <= MEMORY:
            self.content += decoded
            return
        try:
            if self.file is None:
                from tempfile import TemporaryFile  # 0.7 MB with what it imports, and most pods send nothing so large

                self.file = TemporaryFile(dir=self.scratch, buffering=0)  # noqa: SIM115  # lives as long as the body
                self._write(self.content)
                self.content += decoded[: MEMORY - len(self.content)]
            self._write(decoded)
        except OSError:
            self.fault = Refused(replies.DISK_FULL)
            self.file = None
            self.content.clear()

    def _write(self, octets: bytes | bytearray) -> None:
        assert self.file is not None  # noqa: S101  # for the type checker
        rest = memoryview(octets)
        while rest:
            rest = rest[self.file.write(rest) :]

    def line_ends(self, octets: bytes) -> bytes:
        """The octets with CRLF only, or a fault noted."""
        endings = IncrementalNewlineDecoder(None, translate=False)
        endings.decode(octets.decode("latin-1"), final=True)
        found = () if endings.newlines == "\r\n" else endings.newlines or ()
        if "\r" in found:
            self.fault = self.fault or Refused(replies.BODY_LONE_CR)
        if b"\0" in octets:
            self.fault = self.fault or Refused(replies.BODY_NUL)
        if "\n" not in found:
            return octets
        if not self.normalize:
            self.fault = self.fault or Refused(replies.BODY_LONE_LF)
        return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _end(octets: bytes) -> int:
    """Where END begins; -1 when it is not there."""
    if b"." not in octets:  # an attachment in base64, most of the time
        return -1
    for match in DOT_AT_END.finditer(octets):
        if octets.endswith(b"\r\n", 0, match.start()):
            return match.start() - 2
    return -1
