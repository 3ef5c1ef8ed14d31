"""From, Sender and Reply-To of a message that the mailbox sends for its author (`senders.onMismatch: Rewrite`).

They are written anew, as name-addr (RFC 5322 §3.4 SHOULD; Exchange calls text after an address invalid): one line,
folded only where it is long, no group, no comment. The display name keeps its words, quoted strings and encoded words
(RFC 2047). A signature that covers these fields (DKIM) no longer holds, which cannot be helped.
"""

import re
from collections.abc import Callable
from typing import Final

from o365mailer_sidecar.message.address_list import Author, Malformed, authors, is_list, mailboxes, pieces, spec
from o365mailer_sidecar.message.header import Header

LINE: Final = 78
"""Bytes of a line that is folded where it can be (RFC 5322 §2.1.1)."""

SPACES: Final = re.compile(rb"[\x00-\x20\x7f]++")
PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
ENCODED_WORD: Final = re.compile(
    rb"=\?[^\x00-\x20\x7f()<>@,;:\"/\[\]?.=]++\?(?:b|q)\?[A-Za-z0-9!*+/=_-]++\?=", re.IGNORECASE
)
"""An encoded word that may stand in a phrase (RFC 2047 §5). It must stay outside quotes, where it is decoded."""


def as_mailbox(header: Header, *, mailbox: str, allows: Callable[[str], bool]) -> dict[bytes, bytes]:
    """By name in lower case, what replaces a field: whole fields, or nothing.

    The mailbox replaces an author who is not allowed in From. That author goes to Reply-To, unless an address is there;
    Sender is dropped, because it would say the same as From. Authors who are allowed stay, and the mailbox is their
    Sender.
    """
    value, sender = (next((value for _, _, value in header.fields(name)), None) for name in (b"from", b"sender"))
    names = mailboxes(value) if value is not None else ()
    fields: dict[bytes, bytes] = {}
    if value is not None and not all(allows(one.address) for one in names):
        fields[b"from"] = _field(b"From", [_name_addr(display_name(value, names[0]), mailbox.encode())])
        fields[b"sender"] = b""
        answerable = [_mailbox(value, one) for one in names if one.mailbox and "\ufffd" not in one.address]
        if answerable and not any(has_address(value) for _, _, value in header.fields(b"reply-to")):
            fields[b"from"] += _field(b"Reply-To", answerable)
            fields[b"reply-to"] = b""
        return fields
    if value is not None and not is_list(value):
        fields[b"from"] = _field(b"From", [_mailbox(value, one) for one in names])
    if sender is not None and not (is_list(sender) and all(allows(one.address) for one in authors(sender))):
        fields[b"sender"] = _field(b"Sender", [mailbox.encode()])
    elif value is not None and sender is None and len(names) > 1:
        fields[b"from"] = fields.get(b"from", b"From:" + value + b"\r\n") + _field(b"Sender", [mailbox.encode()])
    return fields


def has_address(value: bytes) -> bool:
    """Whether a Reply-To holds an address. One that cannot be read counts as an address if an @ is in it."""
    if b"@" not in value:
        return False
    try:
        return any(one.mailbox for one in mailboxes(value))
    except Malformed:
        return True


def display_name(value: bytes, author: Author) -> bytes:
    """The author's name as a phrase: the words before the address, else a comment, else the name of its group."""
    before = value[author.whole.start : author.place.start]
    tokens = [(kind, before[start:end]) for kind, start, end in pieces(before)]
    words = [text for kind, text in tokens if kind in ("atom", "quoted")]
    if any(kind == "," for kind, _ in tokens):
        return _phrase(PAIR.sub(rb"\1", before.replace(b'"', b"")).strip(b", \t\r\n"))
    if words:
        return b" ".join(_phrase(text) if b"@" in text and text[:1] != b'"' else _unfolded(text) for text in words)
    if not author.mailbox and value[author.place].startswith(b'"'):
        return _unfolded(value[author.place])  # all of it was quoted, the address too
    whole = value[author.whole]
    comments = (whole[start + 1 : end - 1] for kind, start, end in pieces(whole) if kind == "comment")
    if comment := next(filter(bytes.strip, comments), b""):
        return _phrase(PAIR.sub(rb"\1", comment))
    return _unfolded(value[author.group]) if author.group else b""


def _phrase(text: bytes) -> bytes:
    """Text as a phrase: its encoded words stay, everything else is quoted."""
    parts: list[bytes] = []
    quoted: list[bytes] = []
    for word in (*_unfolded(text).split(b" "), None):
        if word is not None and not ENCODED_WORD.fullmatch(word):
            quoted.append(word)
            continue
        if quoted:
            parts.append(b'"' + re.sub(rb'(["\\])', rb"\\\1", b" ".join(quoted)) + b'"')
            quoted = []
        if word is not None:
            parts.append(word)
    return b" ".join(parts)


def _mailbox(value: bytes, author: Author) -> bytes:
    return _name_addr(display_name(value, author), spec(value, author))


def _name_addr(name: bytes, address: bytes) -> bytes:
    return name + b" <" + address + b">" if name else address


def _field(name: bytes, mailboxes: list[bytes]) -> bytes:
    """A field with its CRLF, folded at spaces where a line would be long."""
    lines = [name + b":"]
    for word in b", ".join(mailboxes).split(b" "):
        if len(lines[-1]) + len(word) >= LINE and not lines[-1].endswith(b":"):
            lines.append(b"")
        lines[-1] += b" " + word
    return b"\r\n".join(lines) + b"\r\n"


def _unfolded(text: bytes) -> bytes:
    return SPACES.sub(b" ", text).strip(b" ")
