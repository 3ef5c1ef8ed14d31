"""The bytes between 354 and CRLF.CRLF, decoded as they come (RFC 5321 §4.5.2).

Only CRLF.CRLF ends the data: LF.LF, LF.CRLF and CR.CR do not, because SMTP smuggling lives on hosts that take one of
them for the end. What a lone LF becomes is decided before the dots are looked at, so that no host after us reads a line
where we saw none.
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
"""Bytes held back at the edge of a chunk: they may begin the end of the data."""

DOT_LINE: Final = re.compile(rb"\n\.")
DOT_AT_END: Final = re.compile(rb"\.\r\n")
"""Patterns, because `bytes.find`, `count` and `replace` look for two or more bytes one by one, at four times the cost
(CPython 3.11)."""

LineEndings = Literal["Normalize", "Reject"]

MEMORY: Final = 2**18
"""Bytes of a message that are held in memory; a larger message goes to a file."""

BLOCK: Final = 2**16
"""Bytes read at once: a message is never copied whole."""


@dataclass(frozen=True, slots=True)
class Body:
    """A message as the app meant it: dots unstuffed, every line ending CRLF, empty or ending with CRLF."""

    content: bytes | bytearray
    """All of it, or its beginning where there is a file."""
    eight_bit: bool = False
    file: IO[bytes] | None = None
    """All of it, when it is large: a file without a name, so that nothing is left whatever happens to the
    process, or a file of the spool."""
    size: int | None = None
    offset: int = 0
    """Where it begins in the file."""
    checksum: tuple[int, int] | None = None
    """CRC-32 before its first byte and after its last, if another program can write to the file."""

    def __len__(self) -> int:
        return len(self.content) if self.size is None else self.size

    def blocks(self, *, start: int = 0) -> Iterator[bytes]:
        """All of it from byte `start` on, 64 KiB at a time.

        Raises Damaged, at the latest instead of ending, when the file has changed, and StoreFailed when the disk cannot
        read it: the end of data must not be sent then. A `checksum` is compared only if `start` lies within `content`.
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
        """Close the file, if there is one."""
        if self.file is not None:
            self.file.close()


class BodyReader:
    """Takes chunks of any size; keeps at most `size_limit` bytes, and at most `MEMORY` of them in memory."""

    def __init__(self, *, size_limit: int, line_endings: LineEndings, scratch: Path | None = None) -> None:
        self.size_limit, self.scratch = size_limit, scratch
        self.file: IO[bytes] | None = None
        self.normalize = line_endings == "Normalize"
        self.held = b"\r\n"
        """Not decoded yet. At first the line end of DATA itself, so that the first line is like every other."""
        self.cut = 2
        """Bytes of that line end that are still to be cut off the front of what is decoded."""
        self.before = b""
        """The line end that was decoded last, if nothing has followed it."""
        self.content = bytearray()
        self.size = 0
        self.eight_bit = False
        self.fault: Refused | None = None

    def feed(self, chunk: bytes) -> bytes | None:
        """None while the data goes on; at its end the bytes that came after it."""
        data = self.held + chunk
        end = _end(data)
        if end >= 0:
            self.held = b""
            self._decode(data[: end + 2])
            return data[end + len(END) :]
        keep = HOLD if data[-HOLD - 1 : -HOLD] != b"\r" else HOLD + 1
        self.held = data[-keep:]
        self._decode(data[:-keep])
        return None

    def body(self) -> Body:
        """The whole message. Raises Refused when it is too large, and for bytes that must not go on to Exchange."""
        if self.size > self.size_limit:
            raise Refused(replies.filled(replies.TOO_BIG, limit=self.size_limit))
        if self.fault:
            raise self.fault
        return Body(self.content, self.eight_bit, self.file, self.size)

    def _decode(self, piece: bytes) -> None:
        """Append what `piece` means; it never ends between CR and LF."""
        if not piece:
            return
        data = self._with_crlf(self.before + piece)
        decoded = data.replace(b"\r\n.", b"\r\n") if b"." in data and DOT_LINE.search(data) else data
        decoded = decoded[len(self.before) + self.cut :]
        self.before, self.cut = (b"\r\n" if data.endswith(b"\r\n") else b""), 0
        self.size += len(decoded)
        self.eight_bit = self.eight_bit or not decoded.isascii()
        if self.size > self.size_limit or self.fault:
            self.content.clear()
            self.file = None
        else:
            self._keep(decoded)

    def _keep(self, decoded: bytes) -> None:
        """Keep it in memory, or in a file once there is more than MEMORY. A full disk is a fault."""
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

    def _write(self, data: bytes | bytearray) -> None:
        assert self.file is not None  # noqa: S101  # for the type checker
        rest = memoryview(data)
        while rest:
            rest = rest[self.file.write(rest) :]

    def _with_crlf(self, data: bytes) -> bytes:
        """The bytes with no other line end than CRLF; notes a fault."""
        endings = IncrementalNewlineDecoder(None, translate=False)  # sees in one pass which kinds there are
        endings.decode(data.decode("latin-1"), final=True)
        found = () if endings.newlines == "\r\n" else endings.newlines or ()
        if "\r" in found:
            self.fault = self.fault or Refused(replies.BODY_LONE_CR)
        if b"\0" in data:
            self.fault = self.fault or Refused(replies.BODY_NUL)
        if "\n" not in found:
            return data
        if not self.normalize:
            self.fault = self.fault or Refused(replies.BODY_LONE_LF)
        return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _end(data: bytes) -> int:
    """Where END begins; -1 when it is not there."""
    if b"." not in data:  # an attachment in base64, most of the time
        return -1
    for match in DOT_AT_END.finditer(data):
        if data.endswith(b"\r\n", 0, match.start()):
            return match.start() - 2
    return -1
