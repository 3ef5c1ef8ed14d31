"""A mail about a message that could not be delivered, to the address in `delivery.notify`.

It is sent from `<>`, as every report is (RFC 5321 §4.5.5, RFC 3834 §3.3); the mailer's policy may replace that by the
mailbox with NOTIFY=NEVER. It holds three headers of the message and nothing of its body: a person who reads the notice
may have no right to read the mail.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.header import Header
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.policy import NEVER

SENDER: Final = "sender"
"""The value of `delivery.notify` that means the reverse-path of the message."""

SHOWN: Final = {b"subject": "Subject", b"message-id": "Message-ID", b"to": "To"}
"""Headers of the message that a notice repeats, by their names in lower case."""

VALUE_LIMIT: Final = 300
"""Characters of a header's value, and of a reason."""

READ_LIMIT: Final = 2**12
"""Bytes of a header's value that are read for them: it may be folded, and hundreds of KiB long."""

LISTED: Final = 100
"""Recipients that a notice lists: a message may have a thousand."""

BY_A_PERSON: Final = re.compile(rb"[ \t\r\n]*no[ \t]*(?:[;(\r]|\Z)", re.IGNORECASE)
"""The value of Auto-Submitted that is no sign of a program (RFC 3834 §5)."""

REPORT: Final = re.compile(rb"[ \t\r\n]*multipart/report\b", re.IGNORECASE)
"""The Content-Type of a report (RFC 6522)."""

REFERENCE: Final = re.compile(r"<[!-;=?-~]{1,250}>")
"""A message id that the notice's header can hold as it is."""


class Failure(NamedTuple):
    """One recipient that will not get the message, and why."""

    recipient: Recipient
    reason: str


def addressee(message: Message, failures: Sequence[Failure], *, notify: str | None) -> str | None:
    """Where the notice goes; None if there is none.

    There is none for a message from `<>` or from a program (a notice itself is both), and none for recipients whose
    NOTIFY does not ask for failures (RFC 3461 §4.1).
    """
    sender = message.envelope.sender.address
    if not notify or not sender or by_a_program(message.header) or not wanted(failures):
        return None
    return sender if notify == SENDER else notify


def by_a_program(header: Header) -> bool:
    """Whether a program has sent the message: it could answer the notice, and so on (RFC 3834 §2)."""
    for name, _, value in header.fields(b"auto-submitted", b"content-type"):
        if REPORT.match(value) if name == b"content-type" else not BY_A_PERSON.match(value):
            return True
    return False


def wanted(failures: Sequence[Failure]) -> list[Failure]:
    """Those of recipients whose NOTIFY asks for failures, or who have none."""

    def asks(parameters: Sequence[str]) -> bool:
        notify = [word.upper() for word in parameters if word.upper().startswith("NOTIFY=")]
        return not notify or any("FAILURE" in word for word in notify)

    return [failure for failure in failures if asks(failure.recipient.parameters)]


def envelope_for(address: str, *, mailbox: str, queue_id: str) -> Envelope:
    """From `<>` to one address, without a report about it. The header names both addresses: they may need SMTPUTF8."""
    return Envelope(
        queue_id=queue_id,
        sender=Sender(address="", smtputf8=not (address + mailbox).isascii()),
        recipients=(Recipient(address=address, parameters=(NEVER,)),),
        protocol="local",
    )


def composed(message: Message, failures: Sequence[Failure], *, mailbox: str, to: str) -> bytes:
    """The notice, every line ending CRLF. Its size is bounded, and so is the work, whatever the message holds."""
    shown: dict[bytes, str] = {}
    for name, _, value in message.header.fields(*SHOWN):
        if name not in shown:
            shown[name] = _plain(value[:READ_LIMIT].decode("utf-8", "replace"))
    told = wanted(failures)
    more = [f"  and {len(told) - LISTED} more (`spool show {message.queue_id}` lists all)"]
    text = [
        "This is the mail relay. It took a message from your app, and Office 365 does not take it.",
        "",
        f"Queue id:   {message.queue_id}",
        f"Taken:      {message.received:%Y-%m-%d %H:%M:%S} UTC",
        *(f"{title + ':':<11} {shown[name]}" for name, title in SHOWN.items() if shown.get(name)),
        "",
        "Not delivered to:",
        *(f"  <{_plain(failed.recipient.address)}>: {_plain(failed.reason)}" for failed in told[:LISTED]),
        *(more if len(told) > LISTED else []),
        "",
        "The message is kept as a dead letter; its queue id finds it in the relay's spool and log.",
    ]
    body = "\r\n".join(text) + "\r\n"
    subject, message_id = shown.get(b"subject", ""), shown.get(b"message-id", "")
    lines = [
        f"From: Mail relay <{mailbox}>",
        f"To: <{to}>",
        f"Subject: Undelivered: {subject}" if subject and subject.isascii() else "Subject: Undelivered mail",
        *([f"References: {message_id}"] if REFERENCE.fullmatch(message_id) else []),
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Transfer-Encoding: {'7bit' if body.isascii() else '8bit'}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _plain(text: str) -> str:
    """One line without control characters, cut where it is long."""
    words = "".join(letter if letter.isprintable() else " " for letter in text[:READ_LIMIT]).split()
    line = " ".join(words)
    return line if len(line) <= VALUE_LIMIT else line[: VALUE_LIMIT - 3].rstrip() + "..."
