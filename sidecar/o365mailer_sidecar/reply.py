"""One SMTP reply: the relay's to the app, or Exchange's to the relay."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

TEXT_LIMIT: Final = 200
"""Characters of Exchange's text that the app and the log get: with MAPI diagnostics it can be 3 kB long."""

DIAGNOSTICS: Final = "[BeginDiagnosticData]"
"""After this Exchange dumps its internals (seen in 554 5.2.252, November 2025)."""

ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
"""An enhanced status code at the start of a reply's text (RFC 2034 §4)."""

MESSAGE_ID: Final = re.compile(r"(?<!\S)<([^\s<>@]+@[^\s<>@]+)>(?!\S)")
"""Exchange's identifier of a message that it accepts: `250 2.0.0 OK <…@….prod.outlook.com> [Hostname=…]`."""

TRAILER: Final = re.compile(r"\[(?:InternalId=\d{1,20}, ?)?Hostname=([A-Za-z0-9.-]{1,64})\]\s*$")
"""At the end of a verdict on a message: the server that gave it."""

STAMP: Final = re.compile(r"\[([A-Za-z0-9.-]{1,64}) \d{4}-\d\d-\d\dT[0-9:.]{5,16}Z ([0-9A-F]{8,32})\]\s*$")
"""At the end of a front end's reply, such as 535: its name, the time, and the id that Microsoft's support asks for."""


class Trace(NamedTuple):
    """Exchange's identifier of the message or the session, and the server that replied; empty if not given."""

    identifier: str
    hostname: str


class Reply(NamedTuple):
    """A code, an enhanced code (RFC 3463; empty when there is none) and a text of one line."""

    code: int
    enhanced: str
    text: str

    @property
    def positive(self) -> bool:
        """Whether it says yes (RFC 5321 §4.2.1)."""
        return 200 <= self.code < 300

    def line(self, queue_id: str = "") -> bytes:
        """The reply on the wire, with CRLF. The reply to a message ends with its queue id."""
        return _line(self, f"[{queue_id}]") if queue_id else _constant_line(self)


def _line(reply: Reply, end: str = "") -> bytes:
    words = (str(reply.code), reply.enhanced, reply.text, end)
    return " ".join(filter(None, words)).encode("ascii", "replace") + b"\r\n"


_constant_line = lru_cache(maxsize=32)(_line)  # a few replies answer nearly all commands


@lru_cache(maxsize=16)  # the replies to MAIL and RCPT repeat
def upstream_reply(code: int, text: str) -> Reply:
    """Exchange's reply, shortened: its lines joined, cut at the diagnostics and at 200 characters.

    `text` is the text of each line, with the line ends. Each line may repeat the enhanced code (RFC 2034 §4).
    """
    lines = text.splitlines() or [""]
    match = ENHANCED.match(lines[0])
    enhanced = match[1] if match else ""
    words = " ".join(line.removeprefix(enhanced).strip() for line in lines)
    return Reply(code, enhanced, shortened(words))


def shortened(text: str) -> str:
    """Printable ASCII, one line, at most 200 characters, without diagnostics. The name of the server stays."""
    trailer = TRAILER.search(text) or STAMP.search(text) if text.rstrip().endswith("]") else None
    last = f" {trailer[0].rstrip()}" if trailer else ""
    words = _plain(text[: trailer.start()] if trailer else text)
    room = TEXT_LIMIT - len(last)
    return ((words if len(words) <= room else words[: room - 3].rstrip() + "...") + last).lstrip()


def _plain(text: str) -> str:
    text = text.partition(DIAGNOSTICS)[0]
    if not (text.isascii() and text.isprintable()):
        text = "".join(letter if " " <= letter <= "~" else " " for letter in text)
    return " ".join(text.split())


def upstream_trace(text: str) -> Trace:
    """How to find the message or the session at Exchange, from a reply's text."""
    if stamp := STAMP.search(text):
        return Trace(stamp[2], stamp[1])
    identifier, trailer = MESSAGE_ID.search(text), TRAILER.search(text)
    return Trace(identifier[1] if identifier and trailer else "", trailer[1] if trailer else "")
