"""The header fields that policy looks at, and where in the octets they stand (RFC 5322 §2.2)."""

import re
from dataclasses import dataclass
from typing import Final

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.mail.message import HEADER_SCAN

WATCHED: Final = re.compile(rb"^(from|sender|reply-to|received)(?:[ \t]|\r\n(?=[ \t]))*:", re.IGNORECASE | re.MULTILINE)
"""At the beginning of any line, folded in front of the colon too (no RFC allows it, but who unfolds first reads it):
what another reader could take for a field must not be missed."""

END: Final = re.compile(rb"\r\n(?![ \t])")
"""Where a field ends that may be folded (RFC 5322 §2.2.3)."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field; `place` is all of it with its last CRLF."""

    name: bytes
    """In lower case."""
    value: bytes
    """As it stands behind the colon, folding included, without the last CRLF."""
    place: slice


def fields(head: bytes) -> list[Field]:
    """The watched fields of a header block, in order. Raises Refused when its end was not found.

    A field that is hidden behind the part that is looked at would not be judged.
    """
    if len(head) >= HEADER_SCAN:
        raise Refused(replies.HEADERS_TOO_BIG)
    found = []
    for match in WATCHED.finditer(head):
        end = END.search(head, match.end())
        stop = end.start() if end else len(head)
        place = slice(match.start(), end.end() if end else len(head))
        found.append(Field(match[1].lower(), head[match.end() : stop], place))
    return found
