"""No Secret's content holds the event loop: everything is small before it is parsed, and no number is tested.

Nothing here is measured by the clock. What is dear in a key is given to OpenSSL or it is not.
"""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from support.held import Held
from support.hostile_keys import (
    DIFFIE_HELLMAN,
    RSA_ENCRYPTION,
    certificate_of,
    diffie_hellman,
    integer,
    pem,
    public_key,
    rsa_key,
    sequence,
)
from support.refused import refused

from o365mailer_operator.controller.token_secret import SecretFiles
from o365mailer_operator.token import certificate as subject
from o365mailer_operator.token.certificate import (
    LARGEST_BUNDLE,
    LARGEST_CERTIFICATE,
    LARGEST_KEY,
    LARGEST_PRIVATE_KEY,
    BundleError,
    read_authorities,
    read_certificate,
)
from o365mailer_operator.token.clientsecret import LONGEST_SECRET
from o365mailer_operator.token.credential import KEYS_COMPARED
from o365mailer_operator.token.grant import read_credential
from o365mailer_operator.token.spec import decode_spec

pytestmark = pytest.mark.promise("load-does-not-block")


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[rsa.RSAPrivateKey]]:
    """The private keys that OpenSSL was given. Any that could cost time to read fails the test, and is not read."""
    keys: list[rsa.RSAPrivateKey] = []

    def load(text: bytes, password: None, **options: Any) -> Any:
        assert len(text) <= LARGEST_PRIVATE_KEY + 200
        assert options == {"unsafe_skip_rsa_key_validation": True}
        der = base64.b64decode(b"".join(text.splitlines()[1:-1]), validate=True)
        assert text.startswith(b"-----BEGIN RSA PRIVATE KEY-----") or RSA_ENCRYPTION in der[:24]
        key = load_pem_private_key(text, password, **options)
        keys.append(key)
        return key

    monkeypatch.setattr(subject, "load_pem_private_key", load)
    read_certificate.cache_clear()
    read_authorities.cache_clear()
    yield keys
    read_certificate.cache_clear()
    read_authorities.cache_clear()


LARGE = rsa_key(2**3217 - 1, 2**4253 - 1)  # 7,470 bits in 5.9 KB: six seconds, validated
GIANT = rsa_key(2**9689 - 1, 2**9941 - 1)  # 19,630 bits in 15 KB: more than a minute
PKCS8_DH = diffie_hellman(9689)  # 3.4 KB: 45 seconds, though RSA validation is off
DISGUISE = b"MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEA: 1\n\n"

