"""What MAIL and RCPT say to Exchange: addresses and parameters, as bytes, for what it announced."""

import re
from collections.abc import Collection, Iterable
from typing import Final

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.envelope import Envelope, Recipient

PATH: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s<>"]++)*')
"""An address that stays within its angle brackets: spaces and brackets in quotes alone (RFC 5321 §4.1.2)."""

WORD: Final = re.compile(r"[\x21-\x7e]+")
"""A parameter that stays one."""


def mail_arguments(
    envelope: Envelope,
    *,
    size: int,
    eight_bit: bool,
    utf8_headers: bool,
    utf8_written: bool = False,
    extensions: Collection[str],
) -> list[bytes]:
    """The arguments of MAIL. `extensions` are EHLO's keywords in lower case; `size` is in bytes.

    An address or a header field in UTF-8 needs SMTPUTF8 (RFC 6531 §3.4). For what the app wrote into its header
    (`utf8_headers`) it is said where the app said it; for what the relay wrote (`utf8_written`) it is said always.

    Raises Refused when the message needs what is not announced (nothing is re-coded), and for an address or a parameter
    that would end its place in the command: Exchange would read another address than policy has judged.
    """
    words = [f"FROM:{_path(envelope.sender.address)}"]
    if "size" in extensions:
        words.append(f"SIZE={size}")
    if eight_bit and "8bitmime" not in extensions:
        raise Refused(replies.NO_8BITMIME)
    if eight_bit:
        words.append("BODY=8BITMIME")
    needed = envelope.internationalized or utf8_written or (envelope.sender.smtputf8 and utf8_headers)
    if needed and "smtputf8" not in extensions:
        only_ours = utf8_written and not envelope.internationalized
        raise Refused(replies.NO_SMTPUTF8_WRITTEN if only_ours else replies.NO_SMTPUTF8)
    if needed or (envelope.sender.smtputf8 and "smtputf8" in extensions):
        words.append("SMTPUTF8")
    if "dsn" in extensions:
        words.extend(_words(envelope.sender.parameters))
    return [word.encode() for word in words]


def rcpt_arguments(recipient: Recipient, *, extensions: Collection[str]) -> list[bytes]:
    """The arguments of RCPT. Raises Refused."""
    words = [f"TO:{_path(recipient.address)}", *(_words(recipient.parameters) if "dsn" in extensions else ())]
    return [word.encode() for word in words]


def _path(address: str) -> str:
    if not PATH.fullmatch(address):
        raise Refused(replies.NOT_ONE_COMMAND)
    return f"<{address}>"


def _words(parameters: Iterable[str]) -> Iterable[str]:
    if not all(map(WORD.fullmatch, parameters)):
        raise Refused(replies.NOT_ONE_COMMAND)
    return parameters
