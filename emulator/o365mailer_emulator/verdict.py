"""What Exchange says at the end of data, where it decides on the sender, the size and the concurrency.

MAIL and RCPT are answered 250 before any of this is looked at; transcripts show the verdicts only here.
"""

from __future__ import annotations

from email.headerregistry import Address
from email.parser import BytesHeaderParser
from email.policy import default as modern

from o365mailer_emulator import replies
from o365mailer_emulator.tenancy import Mailbox, Settings


def refusal(*, content: bytes, reverse_path: str, mailbox: Mailbox, settings: Settings, crowded: bool) -> str | None:
    """The reply that refuses this message, or None. ``crowded``: the session is beyond the mailbox's connections."""
    if crowded:
        return replies.CONCURRENT
    if len(content) > settings.service_size:
        return replies.TOO_LARGE
    if len(content) > settings.message_size:
        return replies.MAILBOX_SIZE
    if has_lone_line_end(content):
        return replies.BARE_LINE_FEED
    authors, sender = _authors(content)
    if len(authors) > 1 and sender is None:
        return replies.SEVERAL_AUTHORS
    for address in [reverse_path, *([sender] if sender else authors)]:
        if address and not _may_send_as(mailbox, address):
            return replies.SEND_AS_DENIED.replace("{mailbox}", mailbox.address).replace("{sender}", address)
    return None


def has_lone_line_end(content: bytes) -> bool:
    """Whether a CR or LF stands alone (RFC 5321 §2.3.8)."""
    pairs = content.count(b"\r\n")
    return content.count(b"\n") != pairs or content.count(b"\r") != pairs


def message_id(content: bytes) -> str | None:
    """The Message-ID with its angle brackets, if the header has one."""
    header = content.partition(b"\r\n\r\n")[0]
    found = BytesHeaderParser().parsebytes(header).get("Message-ID")
    return str(found).strip() if found else None


def _authors(content: bytes) -> tuple[list[str], str | None]:
    header = content.partition(b"\r\n\r\n")[0]
    parsed = BytesHeaderParser(policy=modern).parsebytes(header)
    senders = _addresses(parsed.get("Sender"))
    return [address for field in parsed.get_all("From", []) for address in _addresses(field)], next(iter(senders), None)


def _addresses(field: object) -> list[str]:
    listed: tuple[Address, ...] = getattr(field, "addresses", ())
    return [address.addr_spec for address in listed]


def _may_send_as(mailbox: Mailbox, address: str) -> bool:
    return address.lower() in [allowed.lower() for allowed in (mailbox.address, *mailbox.send_as)]
