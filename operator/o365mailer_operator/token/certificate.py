"""PEM certificates and keys: the certificate credential, and authorities to trust.

What Entra or MSAL would refuse later, with a message of theirs, is found here, with a message of ours.

All of it runs on the controller's event loop, and a user who may write a Secret chooses the input. So sizes are checked
before anything is parsed, OpenSSL gets only RSA private keys, and it does not validate their numbers: a primality test
of a 15 KB RSA key, or of a 3 KB Diffie-Hellman key, blocks the loop for a minute.
"""

import base64
import binascii
import datetime
import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import PublicKeyAlgorithmOID

from o365mailer_operator.token.answer import Presented
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.credential import Attempt, Need, Proof, Source, read_file
from o365mailer_operator.token.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_INVALID,
    CERTIFICATE_KEY_MISMATCH,
    CERTIFICATE_KEY_NOT_RSA,
    CERTIFICATE_NOT_YET_VALID,
    CredentialError,
)
from o365mailer_operator.token.spec import CertificateCredential, Spec

TLS_CERTIFICATE: Final = "tls.crt"
TLS_KEY: Final = "tls.key"
"""The keys of a Secret of type kubernetes.io/tls."""
SMALLEST_KEY: Final = 2048
"""Bits (Microsoft, "Certificate credentials"; also what JOSE asks of PS256, RFC 7518 §3.5)."""
LARGEST_KEY: Final = 4096
"""Bits. A signature with a key of this size blocks the event loop for some milliseconds."""
LARGEST_PRIVATE_KEY: Final = 8 * 1024
"""Bytes of tls.key. A PEM key of 4,096 bits has 3,300."""
LARGEST_CERTIFICATE: Final = 32 * 1024
"""Bytes of tls.crt with its chain. A PEM certificate has about 2,000."""
LARGEST_BUNDLE: Final = 512 * 1024
"""Bytes of an authority bundle. Mozilla's, with every public authority, has 240 KB."""
MOST_AUTHORITIES: Final = 400
"""Certificates in a bundle. Mozilla's has 120 to 150; one of small EC keys costs 50 µs."""
LARGEST_EXPONENT: Final = 2**64
"""Of a public key, nearly always 65537. OpenSSL verifies nothing with a larger one and a key of more than 3,072 bits
(OPENSSL_RSA_MAX_PUBEXP_BITS), and with one of 4,096 bits signing takes a tenth of a second."""
LARGEST_AUTHORITY_KEY: Final = 16384
"""Bits of an authority's RSA key: OpenSSL verifies nothing with a larger one (OPENSSL_RSA_MAX_MODULUS_BITS)."""
PAIRS_KEPT: Final = 256
BUNDLES_KEPT: Final = 32
"""How many parsed pairs and bundles are kept: a reconcile comes every minute, and Secrets seldom change."""

_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----(.*?)-----END \1PRIVATE KEY-----", re.DOTALL)
_RSA_IN_PKCS8: Final = re.compile(
    rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)\x02\x01[\x00\x01]\x30[\x00-\x7f]\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01[\x01\x0a]",
    re.DOTALL,
)
"""How PrivateKeyInfo (RFC 5958 §2) begins in DER with the algorithm rsaEncryption or id-RSASSA-PSS."""
_RSA: Final = frozenset({PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5, PublicKeyAlgorithmOID.RSASSA_PSS})
_AUTHORITY_KEYS: Final = _RSA | {
    PublicKeyAlgorithmOID.EC_PUBLIC_KEY,
    PublicKeyAlgorithmOID.ED25519,
    PublicKeyAlgorithmOID.ED448,
}
"""The kinds of keys that sign TLS certificates. Reading the parameters of others can take a minute."""

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_FROM_PFX: Final = (
    "is a PKCS#12 file (.pfx, .p12). Take the certificate and the key out of it: "
    "openssl pkcs12 -in FILE -clcerts -nokeys -out tls.crt; openssl pkcs12 -in FILE -nocerts -nodes -out tls.key"
)
_CERTIFICATE_FROM_DER: Final = (
    "is a certificate in DER form. Convert it to PEM: openssl x509 -inform DER -in FILE -out tls.crt"
)
_KEY_FROM_DER: Final = "is a private key in DER form. Convert it to PEM: openssl pkey -inform DER -in FILE -out tls.key"
_FROM_PKCS7: Final = (
    "is a PKCS#7 file (.p7b). Take the certificates out of it: openssl pkcs7 -print_certs -in FILE -out tls.crt"
)
_DER_FORMS: Final = (
    (b"\x02\x01\x03", _FROM_PFX),  # PFX (RFC 7292 §4) begins with its version
    (b"\x02\x01\x00", _KEY_FROM_DER),
    (b"\x02\x01\x01", _KEY_FROM_DER),
    (b"\x06", _FROM_PKCS7),
    (b"\x30", _CERTIFICATE_FROM_DER),
)
"""What follows the head of the outermost SEQUENCE in DER, and what kind of file that is."""
_KEY_FROM_OPENSSH: Final = (
    "is an OpenSSH key. Convert a copy of it to PEM: ssh-keygen -p -N '' -m PEM -f FILE, and put that in"
)
_ENCRYPTED: Final = (
    "is encrypted, and no passphrase can be given. Take the passphrase off: openssl pkey -in FILE -out tls.key"
)


