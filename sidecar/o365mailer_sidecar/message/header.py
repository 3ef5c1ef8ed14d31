"""The header of a message: where it begins and ends in the bytes, and the fields that the relay looks at.

A header ends at the first empty line, or before the first line that is not a field (RFC 5322 §2.1, §2.2). Every pattern
runs in linear time and constant memory, whatever the bytes: quantifiers are possessive, and no group is repeated.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Final

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message import body

Content = bytes | bytearray

Field = tuple[bytes, slice, bytes]
"""One field: its name in lower case; its place in `Header.content`, with its last CRLF; and its value, which is what
follows the colon, with the CRLFs of its folds and without the last one."""

FIELD: Final = re.compile(rb"([!-9;-~]++)[ \t]*+:")
"""A field's name: ftext alone, and the spaces before the colon that old programs write (RFC 5322 §2.2, §4.5.8)."""

NO_FIELD: Final = re.compile(rb"\n(?![ \t]|[!-9;-~]++[ \t]*+:)")
"""The end of the last line before one that is neither a field nor the folded rest of one."""

FIELD_END: Final = re.compile(rb"\n(?![ \t])")
"""The end of a field that may be folded (RFC 5322 §2.2.3)."""

LINE_START: Final = rb"(?<![^\n])"

AUTHOR_NAMES: Final = frozenset({b"from", b"sender"})
COUNTED: Final = AUTHOR_NAMES | {b"date", b"message-id", b"bcc", b"resent-bcc", b"received"}
LATER_COUNTED: Final = re.compile(rb"\n(" + b"|".join(sorted(COUNTED)) + rb")[ \t]*+:", re.IGNORECASE)
"""One of these fields, if it is not the first. The literal LF lets `re` skip to the next line at the speed of memchr,
which LINE_START does not: this one runs for every message."""

# --- From and Sender as some readers find them -----------------------------------------------------------------------

AUTHOR: Final = re.compile(LINE_START + rb"(from|sender)[ \t\r\n]*+:", re.IGNORECASE)
"""The name may be folded before its colon: no RFC allows it, but a reader that unfolds first finds the field."""

