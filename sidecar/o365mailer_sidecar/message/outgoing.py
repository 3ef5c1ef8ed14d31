"""A message on its way out: the changes of its header, then its body byte for byte, with dots stuffed for DATA.

docs/sidecar.md has every change of a header, when it is made and why; nothing else is changed.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Final

from o365mailer_sidecar.message.body import DOT_LINE
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.policy import Applied
from o365mailer_sidecar.message.rewrite import as_mailbox

DROPPED: Final = frozenset({b"bcc", b"resent-bcc"})
"""What only the sender may see (RFC 5322 §3.6.3, §3.6.6)."""

DOMAIN: Final = re.compile(r"[A-Za-z0-9.-]+")


class Outgoing:
    """What Exchange gets. Make it when there is a connection: it copies the header, which may be long, to change it."""

    __slots__ = ("body", "eight_bit", "envelope", "head", "size", "skipped", "utf8_headers", "utf8_written")

    def __init__(self, applied: Applied) -> None:
        header, policy = applied.message.header, applied.policy
        self.body, self.envelope = applied.message.body, applied.envelope
        lines = _added_fields(applied)
        if policy.recipients.redirect_to:
            lines += original_recipients(applied.message.envelope)
        replaced = dict.fromkeys(header.count.keys() & DROPPED, b"")
        if applied.rewritten:
            replaced |= as_mailbox(header, mailbox=policy.mailbox, allows=policy.allows)
        separated = header.separated
        self.head = lines
        """What is sent instead of the first `skipped` bytes of the body."""
        self.skipped = 0
        if replaced or header.dropped or (header.end and not separated):
            self.head += header.edited(replaced)
            self.skipped = header.dropped + header.end
        if not separated:
            self.head += b"\r\n"
        self.size = len(self.head) + len(self.body) - self.skipped
        """Bytes without stuffing: what SIZE announces (RFC 1870 §3)."""
        self.eight_bit = self.body.eight_bit or not self.head.isascii()
        """Whether 8BITMIME is needed."""
        self.utf8_headers = self.eight_bit and not (self.head.isascii() and (self.skipped or header.block().isascii()))
        """Whether the header holds 8-bit bytes, so that an app that asked for SMTPUTF8 may need it."""
        self.utf8_written = self.eight_bit and _is_utf8(lines + b"".join(replaced.values()))
        """Whether a field that the relay wrote holds UTF-8: then SMTPUTF8 is needed, asked for or not (RFC 6531 §3.4).
        8-bit text in another encoding, which an app wrote, is copied; it is no reason to announce UTF-8."""

    def stuffed(self) -> Iterator[bytes]:
        """The message as DATA has it, without the end of data: one block at least (RFC 5321 §4.5.2).

        Raises Damaged and StoreFailed as `Body.blocks` does.
        """
        pieces = self.body.blocks(start=self.skipped)
        before = b"\r\n"
        for piece in chain((self.head + next(pieces, b""),), pieces):
            data = before + piece
            stuffed = data.replace(b"\r\n.", b"\r\n..") if DOT_LINE.search(data) else data
            yield stuffed[len(before) :]
            before = data[-2:]


def _added_fields(applied: Applied) -> bytes:
    """Received, and each of From, Date and Message-ID that is absent (RFC 6409 §8).

    Received carries the queue id and neither the client's name nor its address (RFC 5321 §4.4 would have both: they
    say where in a cluster an app runs).
    """
    envelope, present, at = applied.envelope, applied.message.header.count, applied.message.received
    date = date_time(at)
    lines = f"Received: by o365mailer with {envelope.protocol} id {envelope.queue_id};\r\n\t{date}\r\n"
    if b"from" not in present:
        lines += f"From: {applied.policy.author_without_from(envelope)}\r\n"
    if b"date" not in present:
        lines += f"Date: {date}\r\n"
    if b"message-id" not in present:
        domain = _domain(envelope.sender.address) or _domain(applied.policy.mailbox) or "o365mailer.invalid"
        stamp = f"{at.year}{at.month:02}{at.day:02}{at.hour:02}{at.minute:02}{at.second:02}"
        lines += f"Message-ID: <{envelope.queue_id}.{stamp}@{domain}>\r\n"
    return lines.encode()


def date_time(moment: datetime) -> str:
    """As headers have it (RFC 5322 §3.3).

    `email.utils` writes the same, but it and its imports cost 0.8 MB. `ctime`, whose words are English in any locale,
    takes a tenth of the time of `strftime`.
    """
    weekday, month, day, time, year = moment.ctime().split()
    zone = "+0000" if moment.tzinfo is UTC else moment.strftime("%z")
    return f"{weekday}, {day:0>2} {month} {year} {time} {zone}"


def _domain(address: str) -> str:
    """The domain of an address if it can stand in a Message-ID; else the empty text."""
    _, at, domain = address.rpartition("@")
    return domain if at and DOMAIN.fullmatch(domain) else ""


def original_recipients(envelope: Envelope) -> bytes:
    """The field that says where a redirected message would have gone: every recipient of the envelope, Bcc included."""
    paths = ",\r\n ".join(f"<{recipient.address}>" for recipient in envelope.recipients)
    return f"X-Original-To: {paths}\r\n".encode()


def _is_utf8(written: bytes) -> bool:
    """Whether it holds UTF-8 that is not ASCII."""
    try:
        return not written.isascii() and bool(written.decode())
    except UnicodeDecodeError:
        return False