@dataclass(frozen=True)
class Certificate:
    """A certificate credential: PEM texts of the leaf and of its RSA key."""

    ref: str
    certificate: str
    key: str = field(repr=False)
    not_before: datetime.datetime
    not_after: datetime.datetime
    private: rsa.RSAPrivateKey = field(repr=False, compare=False)
    """The parsed key. If MSAL parsed it, OpenSSL would validate its numbers at each token request."""

    def __str__(self) -> str:
        return f"the certificate {self.ref}"

    def content(self) -> Sequence[bytes]:
        """The certificate and its key."""
        return (self.certificate.encode(), self.key.encode())

    async def acquire(self, attempt: Attempt) -> Token:
        """A token. Raises TokenError."""
        self.check_validity(attempt.now)
        # With a PEM certificate and no thumbprint MSAL signs with PS256 and names the key by x5t#S256. It passes a key
        # object on to PyJWT as it is (msal.oauth2cli.JwtAssertionCreator). PEM would be parsed again, and OpenSSL would
        # validate its numbers: half a second for 4,096 bits, during which no other thread of this process runs.
        signer = {"private_key": self.private, "public_certificate": self.certificate}
        return await attempt.ask(Proof(f"the Secret {self.ref}", Presented(str(self)), signer))

    def check_validity(self, now: datetime.datetime) -> None:
        """Raises CredentialError."""
        if now >= self.not_after:
            raise CredentialError(
                CERTIFICATE_EXPIRED,
                f"The certificate in the Secret {self.ref} expired at {self.not_after:%Y-%m-%dT%H:%M:%SZ}. "
                "Renew it, and upload the new one to the app registration.",
                secret=self.ref,
            )
        if now < self.not_before:
            raise CredentialError(
                CERTIFICATE_NOT_YET_VALID,
                f"The certificate in the Secret {self.ref} is valid from {self.not_before:%Y-%m-%dT%H:%M:%SZ} on. "
                "Wait, or set the clock of this node right.",
                secret=self.ref,
            )


def needs(part: CertificateCredential) -> frozenset[Need]:
    """Both keys of the Secret that a spec names."""
    return frozenset(Need("Secret", part.secret_ref.name, key) for key in (TLS_CERTIFICATE, TLS_KEY))


def read(part: CertificateCredential, source: Source, _spec: Spec) -> Certificate:
    """The credential of a spec. Raises CredentialError."""
    name = part.secret_ref.name
    return read_certificate(
        secret=name,
        certificate=read_file(Need("Secret", name, TLS_CERTIFICATE), source),
        key=read_file(Need("Secret", name, TLS_KEY), source),
    )


@functools.lru_cache(maxsize=PAIRS_KEPT)
def read_certificate(*, secret: str, certificate: bytes, key: bytes) -> Certificate:
    """The credential in a kubernetes.io/tls Secret. The first certificate is the leaf; the others are not needed.

    Raises CredentialError.
    """
    leaf = _leaf(certificate, secret=secret)
    pem = _rsa_pem(key, secret=secret)
    private = _rsa_key(pem, secret=secret)
    if not _is_key_of(private, leaf):
        raise CredentialError(
            CERTIFICATE_KEY_MISMATCH,
            f"In the Secret {secret}, tls.key is not the key of the first certificate in tls.crt. "
            "Put in the pair that was made together, the leaf certificate first.",
            secret=secret,
        )
    return Certificate(
        ref=secret,
        certificate=leaf.public_bytes(Encoding.PEM).decode(),
        key=pem.decode(),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        private=private,
    )


