"""The fields that the relay adds to a message: Received, and From, Date and Message-ID where they are absent."""

import re
from collections.abc import Collection
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final

from o365mailer_sidecar.message.address_list import is_address
from o365mailer_sidecar.message.envelope import Envelope

DOMAIN: Final = re.compile(r"[A-Za-z0-9.-]+")

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


ADDED: Final = (b"from", b"date", b"message-id")
"""What is added when it is absent."""


def added_fields(present: Collection[bytes], *, envelope: Envelope, mailbox: str, now: datetime) -> bytes:
    """Received, and each of the others whose name in lower case is not `present` (RFC 6409 §8).

    Received carries the queue id and neither the client's name nor its address (RFC 5321 §4.4 would have both: they
    say where in a cluster an app runs).
    """
    date, stamp = _stamps(now.replace(microsecond=0), now.tzinfo)
    lines = [f"Received: by o365mailer with {envelope.protocol} id {envelope.queue_id};\r\n\t{date}"]
    if b"from" not in present:
        lines.append(f"From: {added_author(envelope, mailbox=mailbox)}")
    if b"date" not in present:
        lines.append(f"Date: {date}")
    if b"message-id" not in present:
        lines.append(f"Message-ID: <{envelope.queue_id}.{stamp}@{_domain(envelope, mailbox)}>")
    return "".join(f"{line}\r\n" for line in lines).encode()


def added_author(envelope: Envelope, *, mailbox: str) -> str:
    """Who a message without From is from: the reverse-path of an envelope that policy was applied to, or the mailbox.

    Exchange takes none without ("no longer accepted", 550 5.7.512).
    """
    return envelope.sender.address if is_address(envelope.sender.address) else mailbox


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
