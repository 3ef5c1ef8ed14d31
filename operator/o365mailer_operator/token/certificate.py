"""PEM certificates and keys: the certificate credential, and authorities to trust.

Everything that Entra or MSAL would refuse later, with a message of theirs, is found here, with one of ours.
"""

import datetime
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from o365mailer_operator.token.errors import (
    AuthoritiesInvalid,
    CertificateExpired,
    CertificateInvalid,
    CertificateKeyMismatch,
    CertificateKeyNotRSA,
    CertificateNotYetValid,
)

SMALLEST_KEY: Final = 2048
"""Bits (Microsoft, "Certificate credentials"; also what JOSE asks of PS256, RFC 7518 §3.5)."""


@dataclass(frozen=True)
class Certificate:
    """A certificate credential: PEM texts of the leaf and of its RSA key."""

    ref: str
    certificate: str
    key: str = field(repr=False)
    not_before: datetime.datetime
    not_after: datetime.datetime

    def check_validity(self, now: datetime.datetime) -> None:
        """Raises CertificateExpired or CertificateNotYetValid."""
        if now >= self.not_after:
            raise CertificateExpired(
                f"The certificate in the Secret {self.ref} expired at {self.not_after:%Y-%m-%dT%H:%M:%SZ}. "
                "Renew it, and upload the new one to the app registration.",
                secret=self.ref,
            )
        if now < self.not_before:
            raise CertificateNotYetValid(
                f"The certificate in the Secret {self.ref} is valid from {self.not_before:%Y-%m-%dT%H:%M:%SZ} on. "
                "Wait, or set the clock of this node right.",
                secret=self.ref,
            )


def read_certificate(*, secret: str, certificate: bytes, key: bytes) -> Certificate:
    """The credential in a kubernetes.io/tls Secret. The first certificate is the leaf; what follows is not needed.

    Raises CertificateInvalid, CertificateKeyNotRSA, CertificateKeyMismatch.
    """
    leaf = _leaf(certificate)
    if leaf is None:
        raise CertificateInvalid(
            f"The key tls.crt of the Secret {secret} is not a PEM certificate. Put in the file that begins with "
            "-----BEGIN CERTIFICATE-----.",
            secret=secret,
        )
    private = _private_key(key)
    if private is None:
        raise CertificateInvalid(
            f"The key tls.key of the Secret {secret} is not an unencrypted PEM private key. "
            "Take the passphrase off (openssl pkey -in … -out …).",
            secret=secret,
        )
    if not isinstance(private, rsa.RSAPrivateKey) or private.key_size < SMALLEST_KEY:
        raise CertificateKeyNotRSA(
            f"The key tls.key of the Secret {secret} is not RSA with {SMALLEST_KEY} bits or more; Entra takes no "
            "other. With cert-manager, set privateKey: {algorithm: RSA, size: 2048} in the Certificate, and upload the "
            "new one.",
            secret=secret,
        )
    if private.public_key() != leaf.public_key():
        raise CertificateKeyMismatch(
            f"In the Secret {secret}, tls.key is not the key of the first certificate in tls.crt. "
            "Put in the pair that was made together, the leaf certificate first.",
            secret=secret,
        )
    return Certificate(
        ref=secret,
        certificate=leaf.public_bytes(Encoding.PEM).decode(),
        key=key.decode(),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


def read_authorities(pem: str, *, secret: str, key: str) -> str:
    """The certificates in a PEM text, and nothing else that may be in it: it is copied to where pods read it.

    Raises AuthoritiesInvalid.
    """
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        certificates = []
    if not certificates:
        raise AuthoritiesInvalid(
            f"The key {key} of the Secret {secret} holds no PEM certificate. Put in the authority's certificate, "
            "which begins with -----BEGIN CERTIFICATE-----.",
            secret=secret,
            key=key,
        )
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def _leaf(pem: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        return None


def _private_key(pem: bytes) -> PrivateKeyTypes | None:
    """None for what is no PEM key, and for an encrypted one."""
    try:
        return load_pem_private_key(pem, password=None)
    except Exception:  # noqa: BLE001 - ValueError, TypeError, UnsupportedAlgorithm: all of them mean not a key for us
        return None
