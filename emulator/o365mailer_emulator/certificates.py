"""The emulator's certificate authority, created at start or kept in a directory, and the certificates that it signs.

The extensions are those that Python ≥3.13 requires (VERIFY_X509_STRICT): critical basicConstraints and keyUsage,
subject and authority key identifiers.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from o365mailer_emulator.errors import ConfigurationError

ALWAYS = ("localhost", "127.0.0.1", "::1")
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class CertificateAuthority:
    """A certificate with its private key. It signs the certificates of the emulator's two TLS services."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate that a client must trust."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def server_context(self, names: Iterable[str], *, now: datetime.datetime) -> ssl.SSLContext:
        """TLS 1.2 or newer, with a certificate for ``names`` and the loopback names that is valid for a year."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(key, list(dict.fromkeys([*ALWAYS, *names])), now)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with _as_file(_key_pem(key) + leaf.public_bytes(serialization.Encoding.PEM)) as chain:
            context.load_cert_chain(chain)
        return context

    def _leaf(self, key: ec.EllipticCurvePrivateKey, names: list[str], now: datetime.datetime) -> x509.Certificate:
        builder = _builder(_name(names[-1][:64]), self.certificate.subject, key, now, days=365)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(authority, critical=False)
            .sign(self.key, hashes.SHA256())
        )


def create(*, now: datetime.datetime) -> CertificateAuthority:
    """A new authority, valid for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("O365 Mailer emulator CA")
    certificate = (
        _builder(name, name, key, now, days=3650)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return CertificateAuthority(certificate, key)


def keep(folder: Path, *, now: datetime.datetime) -> CertificateAuthority:
    """The authority in ``folder`` (ca.crt, ca.key), created if both are missing. Only the owner can read the key.

    Raises ConfigurationError if only one of the two exists, or if they cannot be read or written.
    """
    certificate_file, key_file = folder / "ca.crt", folder / "ca.key"
    if certificate_file.exists() and key_file.exists():
        return _load(certificate_file, key_file)
    if certificate_file.exists() or key_file.exists():
        raise ConfigurationError(f"{folder}: only one of ca.crt and ca.key is there; restore the other or remove both")
    authority = create(now=now)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_key_pem(authority.key))
        certificate_file.write_bytes(authority.pem)
    except OSError as wrong:
        raise ConfigurationError(f"--ca-dir {folder}: {wrong.strerror}; name a place that can be written") from wrong
    return authority


def _load(certificate_file: Path, key_file: Path) -> CertificateAuthority:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError) as wrong:
        raise ConfigurationError(f"{certificate_file.parent}: ca.crt or ca.key cannot be read: {wrong}") from wrong
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigurationError(f"{key_file}: not the EC key of {certificate_file}; remove both to have new ones made")
    return CertificateAuthority(certificate, key)


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path to read ``content`` from, because Python's ssl loads a key only from files.

    On Linux the file is in memory, because in a container no directory may be writable.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("chain"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime, *, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
