"""The header of a message: where it begins and ends in the bytes, and the fields that the relay looks at.

A header ends at the first empty line, or before the first line that is no field (RFC 5322 §2.1, §2.2). Every pattern
runs in linear time and constant memory, whatever the bytes: quantifiers are possessive, and no group is repeated.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message import body

Content = bytes | bytearray


class LinePattern:
    """A pattern that matches at the beginning of a line, the first one too, without regard to case."""

    def __init__(self, pattern: bytes) -> None:
        self.first = re.compile(pattern, re.IGNORECASE)
        # A literal in front lets `re` skip to the next line at the speed of memchr, which `^` does not.
        self.later = re.compile(rb"\n" + pattern, re.IGNORECASE)

    def finditer(self, content: Content, start: int, end: int) -> Iterator[re.Match[bytes]]:
        """Every match between `start`, which is the beginning of a line, and `end`."""
        if match := self.first.match(content, start, end):
            yield match
        yield from self.later.finditer(content, start, end)


FIELD: Final = re.compile(rb"[!-9;-~]++[ \t]*+:")
"""A field's name: ftext alone, and the spaces before the colon that old programs write (RFC 5322 §2.2, §4.5.8)."""

NO_FIELD: Final = re.compile(rb"\n(?![ \t]|[!-9;-~]++[ \t]*+:)")
"""The end of the last line before one that is neither a field nor the folded rest of one."""

FIELD_END: Final = re.compile(rb"\n(?![ \t])")
"""The end of a field that may be folded (RFC 5322 §2.2.3)."""


@lru_cache(maxsize=16)  # the sidecar asks for a few sets of names, always the same
def _named(*names: bytes) -> LinePattern:
    """Fields of these names, in lower case."""
    return LinePattern(rb"(" + b"|".join(names) + rb")[ \t]*+:")


# --- From and Sender as some readers find them -----------------------------------------------------------------------

AUTHOR: Final = LinePattern(rb"(from|sender)[ \t\r\n]*+:")
"""The name may be folded before its colon: no RFC allows it, but a reader that unfolds first finds the field."""

INVISIBLE: Final = rb"[^!-~]*+"
DISGUISED: Final = LinePattern(
    rb"([^!-~\n]*+(?:" + INVISIBLE.join((b"f", b"r", b"o", b"m")) + b"|"
    + INVISIBLE.join((rb"(?:s|(?<=\xc5\xbf))", b"e", b"n", b"d", b"e", b"r")) + b")" + INVISIBLE + b"):"
)  # fmt: skip
"""From or Sender with bytes in the name that a reader may trim or skip: VT, FF, a no-break space, anything that is no
ftext (RFC 5322 §3.6.8). U+017F is an `s` to a reader that ignores case."""

LINE_SEPARATOR: Final = re.compile(rb"[\x0b\x0c\x1c-\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9]")
MAY_SEPARATE: Final = re.compile(rb"[\x0b\x0c\x1c-\x1e\x85\xa8\xa9]")
"""The last byte of each: one set, which is searched for much faster."""
WITHIN_LINE: Final = re.compile(rb"(?<![^!-~\n])([^!-~\n]++)(?:from|sender)[^!-~\n]*+:", re.IGNORECASE)
"""From or Sender after anything but ftext: the beginning of a line for a reader that splits lines as Python's
`str.splitlines` does, if LINE_SEPARATOR is there."""

# --- What stands before the header -----------------------------------------------------------------------------------

BOM: Final = b"\xef\xbb\xbf"
MBOX: Final = re.compile(rb">*+From [^\n]*+\n")
"""The line that begins a message in an mbox file, quoted or not (RFC 4155 appendix A, RFC 976 §2.4)."""
DROPPED_LIMIT: Final = 20
"""Lines of that kind that are looked at; where more stand first, it is text."""
TIME_OF_DAY: Final = re.compile(rb"[0-9]:[0-9][0-9]")
FOLDED: Final = re.compile(rb"[ \t][^\n]*+\n")


class Field(NamedTuple):
    """One field of a header; its places are those in the message."""

    name: bytes
    """In lower case."""
    place: slice
    """All of it with its last CRLF."""
    value: slice
    """What stands after the colon, folding included, without the last CRLF."""


