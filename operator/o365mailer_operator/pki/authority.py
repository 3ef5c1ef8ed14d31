"""The webhook's certificate authority: what its Secret holds, and how one authority follows another. Pure.

Two readers learn of a change at different times: the API server uses a patched `caBundle` within about a second, and
each replica of the webhook sees the changed Secret up to 90 seconds later (kubelet's sync period and its cache). The
API server must trust what a replica shows at every moment, so the order is:

1. At two thirds of the signer's life a successor is made and kept in the Secret under `next.*`, which replicas do not
   read. Its certificate joins the bundle.
2. When the API server has carried that bundle for a while without a break, the successor becomes the signer (`tls.*`).
   From now on a replica may show a leaf of either.
3. The old certificate stays in the bundle until it expires. A leaf never outlives its authority, so no leaf of an
   expired one is left, however late a replica was, and nothing depends on kubelet's delay.

In the reverse order, signing first, a quick replica would show a leaf that the API server does not trust yet.

If the Secret was deleted or cannot be used, a new one is made at once. What the API server trusts at that moment stays
trusted until it expires, because replicas still sign with the lost key. After a leak: stop the controller, delete the
Secret and the configuration's `caBundle`, and start the controller again.
"""

import base64
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, PublicKeyAlgorithmOID

from o365mailer_contract import names

LIFETIME: Final = datetime.timedelta(days=365)
BACKDATED: Final = datetime.timedelta(minutes=5)
"""How far the API server's clock may be slow."""
LARGEST_KEY: Final = 512
"""Bytes of a PEM key. Ours have 241. OpenSSL tests the numbers of a large RSA or Diffie-Hellman key for a minute."""
NEXT_CERTIFICATE: Final = "next.crt"
NEXT_KEY: Final = "next.key"


class ForeignKey(ValueError):
    """The key is not the certificate's, or of another kind than ours."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its key. The key stays out of every text."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def serial(self) -> int:
        return self.certificate.serial_number

    def pem(self) -> tuple[bytes, bytes]:
        """The certificate and the key as PEM."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self.certificate.public_bytes(serialization.Encoding.PEM), key

    def renewal(self, lifetime: datetime.timedelta) -> datetime.datetime:
        """When two thirds of a life of this length are over."""
        return self.certificate.not_valid_after_utc - lifetime / 3

    def __repr__(self) -> str:
        return f"Pair({self.serial:x})"


@dataclass(frozen=True, kw_only=True)
class Authorities:
    """The Secret's content: the authority that signs, the next one, and former ones."""

    signer: Pair
    successor: Pair | None = None
    retired: tuple[x509.Certificate, ...] = ()

    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The certificates to trust now, the signer's first."""
        coming = (self.successor.certificate,) if self.successor else ()
        return (self.signer.certificate, *coming, *self.retired)

    def bundle(self) -> bytes:
        """The same as PEM."""
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self.certificates())


def advance(
    present: Authorities | None,
    *,
    now: datetime.datetime,
    lifetime: datetime.timedelta,
    published: bool,
    trusted: Iterable[x509.Certificate] = (),
) -> Authorities:
    """What the Secret should hold now; the same again if nothing is due.

    `published`: the API server has carried exactly the present bundle for long enough. `trusted`: what the API server
    trusts now, which a new Secret takes over.
    """
    if present is None or present.signer.certificate.not_valid_after_utc <= now:
        kept = (*(present.certificates() if present else ()), *trusted)
        return Authorities(signer=make(now=now, lifetime=lifetime), retired=_alive(dict.fromkeys(kept), now))
    present = replace(present, retired=_alive(present.retired, now))
    successor = present.successor
    if successor and successor.certificate.not_valid_after_utc <= now:
        successor = None
    if successor and published:
        return Authorities(signer=successor, retired=(present.signer.certificate, *present.retired))
    if successor is None and now >= present.signer.renewal(lifetime):
        successor = make(now=now, lifetime=lifetime)
    return replace(present, successor=successor)


def make(*, now: datetime.datetime, lifetime: datetime.timedelta) -> Pair:
    """A new authority, valid from now for `lifetime`."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{names.CA_SECRET} {serial:x}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNING_ONLY, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate=certificate, key=key)


def read_pair(certificate_pem: bytes, key_pem: bytes) -> Pair:
    """The pair. A key that may be expensive to parse is not parsed.

    Raises ForeignKey, and ValueError for what is not PEM.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        if len(key_pem) > LARGEST_KEY or certificate.public_key_algorithm_oid != PublicKeyAlgorithmOID.EC_PUBLIC_KEY:
            raise ForeignKey("the key is not ours")
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ForeignKey("the key is not the certificate's")
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("not PEM") from error
    return Pair(certificate=certificate, key=key)


def read(data: Mapping[str, str]) -> Authorities | None:
    """The authorities in a Secret's data (base64, as the API has it); None if they cannot be used."""

    def pair(certificate: str, key: str) -> Pair:
        return read_pair(base64.b64decode(data[certificate]), base64.b64decode(data[key]))

    try:
        signer = pair(names.CA_SECRET_SIGNER, names.CA_SECRET_KEY)
        successor = pair(NEXT_CERTIFICATE, NEXT_KEY) if NEXT_CERTIFICATE in data else None
        bundle = parse_bundle(data[names.CA_SECRET_CERTIFICATE])
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    own = {signer.certificate} | ({successor.certificate} if successor else set())
    return Authorities(signer=signer, successor=successor, retired=tuple(each for each in bundle if each not in own))


def write(authorities: Authorities) -> dict[str, str]:
    """The Secret's data."""
    data = {names.CA_SECRET_CERTIFICATE: authorities.bundle()}
    data[names.CA_SECRET_SIGNER], data[names.CA_SECRET_KEY] = authorities.signer.pem()
    if authorities.successor:
        data[NEXT_CERTIFICATE], data[NEXT_KEY] = authorities.successor.pem()
    return {name: base64.b64encode(content).decode() for name, content in data.items()}


def parse_bundle(text: str) -> tuple[x509.Certificate, ...]:
    """The certificates in a `caBundle` (base64 of PEM). Raises ValueError."""
    return tuple(x509.load_pem_x509_certificates(base64.b64decode(text, validate=True)))


def carried(configuration: Mapping[str, Any] | None, bundle: bytes) -> bool:
    """Whether every webhook of a configuration trusts exactly this bundle."""
    expected = base64.b64encode(bundle).decode()
    webhooks = (configuration or {}).get("webhooks") or []
    return bool(webhooks) and all(each["clientConfig"].get("caBundle") == expected for each in webhooks)


def trusted_by(configuration: Mapping[str, Any] | None) -> tuple[x509.Certificate, ...]:
    """The certificates that any webhook of a configuration trusts and that can be read."""
    found: dict[x509.Certificate, None] = {}
    for webhook in (configuration or {}).get("webhooks") or []:
        try:
            found |= dict.fromkeys(parse_bundle(webhook["clientConfig"].get("caBundle", "")))
        except (ValueError, UnsupportedAlgorithm):
            continue
    return tuple(found)


_SIGNING_ONLY: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _alive(certificates: Iterable[x509.Certificate], now: datetime.datetime) -> tuple[x509.Certificate, ...]:
    return tuple(each for each in certificates if each.not_valid_after_utc > now)
