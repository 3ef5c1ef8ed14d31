"""The addresses in From, Sender and Reply-To (RFC 5322 §3.4), and when two addresses are the same mailbox.

A field is read strictly where two readers could see two authors: obsolete forms (routes, comments around the @) are not
read at all, and a display name that holds what only an address may (`@ [ ]`, RFC 5322 §3.2.3) is refused unless it is
quoted. The standard library's parser is not strict, cannot say where in the bytes an address stands, and costs five
times as much (measured 2026-11-23: 330 µs against 60 µs for a name and an address).

`senders.allowed`, `allowedDomains` and the mailbox are compared by `canonical`. Exchange ignores case, in local parts
too. A quoted local part means what it quotes (RFC 5321 §4.1.2), a trailing dot is the DNS root, an A-label and its
U-label are one name (RFC 5890 §2.3.2.4), and NFC and NFD are one text (RFC 6532 §3.1). Nothing else is folded: U+212A
(the Kelvin sign), which Unicode lower-cases to `k` and normalizes to `K`, is not a `k`, and `ß` is not `ss`. The module
`encodings.idna` maps both (IDNA2003), so labels are encoded by Punycode alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

PLAIN: Final = re.compile(r"[!#-'*+\-./0-9=?A-Z^_`a-z{|}~]+@[A-Za-z0-9\-.]*[A-Za-z0-9\-]")
"""An address in which nothing but case can differ: no quotes, no trailing dot, all ASCII."""

QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)

NOT_ASCII_LETTERS: Final = {ord("\u212a"): "\ue000", ord("\u037e"): "\ue001", ord("\u1fef"): "\ue002"}
"""The characters that NFC makes ASCII of, and private ones to stand for them."""

LONGEST_CACHED: Final = 254
"""Characters of an address that is cached; a longer one is not an address (RFC 5321 §4.5.3.1.3)."""


def canonical(address: str) -> str:
    """A text that is equal for equal addresses, only to compare them. A text without @ is a local part."""
    if PLAIN.fullmatch(address):
        return address.lower()
    return _canonical(address) if len(address) <= LONGEST_CACHED else _compared(address)


def canonical_domain(domain: str) -> str:
    """A text that is equal for equal domains: lower case, labels as A-labels, no trailing dot."""
    domain = domain.removesuffix(".")
    return domain.lower() if domain.isascii() else ".".join(map(_label, domain.split(".")))


def _compared(address: str) -> str:
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = domain, ""
    if quoted := QUOTED.fullmatch(local):
        local = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
    return f"{_text(local)}{at}{canonical_domain(domain)}"


_canonical = lru_cache(maxsize=64)(_compared)


def _text(text: str) -> str:
    if text.isascii():
        return text.lower()
    from unicodedata import normalize  # 1 MB that no pod needs whose addresses are ASCII

    return normalize("NFC", normalize("NFC", text.translate(NOT_ASCII_LETTERS)).lower())


def _label(label: str) -> str:
    text = _text(label)
    return text if text.isascii() else f"xn--{text.encode('punycode').decode('ascii')}"


Piece = tuple[str, int, int]
"""A token of an address list: space, comment, quoted, angle, atom or the separator itself; its start and its end."""

TOKEN: Final = re.compile(
    rb"(?P<space>[ \t\r\n]++)"
    rb"|(?P<atom>[^\x00-\x20\x7f()<>,:;\"\\\[\]]++(?:\[[^\[\]\\\x00-\x20\x7f]*+\])?)"
    rb"|(?P<comment>\()|(?P<quoted>\")|(?P<angle><)|(?P<separator>[,:;])"
)
INSIDE: Final = {
    "comment": (re.compile(rb"[^()\\]++|\\.|[()]", re.DOTALL), b")"),
    "quoted": (re.compile(rb'[^"\\]++|\\.|"', re.DOTALL), b'"'),
    "angle": (re.compile(rb'[^<>"\\]++|["\\>]'), b">"),
}
"""What may follow next in each of these, and what closes it."""

SPACE: Final = b" \t\r\n"
COMMENT: Final = re.compile(rb'\([^()<>@,:;"\\]*+\)')
"""A comment in which no reader finds an address. Only such a comment may stand next to an address."""
ADDRESS: Final = re.compile(
    rb'[ \t\r\n]*+((?:"(?:[^"\\]|\\.)*"|[^\x00-\x20\x7f()<>,:;"\\@\[\]]++)'
    rb"(?:(@)(?:[^\x00-\x20\x7f()<>,:;\"\\@\[\]]++|\[[!-Z^-~]++\]))?)[ \t\r\n]*+",
    re.DOTALL,
)
"""What stands in angle brackets, or alone: an addr-spec, or no @ for the local name of a cron job."""
ENCODED_WORD: Final = re.compile(rb"=\?[^ ?]++\?[bq]\?", re.IGNORECASE)
"""The beginning of one. It must not be in an address (RFC 2047 §5): a reader that decodes first reads another."""

LIST_LIMIT: Final = 2**16
"""Bytes of a field that is read; a longer one is malformed."""
ADDRESSES_LIMIT: Final = 1000
"""Addresses of a field that is read: as many as a message may have recipients."""
ADDRESS_LIMIT: Final = 998
"""Bytes of an address: a line's (RFC 5322 §2.1.1)."""
CACHED: Final = 512
"""Bytes of a field that is cached: an app writes the same From again and again."""


