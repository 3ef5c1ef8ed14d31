"""Specs, Secrets and certificates for the tests of the token modules."""

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.emulator_client import EmulatorClient
from support.held import Held

from o365mailer_cli.document import named_hosts
from o365mailer_operator.token.grant import Grant, grant_of
from o365mailer_operator.token.spec import decode_spec

NOW = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.UTC)

SpecMaker = Callable[..., dict[str, Any]]
Secrets = Mapping[str, Mapping[str, bytes]]


@pytest.fixture
def now() -> datetime.datetime:
    """A fixed instant."""
    return NOW


@pytest.fixture
def spec_of() -> SpecMaker:
    """A complete, valid spec as JSON would hold it, with members replaced."""

    def make(**members: Any) -> dict[str, Any]:
        return {
            "tenantId": "11111111-1111-4111-8111-111111111111",
            "clientId": "22222222-2222-4222-8222-222222222222",
            "mailbox": "noreply@contoso.com",
            "credential": {"clientSecret": {"secretRefs": [{"name": "noreply", "key": "secret"}]}},
            **members,
        }

    return make


@pytest.fixture
def emulated(emulator: EmulatorClient, spec_of: SpecMaker) -> Callable[..., Grant]:
    """A grant for the emulator's application: `secrets` by name and key, `members` of the spec replaced."""

    def make(secrets: Secrets | None = None, **members: Any) -> Grant:
        authority = Path(emulator.ca_file).read_bytes()
        known: dict[str, Mapping[str, bytes]] = {
            "noreply": {"secret": emulator.client_secret.encode()},
            "authority": {"ca.crt": authority},
            **(secrets or {}),
        }
        spec = decode_spec(
            spec_of(
                **{
                    "tenantId": emulator.tenant,
                    "clientId": emulator.client_id,
                    "authority": {"url": emulator.authority, "ca": {"secretRef": {"name": "authority"}}},
                    **members,
                }
            )
        )
        return grant_of(spec, Held(known), allowed=named_hosts(spec.endpoints))

    return make


class Pair:
    """A self-signed certificate and its key, as PEM."""

    def __init__(
        self,
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        *,
        not_before: datetime.datetime,
        not_after: datetime.datetime,
    ) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "noreply")])
        self.private = key
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .sign(key, hashes.SHA256())
        )
        self.crt = self.certificate.public_bytes(Encoding.PEM)
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def locked_key(self) -> bytes:
        """The key under a passphrase."""
        lock = BestAvailableEncryption(b"not-a-secret")
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)

    @property
    def secret(self) -> Mapping[str, bytes]:
        """As a Secret of type kubernetes.io/tls."""
        return {"tls.crt": self.crt, "tls.key": self.key}


PairMaker = Callable[..., Pair]


@pytest.fixture(scope="session")
def rsa_keys() -> list[rsa.RSAPrivateKey]:
    """Two keys for the whole session: making one takes a tenth of a second."""
    return [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


@pytest.fixture
def pair_of(rsa_keys: list[rsa.RSAPrivateKey]) -> PairMaker:
    """A pair that is valid now, with another key or validity if asked."""

    def make(
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
        *,
        valid: tuple[datetime.timedelta, datetime.timedelta] = (
            datetime.timedelta(days=-1),
            datetime.timedelta(days=1),
        ),
    ) -> Pair:
        today = datetime.datetime.now(datetime.UTC)
        return Pair(key or rsa_keys[0], not_before=today + valid[0], not_after=today + valid[1])

    return make
