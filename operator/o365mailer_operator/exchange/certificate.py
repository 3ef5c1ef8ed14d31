"""Who signed a host's certificate, and whether that authority is public.

A proxy that inspects TLS answers in the host's name with a certificate of its own authority. So does an emulator. A
machine may trust that authority while a pod does not, so it is named also where the certificate is accepted.
"""

import datetime
import functools
import hashlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import certifi
from cryptography import x509
from cryptography.x509.oid import NameOID

from o365mailer_operator.printable import printable

_NAMES: Final = (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A host by its certificate."""

    issuer: str
    """Who signed the host's own certificate."""
    authority: str
    """Who stands at the end of the chain, as far as it is known."""
    public: bool
    """Whether that is one of Mozilla's public authorities."""
    not_after: datetime.datetime
    protocol: str
    """Such as TLSv1.3."""


def peer_of(connection: ssl.SSLObject | ssl.SSLSocket) -> Peer | None:
    """The other side of a TLS connection, verified or not; None if it showed no certificate that can be read."""
    verified = connection.context.verify_mode is not ssl.CERT_NONE
    chain = _chain(connection, verified=verified)
    leaf = connection.getpeercert(binary_form=True)
    if not leaf:
        return None
    try:
        own, last = x509.load_der_x509_certificate(leaf), x509.load_der_x509_certificate(chain[-1] if chain else leaf)
    except (ValueError, x509.InvalidVersion):  # OpenSSL reads more than cryptography does
        return None
    return Peer(
        issuer=_name(own.issuer),
        authority=_name(last.issuer),
        public=bool(chain) and hashlib.sha256(chain[-1]).digest() in _public_authorities(),
        not_after=own.not_valid_after_utc,
        protocol=connection.version() or "",
    )


def unverified() -> ssl.SSLContext:
    """A context that verifies nothing. Only for looking at a certificate: nothing may be sent over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _chain(connection: ssl.SSLObject | ssl.SSLSocket, *, verified: bool) -> Sequence[bytes]:
    """The chain in DER, the host's own certificate first.

    Python has the methods from 3.13 on. Until then they are on the object below, where CPython has kept them since
    3.10, and give objects of another kind. Empty if neither is there.
    """
    name = "get_verified_chain" if verified else "get_unverified_chain"
    public: Callable[[], Sequence[bytes]] | None = getattr(connection, name, None)
    if public is not None:
        return public()
    private: Callable[[], Sequence[Any] | None] | None = getattr(getattr(connection, "_sslobj", None), name, None)
    shown = (private() if private else None) or ()
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in shown]


@functools.cache
def _public_authorities() -> frozenset[bytes]:
    """SHA-256 of each of Mozilla's authorities in DER."""
    end = "-----END CERTIFICATE-----"
    texts = Path(certifi.where()).read_text(encoding="ascii", errors="ignore").split(end)
    begins = [text.find("-----BEGIN") for text in texts]
    pems = [text[begin:] + end for text, begin in zip(texts, begins, strict=True) if begin >= 0]
    return frozenset(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest() for pem in pems)


def _name(name: x509.Name) -> str:
    """The common name, or else the next part that says something."""
    for oid in _NAMES:
        if found := name.get_attributes_for_oid(oid):
            return printable(str(found[0].value))
    return printable(name.rfc4514_string()) or "an authority without a name"
