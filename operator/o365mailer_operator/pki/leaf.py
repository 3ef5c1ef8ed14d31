"""The webhook's own server certificate, signed here by the authority whose Secret is mounted.

Every replica signs its own short leaf, without any request or coordination. A leaf never outlives its authority, so the
controller trusts an old authority exactly until it expires.
"""

import datetime
import ipaddress
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from o365mailer_contract import names
from o365mailer_operator.pki.authority import BACKDATED, ForeignKey, Pair, read_pair

FILE_LIMIT: Final = 1 << 20
"""Bytes: a Secret cannot be larger."""


class UnusableAuthority(Exception):
    """The directory holds no authority that can sign now; the message says what is missing. Time heals it: the
    controller writes the Secret, and kubelet delivers it."""


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A server certificate with its key."""

    pair: Pair
    issuer: int
    """The serial of its authority."""
    issued: datetime.datetime

    @property
    def not_after(self) -> datetime.datetime:
        return self.pair.certificate.not_valid_after_utc

    def renewal(self) -> datetime.datetime:
        """The end of two thirds of its life."""
        return self.issued + (self.not_after - self.issued) * 2 / 3


def service_names(service: str, namespace: str, extra: Iterable[str] = ()) -> tuple[str, ...]:
    """All DNS names of a Service (kubernetes.io, "DNS for Services and Pods"); the API server uses the third."""
    suffixes = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    return (*(service + suffix for suffix in suffixes), *extra)


def read_authority(directory: Path) -> Pair:
    """The authority in a mounted Secret.

    Certificate and key are read through one descriptor of what `..data` points to, which kubelet may swap in between.

    Raises UnusableAuthority.
    """
    try:
        descriptor = _open_snapshot(directory)
    except OSError as error:
        raise UnusableAuthority(f"{directory}: {error.strerror}: is Secret {names.CA_SECRET} mounted there?") from None
    try:
        return read_pair(
            _read(descriptor, names.CA_SECRET_SIGNER, directory), _read(descriptor, names.CA_SECRET_KEY, directory)
        )
    except ForeignKey:
        raise UnusableAuthority(
            f"{directory}: {names.CA_SECRET_KEY} is not the key of {names.CA_SECRET_SIGNER}: delete Secret "
            f"{names.CA_SECRET}, the controller makes it anew"
        ) from None
    except ValueError:
        raise UnusableAuthority(f"{directory}: {names.CA_SECRET_SIGNER} or {names.CA_SECRET_KEY} is not PEM") from None
    finally:
        os.close(descriptor)


def sign_leaf(
    authority: Pair, *, server_names: Iterable[str], now: datetime.datetime, lifetime: datetime.timedelta
) -> Leaf:
    """A new key and certificate for these DNS names and IP addresses, valid from now for `lifetime`, or until its
    authority expires if that is earlier.

    Raises UnusableAuthority if the authority has expired.
    """
    not_after = min(now + lifetime, authority.certificate.not_valid_after_utc)
    if not_after <= now:
        raise UnusableAuthority(f"the authority expired at {not_after:%Y-%m-%dT%H:%M:%SZ}: is the controller running?")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "o365mailer-webhook")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectAlternativeName([_general_name(each) for each in server_names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Leaf(pair=Pair(certificate=certificate, key=key), issuer=authority.serial, issued=now)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _open_snapshot(directory: Path) -> int:
    try:
        return os.open(directory / names.DATA_LINK, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)


def _read(directory: int, name: str, shown: Path) -> bytes:
    try:
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnusableAuthority(f"{shown}: {name} is not a file")
            return file.read(FILE_LIMIT)
    except OSError as error:
        raise UnusableAuthority(f"{shown}: {name}: {error.strerror}") from None
