"""A message on its way out: our head, the app's bytes, with dots stuffed for DATA (RFC 5321 §4.5.2)."""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain

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

    @property
    def utf8_written(self) -> bool:
        """Whether a field that the relay wrote holds UTF-8: then SMTPUTF8 is needed, asked for or not."""
        if self.headers.isascii():
            return False
        apps = set(header_block(self.body.content).splitlines())
        return any(not line.isascii() for line in self.headers.splitlines() if line not in apps)

    def stuffed(self) -> Iterator[bytes]:
        """The message as DATA has it, without the end of data: one block at least."""
        pieces = self.body.blocks(start=self.skipped)
        before = b"\r\n"
        for piece in chain((self.head + next(pieces, b""),), pieces):
            octets = before + piece
            yield octets.replace(b"\r\n.", b"\r\n..")[len(before) :]
            before = octets[-2:]
