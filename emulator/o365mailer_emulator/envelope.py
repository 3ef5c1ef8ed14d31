"""The grammar of MAIL, RCPT and BDAT arguments (RFC 5321 §4.1.1, RFC 3030 §2)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_PATH = re.compile(r"\s*<(?:@[^:>]*:)?([^<>]*)>\s*(.*)", re.DOTALL)
_CHUNK = re.compile(r"([0-9]{1,19})(?: +(LAST))?", re.IGNORECASE)


@dataclass(frozen=True)
class Path:
    """An address (empty for the null reverse-path) with its ESMTP parameters."""

    address: str
    parameters: list[str]

    def size(self) -> int | None:
        """The value of SIZE= (RFC 1870). Raises ValueError if it is not a number."""
        for parameter in self.parameters:
            keyword, _, value = parameter.partition("=")
            if keyword.upper() == "SIZE":
                return int(value)
        return None


@dataclass
class Transaction:
    """A message that is being received."""

    reverse_path: str
    parameters: list[str]
    recipients: list[str] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)
    chunked: bool = False


def parse_path(argument: str, keyword: str) -> Path | None:
    """``FROM:<a@b> SIZE=1`` with ``keyword`` FROM; None if it has another form. Brackets are required."""
    head, colon, rest = argument.partition(":")
    found = _PATH.fullmatch(rest)
    if not colon or head.strip().upper() != keyword or found is None:
        return None
    address = found[1].strip()
    if address and ("@" not in address or any(character.isspace() for character in address)):
        return None
    return Path(address, found[2].split())


def parse_chunk(argument: str) -> tuple[int, bool] | None:
    """The bytes of a chunk and whether it is the last; None if the argument is neither ``n`` nor ``n LAST``."""
    found = _CHUNK.fullmatch(argument.strip())
    return (int(found[1]), found[2] is not None) if found else None
