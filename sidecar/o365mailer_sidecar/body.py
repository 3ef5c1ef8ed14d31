"""The octets between 354 and CRLF.CRLF, decoded as they come (RFC 5321 §4.5.2).

Only CRLF.CRLF ends the data: neither LF.LF nor LF.CRLF nor CR.CR does, which is what SMTP smuggling lives on. What a
lone LF becomes is decided before the dots are looked at, so that nobody behind us can read a line where we saw none.
"""

from dataclasses import dataclass
from typing import Final, Literal

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused

END: Final = b"\r\n.\r\n"
HOLD: Final = len(END) - 1
"""Octets held back at the edge of a chunk: they may begin the end of the data."""

LineEndings = Literal["Normalize", "Reject"]


@dataclass(frozen=True, slots=True)
class Body:
    """A message as the app meant it: dots unstuffed, every line ending CRLF, empty or ending with CRLF."""

    content: bytes | bytearray
    eight_bit: bool = False

    def __len__(self) -> int:
        return len(self.content)


class BodyReader:
    """Takes chunks of any size; keeps at most `size_limit` octets."""

    def __init__(self, *, size_limit: int, line_endings: LineEndings) -> None:
        self.size_limit = size_limit
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
        end = octets.find(END)
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
        return Body(self.content, self.eight_bit)

    def decode(self, piece: bytes) -> None:
        """Append what `piece` means; it never ends between CR and LF."""
        if not piece:
            return
        octets = self.line_ends(self.before + piece)
        decoded = octets.replace(b"\r\n.", b"\r\n")[len(self.before) + self.cut :]
        self.before, self.cut = (b"\r\n" if octets.endswith(b"\r\n") else b""), 0
        self.size += len(decoded)
        self.eight_bit = self.eight_bit or not decoded.isascii()
        if self.size > self.size_limit or self.fault:
            self.content.clear()
        else:
            self.content += decoded

    def line_ends(self, octets: bytes) -> bytes:
        """The octets with CRLF only, or a fault noted."""
        pairs = octets.count(b"\r\n")
        if octets.count(b"\r") != pairs:
            self.fault = self.fault or Refused(replies.BODY_LONE_CR)
        if b"\0" in octets:
            self.fault = self.fault or Refused(replies.BODY_NUL)
        if octets.count(b"\n") == pairs:
            return octets
        if not self.normalize:
            self.fault = self.fault or Refused(replies.BODY_LONE_LF)
        return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
