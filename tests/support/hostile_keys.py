"""Private keys and certificates that are small enough for a Secret and dear to read, written in DER by hand."""

import base64
import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

DIFFIE_HELLMAN = bytes.fromhex("06092a864886f70d010301")
"""The object identifier dhKeyAgreement in DER (PKCS #3)."""
RSA_ENCRYPTION = bytes.fromhex("06092a864886f70d010101")


def tlv(tag: int, *parts: bytes) -> bytes:
    """One DER value (X.690 §8.1)."""
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE."""
    return tlv(0x30, *parts)


def integer(value: int) -> bytes:
    """An INTEGER."""
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def pem(label: str, der: bytes, *, headers: bytes = b"") -> bytes:
    """A PEM block (RFC 7468), with RFC 1421's header lines if asked."""
    return b"-----BEGIN %b-----\n%b%b-----END %b-----\n" % (
        label.encode(),
        headers,
        base64.encodebytes(der),
        label.encode(),
    )


def rsa_key(p: int, q: int, *, n: int | None = None, e: int = 65537, d: int | None = None) -> bytes:
    """An RSA key in PEM of these primes, or with numbers that do not belong to them."""
    d = d or pow(e, -1, (p - 1) * (q - 1))
    numbers = (0, n or p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    return pem("RSA PRIVATE KEY", sequence(*(integer(each) for each in numbers)))


def diffie_hellman(bits: int) -> bytes:
    """A key of PKCS #3. OpenSSL asks whether its modulus is a safe prime: 45 s for 9,689 bits."""
    modulus = 2**bits - 1
    algorithm = sequence(DIFFIE_HELLMAN, sequence(integer(modulus), integer(3)))
    return sequence(integer(0), algorithm, tlv(0x04, integer(modulus // 3)))


def certificate_of(public: bytes, *, signer: rsa.RSAPrivateKey) -> bytes:
    """A certificate in PEM of a key that is given as SubjectPublicKeyInfo (RFC 5280 §4.1)."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "noreply")])
    now = datetime.datetime.now(datetime.UTC)
    whole = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(signer.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(signer, hashes.SHA256())
    )
    own = signer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    content = whole.tbs_certificate_bytes
    head = content.index(b"\xa0\x03\x02\x01\x02")  # the version, after the head of the SEQUENCE
    return pem(
        "CERTIFICATE",
        sequence(
            sequence(content[head:].replace(own, public)),
            sequence(bytes.fromhex("06092a864886f70d01010b"), b"\x05\x00"),
            tlv(0x03, b"\0", whole.signature),
        ),
    )


def public_key(algorithm: bytes, key: bytes) -> bytes:
    """A SubjectPublicKeyInfo."""
    return sequence(algorithm, tlv(0x03, b"\0", key))
