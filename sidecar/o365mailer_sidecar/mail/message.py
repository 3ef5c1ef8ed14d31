"""What stands before the app's octets when they leave: our Received line, and Date and Message-ID when absent.

Not one octet of the app's own is changed.
"""

import re
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final

from o365mailer_sidecar.mail.envelope import Envelope

HEADER_SCAN: Final = 2**18
"""Octets of a message that are searched for the end of its headers."""

FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")
"""A header field's name (RFC 5322 §2.2, §4.5.8)."""

DOMAIN: Final = re.compile(r"[A-Za-z0-9.-]+")

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

PRESENT: Final = re.compile(rb"^(date|message-id)[ \t]*:", re.IGNORECASE | re.MULTILINE)


def header_block(content: bytes | bytearray) -> bytes:
    """The headers with their CRLFs; empty when the message begins with its body."""
    if content.startswith(b"\r\n") or not FIELD.match(content):
        return b""
    end = content.find(b"\r\n\r\n", 0, HEADER_SCAN)
    return bytes(content[: end + 2 if end >= 0 else HEADER_SCAN])


def head(
    content: bytes | bytearray, *, envelope: Envelope, mailbox: str, now: datetime, headers: bytes | None = None
) -> bytes:
    """The lines to put before `content`.

    Received carries the queue id and neither the client's name nor its address (RFC 5321 §4.4 would have both: they
    say where in a cluster an app runs). A message that does not begin with a header also gets the empty line.
    `headers` are what stands there instead of the content's own header block, which is then to be left out.
    """
    own = header_block(content)
    present = {match[1].lower() for match in PRESENT.finditer(own)}
    date, stamp = _stamps(now.replace(microsecond=0), now.tzinfo)
    lines = [f"Received: by o365mailer with {envelope.protocol} id {envelope.queue_id};\r\n\t{date}"]
    if b"date" not in present:
        lines.append(f"Date: {date}")
    if b"message-id" not in present:
        lines.append(f"Message-ID: <{envelope.queue_id}.{stamp}@{_domain(envelope, mailbox)}>")
    block = "".join(f"{line}\r\n" for line in lines).encode("ascii")
    block += headers or b""
    return block if own or content.startswith(b"\r\n") else block + b"\r\n"


@lru_cache(maxsize=1)
def _stamps(second: datetime, zone: tzinfo | None) -> tuple[str, str]:  # noqa: ARG001  # equal times of two zones differ
    """The time as headers and as message ids have it: the same for all messages of a second."""
    return date_time(second), f"{second:%Y%m%d%H%M%S}"


def date_time(moment: datetime) -> str:
    """As headers have it (RFC 5322 §3.3). `email.utils` says the same, and with what it imports costs 0.8 MB."""
    day, month = DAYS[moment.weekday()], MONTHS[moment.month - 1]
    return f"{day}, {moment.day:02} {month} {moment:%Y %H:%M:%S %z}"


def _domain(envelope: Envelope, mailbox: str) -> str:
    for address in (envelope.sender.address, mailbox):
        domain = address.rpartition("@")[2]
        if "@" in address and DOMAIN.fullmatch(domain):
            return domain
    return "o365mailer.invalid"
