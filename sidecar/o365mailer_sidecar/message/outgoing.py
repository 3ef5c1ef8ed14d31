"""A message on its way out: the changes of its header, then its body byte for byte, with dots stuffed for DATA.

docs/sidecar.md has every change of a header, when it is made and why; nothing else is changed.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Final

from o365mailer_sidecar.message.added import ADDED, added_fields
from o365mailer_sidecar.message.body import DOT_LINE, Body
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.header import read
from o365mailer_sidecar.message.policy import Applied
from o365mailer_sidecar.message.rewrite import edited

DROPPED: Final[tuple[bytes, ...]] = (b"bcc", b"resent-bcc")
"""What only the sender may see (RFC 5322 §3.6.3, §3.6.6)."""


def is_utf8(octets: bytes) -> bool:
    """Whether it can be read as UTF-8."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


class Outgoing:
    """`len` is what SIZE announces: the bytes without stuffing (RFC 1870 §3).

    What is sent before the body is made when it is asked for: a message may wait for its connection, and its header may
    be long.
    """

    def __init__(
        self, body: Body, *, envelope: Envelope, mailbox: str, now: datetime, applied: Applied | None = None
    ) -> None:
        self.body, self.envelope, self.mailbox, self.now, self.applied = body, envelope, mailbox, now, applied
        self.header = applied.header if applied else read(body.content)

    @cached_property
    def _written(self) -> tuple[bytes, dict[bytes, bytes]]:
        """The fields that the relay puts before the header, and by name what replaces fields in it."""
        names = self.header.present(*ADDED, *DROPPED)
        lines = added_fields(names, envelope=self.envelope, mailbox=self.mailbox, now=self.now)
        replaced: dict[bytes, bytes] = {name: b"" for name in DROPPED if name in names}
        if self.applied:
            lines += self.applied.added()
            replaced |= self.applied.replaced()
        return lines, replaced

    @cached_property
    def head(self) -> bytes:
        """What is sent before the rest of the body."""
        lines, replaced = self._written
        if not self.skipped:
            return lines if self.header.separated else lines + b"\r\n"
        return lines + edited(self.header, replaced) + (b"" if self.header.separated else b"\r\n")

    @cached_property
    def skipped(self) -> int:
        """Bytes at the beginning of the body that `head` stands for: its header, if that is not sent as it is."""
        header = self.header
        unchanged = not (self._written[1] or header.start) and (header.separated or header.end == 0)
        return 0 if unchanged else header.end

    def __len__(self) -> int:
        return len(self.head) + len(self.body) - self.skipped

    @property
    def eight_bit(self) -> bool:
        """Whether 8BITMIME is needed."""
        return self.body.eight_bit or not self.head.isascii()

    @property
    def utf8_headers(self) -> bool:
        """Whether the header of the message holds UTF-8, so that an app that asked for SMTPUTF8 may need it."""
        content = self.header.content
        return not (self.head.isascii() and content[self.skipped : self.header.end].isascii())

    @property
    def utf8_written(self) -> bool:
        """Whether a field that the relay wrote holds UTF-8: then SMTPUTF8 is needed, asked for or not (RFC 6531 §3.4).

        8-bit text in another encoding, which an app wrote, is copied; it is no reason to announce UTF-8.
        """
        lines, replaced = self._written
        written = lines + b"".join(replaced.values())
        return not written.isascii() and is_utf8(written)

    def stuffed(self) -> Iterator[bytes]:
        """The message as DATA has it, without the end of data: one block at least (RFC 5321 §4.5.2)."""
        pieces = self.body.blocks(start=self.skipped)
        before = b"\r\n"
        for piece in chain((self.head + next(pieces, b""),), pieces):
            octets = before + piece
            stuffed = octets.replace(b"\r\n.", b"\r\n..") if DOT_LINE.search(octets) else octets
            yield stuffed[len(before) :]
            before = octets[-2:]