class Malformed(ValueError):
    """Not a list of addresses."""


@dataclass(frozen=True, slots=True)
class Author:
    """One address of a field; its places are those in the field."""

    address: str
    """As text; bytes that are not UTF-8 become U+FFFD, which no allowed address holds. Empty for a name without one."""
    mailbox: bool
    """Whether it is an addr-spec: a local name is not."""
    place: slice
    """Where it stands, angle brackets included."""
    whole: slice
    """Where it stands together with its display name and comments."""
    group: slice | None = None
    """The name of the group that it stands in."""


@dataclass(slots=True)
class Element:
    """What stands between two commas."""

    start: int
    end: int
    words: list[slice] = field(default_factory=list)
    """The first word and the last one: the rules need no other."""
    separate: bool = False
    """Whether something is between two words."""
    addresses: bool = False
    """Whether an unquoted word holds what only an address may."""
    angle: slice | None = None

    def add(self, piece: Piece, data: bytes) -> None:
        """Take the next piece of the field. Raises Malformed for all but spaces and comments after an angle bracket."""
        kind, start, self.end = piece
        if kind in ("space", "comment"):
            return
        if self.angle:
            raise Malformed
        if kind == "angle":
            self.angle = slice(start, self.end)
            return
        if self.words:
            self.separate = self.separate or self.words[-1].stop != start
        if kind == "atom":
            word = data[start : self.end]
            self.addresses = self.addresses or b"@" in word or b"[" in word
        self.words[1:] = [slice(start, self.end)]

    def author(self, data: bytes, group: slice | None) -> Author | None:
        """The address in it, or a name without one; None for an empty element, such as between two commas.

        Raises Malformed.
        """
        whole = slice(self.start, self.end)
        if self.angle:
            place = self.angle
            address, mailbox = _address(data[place.start + 1 : place.stop - 1])
            if self.addresses and not self._names(address, data):
                raise Malformed
            return Author(address, mailbox, place, whole, group)
        if not self.words:
            return None
        place = slice(self.words[0].start, self.words[-1].stop)
        if not self.separate:
            address, mailbox = _address(data[place])
            return Author(address, mailbox, place, whole, group)
        if self.addresses:
            raise Malformed  # an address with something inside, or a name and an address without angle brackets
        return Author("", False, place, whole, group)

    def _names(self, address: str, data: bytes) -> bool:
        """Whether the display name is the address, as mail programs write it if they know no name."""
        if len(self.words) > 1:
            return False
        return canonical(data[self.words[0]].decode("utf-8", "replace")) == canonical(address)


def authors(field: bytes) -> tuple[Author, ...]:
    """Every address of a field's value, also those in groups. Raises Malformed, also when there is none.

    A name without an address next to an address is a display name with a comma that was not quoted: Malformed.
    """
    found = _read(field)
    for one in found:
        if not one.address or one.mailbox != found[0].mailbox:
            raise Malformed
    return found