@functools.lru_cache(maxsize=PAIRS_KEPT)
def certificate_end(pem: bytes) -> datetime.datetime:
    """When the first certificate of a tls.crt ends, whatever its key is. Raises ValueError if there is none."""
    if len(pem) > LARGEST_CERTIFICATE:
        raise ValueError("too large")
    return _certificates(pem)[0].not_valid_after_utc


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM file. Raises ValueError if there is none, or one that cannot be read."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except x509.InvalidVersion as error:  # it is no ValueError
        raise ValueError(str(error)) from None


class BundleError(ValueError):
    """A file is no bundle of authorities. The text goes on after "The key …"."""


@functools.lru_cache(maxsize=BUNDLES_KEPT)
def read_authorities(pem: bytes) -> str:
    """The certificates in a PEM file, and nothing else that may be in it, because pods can read the result.

    Raises BundleError.
    """
    problem = _bundle_problem(pem)
    if problem:
        raise BundleError(problem)
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in _certificates(pem))


def _bundle_problem(pem: bytes) -> str | None:
    if len(pem) > LARGEST_BUNDLE:
        return f"has {len(pem)} bytes, and at most {LARGEST_BUNDLE} are read. Put in only the authorities needed"
    if (count := pem.count(b"-----BEGIN ")) > MOST_AUTHORITIES:  # they have two labels
        return (
            f"holds {count} certificates, and at most {MOST_AUTHORITIES} are read. Put in only the authorities needed"
        )
    try:
        certificates = _certificates(pem)
    except ValueError:
        return (
            _other_form(pem)
            or f"holds no PEM certificate. Put in the authority's certificate, which begins with {_BEGIN}"
        )
    for number, each in enumerate(certificates, start=1):
        if not _may_sign(each):
            return (
                f"holds a certificate (number {number}) whose public key is not RSA of at most "
                f"{LARGEST_AUTHORITY_KEY} bits, ECDSA on a named curve, Ed25519 or Ed448. Take it out"
            )
        if not _has_names(each):
            return f"holds a certificate (number {number}) that OpenSSL cannot read. Take it out"
    return None


def _has_names(certificate: x509.Certificate) -> bool:
    """Whether its names can be read, unlike one that says it is UTF-8 and is not. OpenSSL reads them with the rest, and
    cryptography when they are asked for. To load all into OpenSSL would take 0.4 ms each."""
    try:
        return all(name is not None for name in (certificate.subject, certificate.issuer))
    except ValueError:
        return False


def _may_sign(certificate: x509.Certificate) -> bool:
    if certificate.public_key_algorithm_oid not in _AUTHORITY_KEYS:
        return False
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return not isinstance(key, rsa.RSAPublicKey) or key.key_size <= LARGEST_AUTHORITY_KEY


def _leaf(pem: bytes, *, secret: str) -> x509.Certificate:
    if len(pem) > LARGEST_CERTIFICATE:
        problem = f"has {len(pem)} bytes, and at most {LARGEST_CERTIFICATE} are read. Put in the certificate alone"
    else:
        try:
            return _certificates(pem)[0]
        except ValueError:
            problem = _other_form(pem) or f"is not a PEM certificate. Put in the file that begins with {_BEGIN}"
    raise CredentialError(
        CERTIFICATE_INVALID, f"The key tls.crt of the Secret {secret} {problem}.", secret=secret, key="tls.crt"
    )