@dataclass(frozen=True, slots=True)
class Header:
    """Where the header of a message stands: places, no copies: messages wait, and headers may be long."""

    content: Content
    """The message, or the first `body.MEMORY` bytes of it."""
    start: int
    """Before it stand an mbox line or a BOM, which are not sent."""
    end: int
    """After the last field; equal to `start` where the message has no header."""
    judged: int
    """Authors are looked for up to here: beyond `end` where a line that is no field ends the header."""
    complete: bool
    """Whether the end was found in `content`."""

    @property
    def separated(self) -> bool:
        """Whether the empty line follows, or nothing at all."""
        return self.content[self.end : self.end + 2] == b"\r\n" or len(self.content) == self.end > self.start

    def block(self) -> bytes:
        """A copy of the fields with their CRLFs; empty when the message begins with its body."""
        return bytes(self.content[self.start : self.end])

    def value(self, field: Field) -> bytes:
        """What stands after the field's colon."""
        return bytes(self.content[field.value])

    def present(self, *names: bytes) -> set[bytes]:
        """Those of these names, in lower case, that a field has."""
        return {match[1].lower() for match in _named(*names).finditer(self.content, self.start, self.end)}

    def count(self, name: bytes) -> int:
        """How many fields of this name there are."""
        return sum(1 for _ in _named(name).finditer(self.content, self.start, self.end))

    def fields(self, *names: bytes) -> Iterator[Field]:
        """Those of these names, in order."""
        return _fields(_named(*names), self.content, self.start, self.end)

    def authors(self) -> Iterator[Field]:
        """Every From and Sender that some reader finds.

        Raises Refused for one that other readers do not find, and where the header does not end: a field after the part
        that was searched would not be judged.
        """
        if not self.complete:
            raise Refused(replies.filled(replies.HEADERS_TOO_BIG, limit=body.MEMORY // 2**10))
        content, start, end = self.content, self.start, self.judged
        if end > self.end:
            for match in DISGUISED.finditer(content, self.end, end):
                if not AUTHOR.first.match(match[1] + b":"):
                    raise _disguised(match[1])
        if MAY_SEPARATE.search(content, start, end):
            for match in WITHIN_LINE.finditer(content, start, end):
                if LINE_SEPARATOR.search(match[1]):
                    raise _disguised(match[0])
        return _fields(AUTHOR, content, start, end)


def read(content: Content) -> Header:
    """The header of a message, or of its first `body.MEMORY` bytes."""
    limit = body.MEMORY
    cut = len(content) >= limit
    start = _start(content)
    if content.startswith(b"\r\n", start):
        return Header(content, start, start, start, complete=True)
    if not FIELD.match(content, start, limit):
        line = content.find(b"\n", start, limit) + 1
        return Header(content, start, start, line or min(len(content), limit), complete=True)
    found = NO_FIELD.search(content, start, limit)
    end = found.end() if found else min(len(content), limit)
    # The last line of the part may be the beginning of a field whose colon is not in it.
    complete = not cut or (found is not None and content.find(b"\n", end, limit) >= 0)
    if content.startswith(b"\r\n", end):
        return Header(content, start, end, end, complete)
    empty_line = content.find(b"\r\n\r\n", end, limit)
    return Header(content, start, end, empty_line + 2 if empty_line >= 0 else min(len(content), limit), complete)


def _start(content: Content) -> int:
    """Where the header begins: after mbox lines and a BOM, if a field follows them."""
    at, dated = 0, False
    for _ in range(DROPPED_LIMIT):
        if FIELD.match(content, at):
            return at
        if content.startswith(BOM, at):
            at += len(BOM)
        elif line := MBOX.match(content, at):
            at, dated = line.end(), bool(TIME_OF_DAY.search(line[0]))
            while folded := FOLDED.match(content, at):
                at = folded.end()
        else:
            # Where no field follows, it may be text that begins with the word From: that has no time of day in it.
            return at if dated and content.startswith(b"\r\n", at) else 0
    return 0


def _fields(pattern: LinePattern, content: Content, start: int, end: int) -> Iterator[Field]:
    for match in pattern.finditer(content, start, end):
        stop = FIELD_END.search(content, match.end(), end)
        place = slice(match.start(1), stop.end() if stop else end)
        value = slice(match.end(), place.stop - 2 if content.endswith(b"\r\n", 0, place.stop) else place.stop)
        yield Field(match[1].lower(), place, value)


def _disguised(name: bytes) -> Refused:
    title = "Sender" if b"d" in name.lower() else "From"
    return Refused(replies.filled(replies.AUTHOR_DISGUISED, name=title))