KEYS = {
    "RSA, 7,470 bits": (LARGE, "CertificateInvalid", "is an RSA key of 7470 bits, and at most 4096 are taken"),
    "RSA, 19,630 bits": (GIANT, "CertificateInvalid", "and at most 8192 are read"),
    "Diffie-Hellman": (pem("PRIVATE KEY", PKCS8_DH), "CertificateKeyNotRSA", "is not RSA with 2048 bits or more"),
    "Diffie-Hellman, labelled as RSA": (pem("RSA PRIVATE KEY", PKCS8_DH), "CertificateInvalid", "is damaged"),
    "Diffie-Hellman after header lines that begin like RSA": (
        pem("PRIVATE KEY", PKCS8_DH, headers=DISGUISE),
        "CertificateInvalid",
        "is damaged",
    ),
    "a key of 8 KB and one byte": (LARGE + b"#" * (8193 - len(LARGE)), "CertificateInvalid", "has 8193 bytes"),
    "a comment of a megabyte": (b"# comment\n" * 100_000 + LARGE, "CertificateInvalid", "has 1005"),
    "beginnings without an end": (
        b"-----BEGIN PRIVATE KEY-----" * 300,
        "CertificateInvalid",
        "is not a PEM private key",
    ),
    "RSA with a prime of another key": (
        rsa_key(2**3217 - 1, 2**4253 - 1, n=2**2048 + 1),
        "CertificateInvalid",
        "its numbers do not make an RSA key",
    ),
    "RSA with one prime of nearly all bits": (
        rsa_key(2**3217 - 1, 2**521 - 1),
        "CertificateInvalid",
        "its numbers do not make an RSA key",
    ),
    "RSA with an even number for a prime": (
        rsa_key(2**1279 + 2, 2**1279 - 1),
        "CertificateInvalid",
        "its numbers do not make an RSA key",
    ),
    "RSA with an exponent of nearly all bits": (
        rsa_key(2**1279 - 1, 2**2203 - 1, e=2**3217 - 1),
        "CertificateInvalid",
        "its numbers do not make an RSA key",
    ),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_private_key_that_is_expensive_to_parse_is_refused_unparsed(pair_of: Any, case: str) -> None:
    key, reason, words = KEYS[case]

    with refused(reason) as caught:
        read_certificate(secret="pair", certificate=pair_of().crt, key=key)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        dsa.generate_private_key(key_size=1024),  # noqa: S505 - it has to be refused
    ],
    ids=["EC", "Ed25519", "DSA"],
)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS#8", "older"])
def test_another_kind_of_key_is_told_unread(pair_of: Any, loaded: list[Any], key: Any, form: PrivateFormat) -> None:
    if isinstance(key, ed25519.Ed25519PrivateKey) and form is not PrivateFormat.PKCS8:
        form = PrivateFormat.PKCS8  # it has no older form
    text = key.private_bytes(Encoding.PEM, form, NoEncryption())

    with refused("CertificateKeyNotRSA"):
        read_certificate(secret="pair", certificate=pair_of().crt, key=text)

    assert loaded == []


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS#8", "PKCS#1"])
@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_a_good_key_is_read_once_and_handed_on_in_one_piece(
    pair_of: Any, loaded: list[Any], bits: int, form: PrivateFormat
) -> None:
    """What makes the refusals mean something."""
    pair = pair_of(rsa.generate_private_key(public_exponent=65537, key_size=bits))
    text = b"Bag Attributes\n" + pair.private.private_bytes(Encoding.PEM, form, NoEncryption())

    found = [read_certificate(secret="pair", certificate=pair.crt, key=text) for _ in range(3)]

    assert len(loaded) == 1
    numbers = load_pem_private_key(found[2].key.encode(), None).private_numbers()  # type: ignore[union-attr]
    assert numbers == pair.private.private_numbers()
    assert max(numbers.p, numbers.q).bit_length() <= LARGEST_KEY // 2


def test_no_more_pairs_and_bundles_are_kept_than_memory_has_room_for() -> None:
    pairs = read_certificate.cache_info().maxsize
    bundles = read_authorities.cache_info().maxsize

    assert pairs is not None
    assert bundles is not None
    assert pairs * (LARGEST_CERTIFICATE + 3 * LARGEST_PRIVATE_KEY) + bundles * 2 * LARGEST_BUNDLE <= 64 * 2**20


def test_a_chain_without_end_is_refused_unread(pair_of: Any) -> None:
    pair = pair_of()

    with refused("CertificateInvalid", match=r"tls\.crt of the Secret pair has \d+ bytes, and at most 32768"):
        read_certificate(secret="pair", certificate=pair.crt * 50, key=pair.key)

    assert read_certificate(secret="pair", certificate=pair.crt * 20, key=pair.key).certificate == pair.crt.decode()


