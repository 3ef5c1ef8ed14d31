"""A message on its way out: our head, the app's octets; for DATA with dots stuffed (RFC 5321 §4.5.2)."""

from collections.abc import Iterator
from datetime import datetime

from o365mailer_sidecar.mail.body import Body
from o365mailer_sidecar.mail.envelope import Envelope
from o365mailer_sidecar.mail.message import head, header_block


class Outgoing:
    """`len` is what SIZE announces: the octets without stuffing (RFC 1870 §3)."""

    def __init__(
        self, body: Body, *, envelope: Envelope, mailbox: str, now: datetime, headers: bytes | None = None
    ) -> None:
        self.body = body
        self.headers = header_block(body.content)
        self.skipped = 0 if headers is None else len(self.headers)
        """Octets at the beginning of the body that `headers` stand for."""
        if headers is not None:
            self.headers = headers
        self.head = head(body.content, envelope=envelope, mailbox=mailbox, now=now, headers=headers)

    def __len__(self) -> int:
        return len(self.head) + len(self.body) - self.skipped

    @property
    def eight_bit(self) -> bool:
        """Whether 8BITMIME is needed."""
        return self.body.eight_bit or not self.headers.isascii()

    @property
    def utf8_headers(self) -> bool:
        """Whether SMTPUTF8 is needed for what stands before the first empty line."""
        return not self.headers.isascii()

    def whole(self) -> bytes:
        """The message in one piece: for one that is small."""
        return self.head + self.body.content[self.skipped :]

    def blocks(self) -> Iterator[bytes]:
        """The message as it is, for BDAT."""
        pieces = self.body.blocks(start=self.skipped)
        yield self.head + next(pieces, b"")
        yield from pieces

    def stuffed(self) -> Iterator[bytes]:
        """The message as DATA has it, without the end of data."""
        before = b"\r\n"
        for piece in self.blocks():
            octets = before + piece
            yield octets.replace(b"\r\n.", b"\r\n..")[len(before) :]
            before = octets[-2:]
