"""One SMTP reply: ours to the app, or Exchange's to us."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

TEXT_LIMIT: Final = 200
"""Octets of Exchange's text that an app or a log gets to see: with MAPI diagnostics it can be 3 kB long."""

DIAGNOSTICS: Final = "[BeginDiagnosticData]"
"""Where Exchange's own words end and a dump of its internals begins (seen in 554 5.2.252, November 2025)."""

ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
"""An enhanced status code at the start of a reply's text (RFC 2034 §4)."""


class Reply(NamedTuple):
    """A code, an enhanced code (RFC 3463; empty when there is none) and a text of one line."""

    code: int
    enhanced: str
    text: str

    def line(self, queue_id: str = "") -> bytes:
        """The reply on the wire, CRLF included; a final reply ends with the queue id of its message."""
        return _line(self, f"[{queue_id}]") if queue_id else _constant_line(self)


def _line(reply: Reply, behind: str = "") -> bytes:
    words = (str(reply.code), reply.enhanced, reply.text, behind)
    return " ".join(filter(None, words)).encode("ascii", "replace") + b"\r\n"


_constant_line = lru_cache(maxsize=32)(_line)  # the same few answer nearly all commands


@lru_cache(maxsize=16)  # those to MAIL and RCPT
def upstream_reply(code: int, text: str) -> Reply:
    """What Exchange answered, shortened: its lines joined, cut at the diagnostics and at 200 characters.

    `text` is everything behind the code, its lines joined by LF; each may repeat the enhanced code (RFC 2034 §4).
    """
    lines = text.splitlines() or [""]
    match = ENHANCED.match(lines[0])
    enhanced = match[1] if match else ""
    words = " ".join(line.removeprefix(enhanced).strip() for line in lines)
    return Reply(code, enhanced, shortened(words))


def shortened(text: str) -> str:
    """Printable ASCII, one line, at most 200 characters, without diagnostics."""
    text = text.partition(DIAGNOSTICS)[0]
    if not (text.isascii() and text.isprintable()):
        text = "".join(letter if " " <= letter <= "~" else " " for letter in text)
    text = " ".join(text.split())
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 3].rstrip() + "..."
