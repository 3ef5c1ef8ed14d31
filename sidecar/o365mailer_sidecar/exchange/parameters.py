"""What MAIL and RCPT say to Exchange: addresses and parameters, as bytes, for what it announced."""

from collections.abc import Collection

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.mail.envelope import Envelope, Recipient


def mail_arguments(
    envelope: Envelope, *, size: int, eight_bit: bool, utf8_headers: bool, extensions: Collection[str]
) -> list[bytes]:
    """The arguments of MAIL. `extensions` are EHLO's keywords in lower case; `size` is in octets.

    Raises Refused when the message needs what is not announced: nothing is re-coded.
    """
    words = [f"FROM:<{envelope.sender.address}>"]
    if "size" in extensions:
        words.append(f"SIZE={size}")
    if eight_bit and "8bitmime" not in extensions:
        raise Refused(replies.NO_8BITMIME)
    if eight_bit:
        words.append("BODY=8BITMIME")
    needed = envelope.internationalized or (envelope.sender.smtputf8 and utf8_headers)
    if needed and "smtputf8" not in extensions:
        raise Refused(replies.NO_SMTPUTF8)
    if needed or (envelope.sender.smtputf8 and "smtputf8" in extensions):
        words.append("SMTPUTF8")
    if "dsn" in extensions:
        words.extend(envelope.sender.parameters)
    return [word.encode() for word in words]


def rcpt_arguments(recipient: Recipient, *, extensions: Collection[str]) -> list[bytes]:
    """The arguments of RCPT."""
    words = [f"TO:<{recipient.address}>", *(recipient.parameters if "dsn" in extensions else ())]
    return [word.encode() for word in words]
