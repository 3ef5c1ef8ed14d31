"""The arguments of SMTP commands, read: text in, envelope parts out, or the reply that says what is wrong.

Lax where clients are known to be and nothing is at stake (spaces behind the colon, no angle brackets, a UTF-8 address
without SMTPUTF8, which Exchange is told of all the same), strict about everything that would be handed on to Exchange.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.envelope import PLAIN, QUOTED, Recipient, Sender, domains
from o365mailer_sidecar.reply import Reply

PATH: Final = re.compile(
    rf"\s*(?:<(?:@[^\s<>:]*:)?((?:{QUOTED}|{PLAIN})*)>|((?:{QUOTED}|{PLAIN})+))(?:\s+(.*))?", re.DOTALL
)
"""A path and what follows it. A source route is dropped, as RFC 5321 appendix C allows."""

PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e]+))?", re.ASCII)
"""esmtp-param of RFC 5321 §4.1.2."""

MAIL_PARAMETERS: Final = {
    "SIZE": re.compile(r"[0-9]{1,20}"),  # RFC 1870 §5
    "BODY": re.compile(r"7BIT|8BITMIME", re.IGNORECASE),  # RFC 6152; what the octets need is looked at, not this
    "SMTPUTF8": None,  # RFC 6531 §3.4
    "RET": re.compile(r"FULL|HDRS", re.IGNORECASE),  # RFC 3461 §4.3
    "ENVID": re.compile(r"[\x21-\x7e]{1,100}"),  # RFC 3461 §4.4
    "AUTH": re.compile(r"[\x21-\x7e]+"),  # RFC 4954 §5: taken and dropped, the mailbox is who sends
}
RCPT_PARAMETERS: Final = {
    "NOTIFY": re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*", re.IGNORECASE),
    "ORCPT": re.compile(r"[A-Za-z0-9-]+;[\x21-\x7e]{1,500}"),  # RFC 3461 §4.2
}
HANDED_ON: Final = frozenset({"RET", "ENVID", "NOTIFY", "ORCPT"})


def command(line: bytes) -> tuple[str, bytes]:
    """The verb in capitals, and its argument. A verb that is not ASCII letters is the empty string."""
    verb, _, argument = line.partition(b" ")
    return _verb(verb), argument.strip()


@lru_cache(maxsize=32)  # an app says the same few
def _verb(word: bytes) -> str:
    return word.decode("ascii").upper() if word.isalpha() and word.isascii() else ""


@lru_cache(maxsize=8)  # and the same of itself
def sender(argument: bytes) -> Sender:
    """What `MAIL` says. Raises Refused."""
    address, given = _path_and_parameters(argument, b"FROM:", MAIL_PARAMETERS, replies.MAIL_SYNTAX)
    size = int(given.get("SIZE") or 0)
    return Sender(address=address, size=size, smtputf8="SMTPUTF8" in given, parameters=_handed_on(given))


def recipient(argument: bytes) -> Recipient:
    """What `RCPT` says. Raises Refused."""
    address, given = _path_and_parameters(argument, b"TO:", RCPT_PARAMETERS, replies.RCPT_SYNTAX)
    if not address:
        raise Refused(replies.RCPT_SYNTAX)
    return Recipient(address=address, parameters=_handed_on(given))


def _path_and_parameters(
    argument: bytes, keyword: bytes, known: Mapping[str, re.Pattern[str] | None], syntax: Reply
) -> tuple[str, dict[str, str]]:
    if argument[: len(keyword)].upper() != keyword:
        raise Refused(syntax)
    try:
        text = argument[len(keyword) :].decode()
    except UnicodeDecodeError:
        raise Refused(replies.NOT_UTF8) from None
    match = PATH.fullmatch(text)
    if not match:
        raise Refused(syntax)
    address = match[1] if match[1] is not None else match[2]
    # What is the domain of a@b@c? Policy would judge one reading, and a reader behind us may take the other.
    if domains(address) > 1:
        raise Refused(replies.TWO_DOMAINS)
    return address, _parameters(match[3] or "", known)


def _parameters(text: str, known: Mapping[str, re.Pattern[str] | None]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in text.split():
        match = PARAMETER.fullmatch(word)
        if not match or match[1].upper() not in known:
            raise Refused(replies.UNKNOWN_PARAMETER)
        name, value = match[1].upper(), match[2]
        if name in given:
            raise Refused(replies.PARAMETER_TWICE)
        pattern = known[name]
        if (pattern is None) != (value is None) or (pattern and not pattern.fullmatch(value)):
            raise Refused(replies.PARAMETER_VALUE)
        given[name] = value or ""
    return given


def _handed_on(given: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in given.items() if name in HANDED_ON)