DH_PUBLIC = public_key(
    sequence(DIFFIE_HELLMAN, sequence(integer(2**9689 - 1), integer(3))), integer((2**9689 - 1) // 3)
)
LARGE_RSA_PUBLIC = public_key(sequence(RSA_ENCRYPTION, b"\x05\x00"), sequence(integer(2**16400 - 1), integer(65537)))
EXPLICIT_CURVE = public_key(
    sequence(
        bytes.fromhex("06072a8648ce3d0201"),
        sequence(
            integer(1),
            sequence(bytes.fromhex("06072a8648ce3d0101"), integer(2**607 - 1)),
            sequence(b"\x04\x01\x01", b"\x04\x01\x02"),
            b"\x04\x01\x00",
            integer(2**607 - 3),
        ),
    ),
    b"\x00",
)
PUBLIC_KEYS = {"Diffie-Hellman": DH_PUBLIC, "RSA": LARGE_RSA_PUBLIC, "a curve of its own": EXPLICIT_CURVE}


@pytest.fixture
def dear_certificate(rsa_keys: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], bytes]:
    """A certificate whose public key is dear to read or to verify with."""
    return lambda case: certificate_of(PUBLIC_KEYS[case], signer=rsa_keys[0])


@pytest.mark.parametrize("case", PUBLIC_KEYS)
def test_a_leaf_with_an_expensive_public_key_is_not_parsed_further(
    pair_of: Any, dear_certificate: Callable[[str], bytes], case: str
) -> None:
    with refused("CertificateKeyMismatch"):
        read_certificate(secret="pair", certificate=dear_certificate(case), key=pair_of().key)


@pytest.mark.parametrize("case", PUBLIC_KEYS)
def test_an_authority_with_an_expensive_public_key_is_refused_by_its_number(
    pair_of: Any, dear_certificate: Callable[[str], bytes], case: str
) -> None:
    good = pair_of().crt

    with pytest.raises(BundleError, match=r"holds a certificate \(number 2\) whose public key is not RSA of at"):
        read_authorities(good + dear_certificate(case))

    assert read_authorities(good) == good.decode()


def test_a_bundle_of_every_public_authority_is_read_and_one_without_end_is_not(pair_of: Any) -> None:
    good = pair_of().crt

    assert read_authorities(good * 250) == (good * 250).decode()
    with pytest.raises(BundleError, match="bytes, and at most 524288 are read"):
        read_authorities(good * 1000)
    with pytest.raises(BundleError, match="holds 401 certificates, and at most 400 are read"):
        read_authorities(good * 401)


def test_a_client_secret_without_end_is_refused(spec_of: Any) -> None:
    spec = decode_spec(spec_of())

    with refused("SecretKeyNotText", match="has 4097 bytes, and no client secret is longer than 4096"):
        read_credential(spec, Held({"noreply": {"secret": b"a" * (LONGEST_SECRET + 1)}}))

    read_credential(spec, Held({"noreply": {"secret": b" \n" * 2**18 + b"a" * LONGEST_SECRET}}))


def test_a_secret_of_any_number_of_keys_costs_what_is_read_of_it(spec_of: Any) -> None:
    """The API server takes one of 60,000 keys without values: it would hold the loop for half a second at each look."""

    class Keys(dict[str, bytes]):
        seen = 0

        def __iter__(self) -> Iterator[str]:
            for key in super().__iter__():
                self.seen += 1
                yield key

    keys = Keys({f"Sec-ret{number}": b"" for number in range(60_000)})
    with refused("SecretKeyMissing", match="it has 60000 other keys"):
        read_credential(decode_spec(spec_of()), Held({"noreply": keys}))
    assert keys.seen == KEYS_COMPARED

    files = SecretFiles({"data": {"other": "no base64 at all", "secret": "eA=="}})
    assert read_credential(decode_spec(spec_of()), Held({"noreply": files}))
    with pytest.raises(ValueError, match="base64"):
        files["other"]


def test_four_thousand_keys_that_resemble_the_one_are_not_compared_with_it_letter_by_letter(spec_of: Any) -> None:
    """difflib, which looks for the nearest, takes milliseconds for each pair of such names."""
    keys = {f"secret{'ab' * 120}{number:05}": b"" for number in range(4000)}

    with refused("SecretKeyMissing", match="it has 4000 other keys"):
        read_credential(decode_spec(spec_of()), Held({"noreply": keys}))