INVISIBLE: Final = rb"[^!-~]*+"
DISGUISED: Final = re.compile(
    LINE_START + rb"([^!-~\n]*+(?:" + INVISIBLE.join((b"f", b"r", b"o", b"m")) + b"|"
    + INVISIBLE.join((rb"(?:s|(?<=\xc5\xbf))", b"e", b"n", b"d", b"e", b"r")) + b")" + INVISIBLE + b"):",
    re.IGNORECASE,
)  # fmt: skip
"""From or Sender with bytes in the name that a reader may trim or skip: VT, FF, a no-break space, anything that is not
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


class Header:
    """Where the header of a message stands: places, no copies, because messages wait and headers may be long.

    `content` is the message, or the first `body.MEMORY` bytes of it. It is copied only if bytes are dropped before it.
    """

    __slots__ = ("complete", "content", "count", "dropped", "end", "first", "judged")

    def __init__(self, content: Content) -> None:
        limit = body.MEMORY
        cut = len(content) >= limit
        first = FIELD.match(content, 0, limit)
        self.dropped = 0 if first else _dropped(content)
        """Bytes before the header that are not sent: an mbox line or a BOM."""
        if self.dropped:
            content, limit = content[self.dropped :], limit - self.dropped
            first = FIELD.match(content, 0, limit)
        self.content = content
        self.end = 0
        """After the last field; 0 where the message has no header."""
        self.judged = 0
        """Authors are looked for up to here: beyond `end` where a line that is not a field ends the header."""
        self.complete = True
        """Whether the end was found in `content`."""
        self.count: dict[bytes, int] = {}
        """How many fields there are of each name in COUNTED; no entry for none."""
        self.first: dict[bytes, int] = {}
        """Where the value of the first From and of the first Sender begins."""
        if not first:
            if not content.startswith(b"\r\n"):
                self.judged = content.find(b"\n", 0, limit) + 1 or min(len(content), limit)
            return
        found = NO_FIELD.search(content, 0, limit)
        self.end = self.judged = found.end() if found else min(len(content), limit)
        # The last line of the part may be the beginning of a field whose colon is not in it.
        self.complete = not cut or (found is not None and content.find(b"\n", self.end, limit) >= 0)
        if not content.startswith(b"\r\n", self.end):
            empty_line = content.find(b"\r\n\r\n", self.end, limit)
            self.judged = empty_line + 2 if empty_line >= 0 else min(len(content), limit)
        for match in chain((first,), LATER_COUNTED.finditer(content, 0, self.end)):
            name = match[1].lower()
            if name in self.count:
                self.count[name] += 1
            elif name in COUNTED:
                self.count[name] = 1
                if name in AUTHOR_NAMES:
                    self.first[name] = match.end()

    @property
    def separated(self) -> bool:
        """Whether the empty line follows, or nothing at all."""
        return self.content[self.end : self.end + 2] == b"\r\n" or len(self.content) == self.end > 0

    def block(self) -> bytes:
        """A copy of the fields with their CRLFs; empty when the message begins with its body."""
        return bytes(self.content[: self.end])

    def fields(self, *names: bytes) -> Iterator[Field]:
        """The fields of these names, which are in lower case, in order."""
        for match in _named(names).finditer(self.content, 0, self.end):
            stop, value = self._rest(match.end(), self.end)
            yield match[1].lower(), slice(match.start(), stop), value

    def _rest(self, start: int, end: int) -> tuple[int, bytes]:
        """The end of the field whose value begins at `start`, and the value. The last field ends at `end`."""
        found = FIELD_END.search(self.content, start, end)
        stop = found.end() if found else end
        return stop, bytes(self.content[start : stop - 2 if self.content.endswith(b"\r\n", 0, stop) else stop])

    def author_values(self) -> dict[bytes, tuple[bytes, bool]]:
        """The values of From and Sender that some reader finds, by name, and whether each is in the header.

        Raises Refused for two of a name, for one that other readers do not find, and where the header does not end: a
        field after the part that was searched would not be judged.
        """
        if not self.complete:
            raise Refused(replies.filled(replies.HEADERS_TOO_BIG, limit=body.MEMORY // 2**10))
        self._check_disguised()
        found = {}
        for name, place in self.first.items():
            if self.count[name] > 1:
                raise _twice(name)
            found[name] = self._rest(place, self.end)[1], True
        if self.judged > self.end:
            for match in AUTHOR.finditer(self.content, self.end, self.judged):
                name = match[1].lower()
                if name in found:
                    raise _twice(name)
                found[name] = self._rest(match.end(), self.judged)[1], False
        return found

    def _check_disguised(self) -> None:
        """Raises Refused for a From or Sender that only some readers find."""
        content, end = self.content, self.judged
        if end > self.end:
            for match in DISGUISED.finditer(content, self.end, end):
                if not AUTHOR.match(match[1] + b":"):
                    raise _disguised(match[1])
        if MAY_SEPARATE.search(content, 0, end):
            for match in WITHIN_LINE.finditer(content, 0, end):
                if LINE_SEPARATOR.search(match[1]):
                    raise _disguised(match[0])

    def edited(self, replaced: Mapping[bytes, bytes]) -> bytes:
        """A copy of the fields, with those of these names replaced by whole fields or by nothing."""
        block, at = bytearray(), 0
        for name, place, _ in self.fields(*replaced) if replaced else ():
            block += self.content[at : place.start]
            block += replaced[name]
            at = place.stop
        block += self.content[at : self.end]
        return bytes(block)


@lru_cache(maxsize=16)  # the relay asks for a few sets of names, always the same
def _named(names: tuple[bytes, ...]) -> re.Pattern[bytes]:
    return re.compile(LINE_START + rb"(" + b"|".join(names) + rb")[ \t]*+:", re.IGNORECASE)


def _dropped(content: Content) -> int:
    """How many bytes stand before the header: mbox lines and a BOM, if a field follows them."""
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


def _twice(name: bytes) -> Refused:
    return Refused(replies.filled(replies.HEADER_TWICE, name=name.decode().capitalize()))


def _disguised(name: bytes) -> Refused:
    title = "Sender" if b"d" in name.lower() else "From"
    return Refused(replies.filled(replies.AUTHOR_DISGUISED, name=title))