def _rsa_pem(pem: bytes, *, secret: str) -> bytes:
    """The first private key of a PEM file, encoded again, so that OpenSSL reads exactly the bytes that were checked.

    Raises CredentialError.
    """
    if len(pem) > LARGEST_PRIVATE_KEY:
        raise _key_invalid(
            secret, f"has {len(pem)} bytes, and at most {LARGEST_PRIVATE_KEY} are read. Put in the private key alone"
        )
    found = _PRIVATE_KEY.search(pem)
    if not found:
        form = _other_form(pem)
        raise _key_invalid(
            secret, form or "is not a PEM private key. Put in the file that begins with -----BEGIN PRIVATE KEY-----"
        )
    label, body = found[1].decode(), found[2]
    if label == "ENCRYPTED " or b"Proc-Type" in body:  # PKCS#8 (RFC 5958 §3), and OpenSSL's older form
        raise _key_invalid(secret, _ENCRYPTED)
    if label == "OPENSSH ":
        raise _key_invalid(secret, _KEY_FROM_OPENSSH)
    der = _decoded(body)
    if der is None:
        raise _key_invalid(secret, "is damaged: what stands in it is not base64. Copy the file again")
    if not (label == "RSA " or (label == "" and _RSA_IN_PKCS8.match(der))):
        raise _not_rsa(secret)
    # Not `found[0]`: OpenSSL could see another key in it, after header lines that base64 decoding skips.
    return b"-----BEGIN %bPRIVATE KEY-----\n%b-----END %bPRIVATE KEY-----\n" % (
        found[1],
        base64.encodebytes(der),
        found[1],
    )


def _rsa_key(pem: bytes, *, secret: str) -> rsa.RSAPrivateKey:
    """Raises CredentialError."""
    try:
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _key_invalid(secret, "is damaged. Copy the file again") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < SMALLEST_KEY:
        raise _not_rsa(secret)
    if key.key_size > LARGEST_KEY:
        raise _key_invalid(
            secret,
            f"is an RSA key of {key.key_size} bits, and at most {LARGEST_KEY} are taken. Make a key of 2048, 3072 or "
            "4096 bits, and upload its certificate to the app registration",
        )
    if not _consistent(key.private_numbers()):
        raise _key_invalid(secret, "is damaged: its numbers do not make an RSA key. Copy the file again")
    return key


def _consistent(numbers: rsa.RSAPrivateNumbers) -> bool:
    """Whether the numbers belong together (RFC 8017 §3.2), without a test whether p and q are prime.

    The size of p and q decides the cost of a signature, so each has at most half the bits of the largest key.
    """
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    p, q, d = numbers.p, numbers.q, numbers.d
    largest = 2 ** (LARGEST_KEY // 2)
    if not (2 < p < largest and 2 < q < largest and p * q == n and n % 2 and d < n and e < LARGEST_EXPONENT):
        return False
    return (
        d * e % math.lcm(p - 1, q - 1) == 1
        and (numbers.dmp1, numbers.dmq1) == (d % (p - 1), d % (q - 1))
        and numbers.iqmp * q % p == 1
    )


def _is_key_of(private: rsa.RSAPrivateKey, leaf: x509.Certificate) -> bool:
    if leaf.public_key_algorithm_oid not in _RSA:
        return False
    try:
        return private.public_key() == leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False


def _other_form(content: bytes) -> str | None:
    """What kind of file this is instead of PEM, and how to convert it; None for an unknown kind."""
    if form := _form(content):
        return form
    inner = _decoded(content) or b""
    form = _form(inner) or ("is PEM" if b"-----BEGIN " in inner else None)
    return form and f"{form}; it is encoded in base64, so decode it first: base64 -d"


def _form(content: bytes) -> str | None:
    if b"-----BEGIN PKCS7-----" in content:
        return _FROM_PKCS7
    if b"-----BEGIN OPENSSH PRIVATE KEY-----" in content:
        return _KEY_FROM_OPENSSH
    head = re.match(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...)(.{3})", content, re.DOTALL)
    return next((form for start, form in _DER_FORMS if head and head[1].startswith(start)), None)


def _decoded(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        return None


def _key_invalid(secret: str, problem: str) -> CredentialError:
    return CredentialError(
        CERTIFICATE_INVALID, f"The key tls.key of the Secret {secret} {problem}.", secret=secret, key="tls.key"
    )


def _not_rsa(secret: str) -> CredentialError:
    return CredentialError(
        CERTIFICATE_KEY_NOT_RSA,
        f"The key tls.key of the Secret {secret} is not RSA with {SMALLEST_KEY} bits or more; Entra takes no "
        "other. With cert-manager, set privateKey: {algorithm: RSA, size: 2048} in the Certificate, and upload the "
        "new one.",
        secret=secret,
        key="tls.key",
    )
