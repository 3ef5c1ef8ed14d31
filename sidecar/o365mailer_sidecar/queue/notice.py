"""A mail about a mail that could not be delivered, for who asked for it (`delivery.notify`). Pure.

Sent from `<>` as every report is (RFC 5321 §4.5.5, RFC 3834 §3.3): policy makes of that the mailbox with NOTIFY=NEVER,
or leaves it, as the mailer says. It holds three headers of the original and not one octet of its body: who reads a
notice need not be who may read the mail.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.header import FIELD_END
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.policy import NEVER

SENDER: Final = "sender"
"""The value of `delivery.notify` that means the failed message's reverse-path."""

SHOWN: Final = ("Subject", "Message-ID", "To")
"""Headers of the original that a notice repeats."""

VALUE_LIMIT: Final = 300
"""Characters of a header that are repeated, and of a reason."""

READ_LIMIT: Final = 2**12
"""Bytes of a header that are looked at for them: it may be folded, and hundreds of KiB long."""

LISTED: Final = 100
"""Recipients that a notice lists: a message may have a thousand."""

AUTOMATIC: Final = re.compile(
    rb"^(?:auto-submitted[ \t]*:(?![ \t\r\n]*no[ \t]*(?:[;(\r]|$))|content-type[ \t]*:[ \t\r\n]*multipart/report\b)",
    re.IGNORECASE | re.MULTILINE,
)
"""What no person has sent: an answer to it could be answered in turn (RFC 3834 §2, RFC 6522)."""


class Failure(NamedTuple):
    """One recipient that will not get the message, and why."""

    recipient: Recipient
    reason: str


def audience(message: Message, failures: Sequence[Failure], *, notify: str | None) -> str | None:
    """The address that is to be told; None: nobody.

    Nobody for `<>`, for what a program or a report has sent, which a notice is too, and for recipients whose NOTIFY
    asks for no word of failure (RFC 3461 §4.1).
    """
    sender = message.envelope.sender.address
    if not notify or not sender or AUTOMATIC.search(message.header.block()) or not wanted(failures):
        return None
    return sender if notify == SENDER else notify


def wanted(failures: Sequence[Failure]) -> list[Failure]:
    """Those that may be told of."""
    return [failure for failure in failures if not _silent(failure.recipient.parameters)]


def _silent(parameters: Sequence[str]) -> bool:
    asked = [word.upper() for word in parameters if word.upper().startswith("NOTIFY=")]
    return bool(asked) and not any("FAILURE" in word for word in asked)


def envelope_for(address: str, *, mailbox: str, queue_id: str) -> Envelope:
    """From `<>` to one address, and no report about it. From and To name both addresses: they may need SMTPUTF8."""
    return Envelope(
        queue_id=queue_id,
        sender=Sender(address="", smtputf8=not (address + mailbox).isascii()),
        recipients=(Recipient(address=address, parameters=(NEVER,)),),
        protocol="local",
    )


def composed(message: Message, failures: Sequence[Failure], *, mailbox: str, to: str) -> bytes:
    """The notice, every line ending CRLF.

    Its size is bounded, and so is what it takes to make it, whatever the message holds.
    """
    head = message.header.block()
    shown, told = [(name, _value(head, name)) for name in SHOWN], wanted(failures)
    more = [f"  and {len(told) - LISTED} more (`spool show {message.queue_id}` lists all)"]
    text = [
        "This is the mail relay. It took a message from your app, and Office 365 does not take it.",
        "",
        f"Queue id:   {message.queue_id}",
        f"Taken:      {message.received:%Y-%m-%d %H:%M:%S} UTC",
        *(f"{name + ':':<11} {value}" for name, value in shown if value),
        "",
        "Not delivered to:",
        *(f"  <{_plain(failed.recipient.address)}>: {_plain(failed.reason)}" for failed in told[:LISTED]),
        *(more if len(told) > LISTED else []),
        "",
        "The message is kept as a dead letter; its queue id finds it in the relay's spool and log.",
    ]
    body = "\r\n".join(text) + "\r\n"
    lines = [
        f"From: Mail relay <{mailbox}>",
        f"To: <{to}>",
        f"Subject: {_subject(dict(shown)['Subject'])}",
        *([f"References: {reference}"] if (reference := _reference(dict(shown)["Message-ID"])) else []),
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Transfer-Encoding: {'7bit' if body.isascii() else '8bit'}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _subject(original: str) -> str:
    """What stands in a header stays ASCII; the text of the notice has the rest."""
    return f"Undelivered: {original}" if original and original.isascii() else "Undelivered mail"


def _reference(message_id: str) -> str:
    """An id that can stand in a header as it is."""
    return message_id if re.fullmatch(r"<[!-;=?-~]{1,250}>", message_id) else ""


def _value(head: bytes, name: str) -> str:
    """The first field of that name, unfolded; empty when there is none."""
    found = re.search(rb"^%s[ \t]*+:" % name.encode(), head, re.IGNORECASE | re.MULTILINE)
    if not found:
        return ""
    end = FIELD_END.search(head, found.end())
    value = head[found.end() : end.start() if end else len(head)]
    return _plain(value[:READ_LIMIT].decode("utf-8", "replace"))


def _plain(text: str) -> str:
    """One line without control characters, cut where it is long."""
    words = "".join(letter if letter.isprintable() else " " for letter in text[:READ_LIMIT]).split()
    line = " ".join(words)
    return line if len(line) <= VALUE_LIMIT else line[: VALUE_LIMIT - 3].rstrip() + "..."