def mailboxes(field: bytes) -> tuple[Author, ...]:
    """As `authors`, for a field that is rewritten: a name before an address belongs to it, comma or not."""
    found = _read(field)
    if not any(one.mailbox for one in found):
        return authors(field)
    merged: list[Author] = []
    begun: Author | None = None
    for one in found:
        begun = begun if begun and begun.group == one.group else one
        if one.mailbox:
            merged.append(replace(one, whole=slice(begun.whole.start, one.whole.stop)))
            begun = None
    return tuple(merged)


def _read(field: bytes) -> tuple[Author, ...]:
    return _remembered(field) if len(field) <= CACHED else _parsed(field)


def _parsed(field: bytes) -> tuple[Author, ...]:
    """Every address, and every name without one. Raises Malformed, also when there is none."""
    if len(field) > LIST_LIMIT:
        raise Malformed
    found = []
    for element, group in _elements(field):
        if author := element.author(field, group):
            found.append(author)
        if len(found) > ADDRESSES_LIMIT:
            raise Malformed
    if not found:
        raise Malformed
    return tuple(found)


_remembered = lru_cache(maxsize=8)(_parsed)


def _elements(field: bytes) -> Iterator[tuple[Element, slice | None]]:
    """What stands between two commas, each with the name of its group."""
    element, group = Element(0, 0), None
    for piece in pieces(field):
        kind, _, end = piece
        if kind not in (",", ":", ";"):
            element.add(piece, field)
            continue
        if kind == ":":
            if group or element.angle or element.addresses or not element.words:
                raise Malformed
            group = slice(element.words[0].start, element.words[-1].stop)
        else:
            yield element, group
        if kind == ";":
            if not group:
                raise Malformed
            group = None
        element = Element(end, end)
    if group:
        raise Malformed
    yield element, group


def spec(field: bytes, author: Author) -> bytes:
    """The address of a field as it stands there, without angle brackets and comments."""
    data = field[author.place]
    return _without_comments(data[1:-1] if data.startswith(b"<") else data)


def pieces(field: bytes) -> Iterator[Piece]:
    """The tokens of an address list. Raises Malformed."""
    at = 0
    while at < len(field):
        match = TOKEN.match(field, at)
        if not match or not match.lastgroup:
            raise Malformed
        start, at, kind = at, match.end(), match.lastgroup
        if kind in INSIDE:
            at = _closed(field, at, kind)
        yield match[0].decode() if kind == "separator" else kind, start, at


def _closed(field: bytes, at: int, kind: str) -> int:
    """Where the comment, quoted string or angle bracket ends whose inside begins at `at`. Raises Malformed."""
    pattern, closing = INSIDE[kind]
    depth = 1
    while depth:
        match = pattern.match(field, at)
        if not match:
            raise Malformed
        at = match.end()
        if match[0] == closing:
            depth -= 1
        elif kind == "comment" and match[0] == b"(":
            depth += 1
        elif kind == "angle" and match[0] == b'"':
            at = _closed(field, at, "quoted")
    return at


def _address(data: bytes) -> tuple[str, bool]:
    """An address as text, and whether it has a domain. Raises Malformed."""
    if len(data) > ADDRESS_LIMIT:
        raise Malformed
    match = ADDRESS.fullmatch(_without_comments(data) if b"(" in data else data)
    if not match:
        raise Malformed
    address = match[1].decode("utf-8", "replace")
    if not address.isprintable() or (match[2] and ENCODED_WORD.search(match[1])):
        raise Malformed
    return address, bool(match[2])


def _without_comments(data: bytes) -> bytes:
    """Without those before and after the address (RFC 5322 §3.4.1 allows them around the @ too: that is not read)."""
    data = data.strip(SPACE)
    while comment := COMMENT.match(data):
        data = data[comment.end() :].lstrip(SPACE)
    while data.endswith(b")") and COMMENT.fullmatch(data, begin := data.rfind(b"(")):
        data = data[:begin].rstrip(SPACE)
    return data


def is_address(text: str) -> bool:
    """Whether it can stand in From as it is, alone: an addr-spec and nothing else."""
    try:
        found = authors(text.encode())
    except Malformed:
        return False
    return [(one.address, one.mailbox) for one in found] == [(text, True)]


def is_list(field: bytes) -> bool:
    """Whether every reader can read it: a list of addresses with all commas of display names quoted."""
    try:
        authors(field)
    except Malformed:
        return False
    return True
