"""What Exchange says at the end of data, where it decides on the sender, the size and the concurrency.

MAIL and RCPT get 250 before that; transcripts show these verdicts only here.
"""

from __future__ import annotations

import re
from email.utils import getaddresses

from o365mailer_emulator import replies
from o365mailer_emulator.tenancy import Mailbox, Settings

_FIELDS = {
    name: re.compile(rb"(?im)^" + name.encode() + rb"[ \t]*:(.*(?:\n[ \t].*)*)")
    for name in ("From", "Sender", "Message-ID")
}


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
    return next(iter(_values(content, "Message-ID")), None)


def _authors(content: bytes) -> tuple[list[str], str | None]:
    authors = [address for _, address in getaddresses(_values(content, "From")) if address]
    senders = [address for _, address in getaddresses(_values(content, "Sender")) if address]
    return authors, next(iter(senders), None)


def _values(content: bytes, name: str) -> list[str]:
    """The unfolded values of a header field. A pattern, because a whole parser takes longer than the rest of a mail."""
    end = content.find(b"\r\n\r\n")
    header = content[: end + 2] if end >= 0 else content
    return [" ".join(found.decode("utf-8", "replace").split()) for found in _FIELDS[name].findall(header)]


def _may_send_as(mailbox: Mailbox, address: str) -> bool:
    return address.lower() in [allowed.lower() for allowed in (mailbox.address, *mailbox.send_as)]
