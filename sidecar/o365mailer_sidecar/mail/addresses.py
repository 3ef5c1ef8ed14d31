"""When two addresses are the same mailbox: what `senders.allowed`, `allowedDomains` and the mailbox are compared by.

Exchange ignores case, in local parts too. A quoted local part means what it quotes (RFC 5321 §4.1.2), a trailing dot is
the DNS root, an A-label and its U-label are one name (RFC 5890 §2.3.2.4), and NFC and NFD are one text (RFC 6532 §3.1).

Nothing else is folded: U+212A (the Kelvin sign), which Unicode lower-cases to `k` and normalizes to `K`, is not a `k`,
and `ß` is not `ss`. Hence not `encodings.idna`: it maps both (IDNA2003); labels are encoded by Punycode alone.
"""

import re
from functools import lru_cache
from typing import Final

PLAIN: Final = re.compile(r"[!#-'*+\-./0-9=?A-Z^_`a-z{|}~]+@[A-Za-z0-9\-.]*[A-Za-z0-9\-]")
"""An address in which nothing but case can differ: no quotes, no trailing dot, all ASCII."""

QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)

NOT_ASCII_LETTERS: Final = {ord("\u212a"): "\ue000", ord("\u037e"): "\ue001", ord("\u1fef"): "\ue002"}
"""The characters that NFC makes ASCII of, and private ones to stand for them."""

CACHED: Final = 254
"""Characters of an address that is remembered; no longer one is an address (RFC 5321 §4.5.3.1.3)."""


def canonical(address: str) -> str:
    """A text that is equal for equal addresses, and only for comparing. What has no @ is a local part."""
    if PLAIN.fullmatch(address):
        return address.lower()
    return _canonical(address) if len(address) <= CACHED else _compared(address)


def canonical_domain(domain: str) -> str:
    """The same for a domain: lower case, labels as A-labels, no trailing dot."""
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
