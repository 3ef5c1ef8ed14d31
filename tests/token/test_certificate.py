"""A certificate that Entra would refuse is refused here, before anything is sent, with what to do about it."""

import base64
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)
from support.held import Held
from support.refused import refused

from o365mailer_operator.token.certificate import Certificate, read_authorities, read_certificate
from o365mailer_operator.token.endpoints import AllowedHosts
from o365mailer_operator.token.grant import grant_of, read_credential
from o365mailer_operator.token.spec import decode_spec

DAY = datetime.timedelta(days=1)


def test_a_pair_is_read_as_the_leaf_and_its_key(spec_of: Any, pair_of: Any, rsa_keys: Any) -> None:
    leaf, issuer = pair_of(), pair_of(rsa_keys[1])
    spec = decode_spec(spec_of(credential={"certificate": {"secretRef": {"name": "pair"}}}))

    credential = read_credential(spec, Held({"pair": {"tls.crt": leaf.crt + issuer.crt, "tls.key": leaf.key}}))

    assert isinstance(credential, Certificate)
    assert credential.certificate == leaf.crt.decode()
    assert credential.ref == "pair"
    assert "PRIVATE" not in repr(credential)


def test_an_elliptic_key_is_refused_with_the_way_to_an_rsa_key(pair_of: Any) -> None:
    pair = pair_of(ec.generate_private_key(ec.SECP256R1()))

    with refused("CertificateKeyNotRSA") as caught:
        read_certificate(secret="pair", certificate=pair.crt, key=pair.key)

    assert str(caught.value) == (
        "The key tls.key of the Secret pair is not RSA with 2048 bits or more; Entra takes no other. "
        "With cert-manager, set privateKey: {algorithm: RSA, size: 2048} in the Certificate, and upload the new one."
    )
    assert caught.value.reason == "CertificateKeyNotRSA"


def test_a_short_rsa_key_is_refused(pair_of: Any) -> None:
    pair = pair_of(rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505 - it has to be refused

    with refused("CertificateKeyNotRSA"):
        read_certificate(secret="pair", certificate=pair.crt, key=pair.key)


def test_the_key_of_another_certificate_is_refused(pair_of: Any, rsa_keys: Any) -> None:
    with refused("CertificateKeyMismatch", match=r"tls\.key is not the key of the first certificate in tls\.crt"):
        read_certificate(secret="pair", certificate=pair_of().crt, key=pair_of(rsa_keys[1]).key)


def test_what_is_no_certificate_is_refused(pair_of: Any) -> None:
    with refused("CertificateInvalid", match=r"tls\.crt of the Secret pair is not a PEM certificate"):
        read_certificate(secret="pair", certificate=b"canary", key=pair_of().key)


def test_a_key_under_a_passphrase_is_refused(pair_of: Any) -> None:
    pair = pair_of()

    with refused("CertificateInvalid", match="Take the passphrase off"):
        read_certificate(secret="pair", certificate=pair.crt, key=pair.locked_key)


def test_a_key_under_a_passphrase_in_the_older_form_is_refused(pair_of: Any) -> None:
    pair = pair_of()
    lock = BestAvailableEncryption(b"not-a-secret")
    key = pair.private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, lock)

    with refused("CertificateInvalid", match=r"Take the passphrase off: openssl pkey -in FILE -out tls\.key"):
        read_certificate(secret="pair", certificate=pair.crt, key=key)


PFX = "is a PKCS#12 file (.pfx, .p12). Take the certificate and the key out of it: openssl pkcs12 -in FILE -clcerts"
FORMS = {
    "tls.crt": {
        "DER": "is a certificate in DER form. Convert it to PEM: openssl x509 -inform DER -in FILE -out tls.crt",
        "PFX": PFX,
        "PKCS#7": "is a PKCS#7 file (.p7b). Take the certificates out of it: openssl pkcs7 -print_certs",
    },
    "tls.key": {
        "DER": "is a private key in DER form. Convert it to PEM: openssl pkey -inform DER -in FILE -out tls.key",
        "the older DER": "is a private key in DER form. Convert it to PEM: openssl pkey -inform DER -in FILE",
        "PFX": PFX,
        "OpenSSH": "is an OpenSSH key. Convert a copy of it to PEM: ssh-keygen -p -N '' -m PEM -f FILE",
    },
}


def in_form(pair: Any, part: str, form: str) -> bytes:
    """A pair's certificate or key as Windows, Azure Key Vault, Java or OpenSSH keeps it."""
    if form == "PFX":
        lock = BestAvailableEncryption(b"not-a-secret")
        return pkcs12.serialize_key_and_certificates(b"noreply", pair.private, pair.certificate, None, lock)
    if form == "PKCS#7":
        return pkcs7.serialize_certificates([pair.certificate], Encoding.DER)
    if form == "OpenSSH":
        return bytes(pair.private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    if part == "tls.crt":
        return bytes(pair.certificate.public_bytes(Encoding.DER))
    older = PrivateFormat.TraditionalOpenSSL if form == "the older DER" else PrivateFormat.PKCS8
    return bytes(pair.private.private_bytes(Encoding.DER, older, NoEncryption()))


@pytest.mark.promise("wrong-credential-explained")
@pytest.mark.parametrize("encoded", [False, True], ids=["as it is", "in base64"])
@pytest.mark.parametrize(("part", "form"), [(part, form) for part, forms in FORMS.items() for form in forms])
def test_another_file_than_pem_is_told_with_the_command_that_converts_it(
    spec_of: Any, pair_of: Any, part: str, form: str, encoded: bool
) -> None:
    pair = pair_of()
    content = in_form(pair, part, form)
    if encoded:
        content = base64.encodebytes(content)
    spec = decode_spec(spec_of(credential={"certificate": {"secretRef": {"name": "pair"}}}))

    with refused("CertificateInvalid") as caught:
        read_credential(spec, Held({"pair": {**pair.secret, part: content}}))

    assert str(caught.value).startswith(f"The key {part} of the Secret pair {FORMS[part][form]}")
    assert str(caught.value).endswith("decode it first: base64 -d.") == encoded
    assert (caught.value.secret, caught.value.key) == ("pair", part)


@pytest.mark.parametrize(
    ("valid", "reason", "words"),
    [
        ((-2 * DAY, -DAY), "CertificateExpired", "expired at 20"),
        ((DAY, 2 * DAY), "CertificateNotYetValid", "is valid from 20"),
    ],
)
def test_a_certificate_outside_its_validity_is_refused(pair_of: Any, valid: Any, reason: str, words: str) -> None:
    pair = pair_of(valid=valid)
    credential = read_certificate(secret="pair", certificate=pair.crt, key=pair.key)

    with refused(reason, match=words):
        credential.check_validity(datetime.datetime.now(datetime.UTC))


def test_a_certificate_is_valid_until_its_end(pair_of: Any) -> None:
    pair = pair_of()
    credential = read_certificate(secret="pair", certificate=pair.crt, key=pair.key)
    end = x509.load_pem_x509_certificate(pair.crt).not_valid_after_utc

    credential.check_validity(end - datetime.timedelta(seconds=1))
    with refused("CertificateExpired"):
        credential.check_validity(end + datetime.timedelta(seconds=1))


def test_of_an_authoritys_secret_only_certificates_are_taken(pair_of: Any, rsa_keys: Any) -> None:
    one, other = pair_of(), pair_of(rsa_keys[1])
    pem = one.key + one.crt + b"some words\n" + other.crt

    assert read_authorities(pem) == (one.crt + other.crt).decode()


@pytest.mark.promise("secrets-stay-secret")
def test_a_password_named_as_an_authority_is_not_copied_to_where_pods_read_it(spec_of: Any) -> None:
    spec = decode_spec(spec_of(submission={"ca": {"secretRef": {"name": "database", "key": "password"}}}))
    secrets = {"noreply": {"secret": b"not-a-secret"}, "database": {"password": b"canary-not-a-secret"}}

    with refused("CABundleInvalid") as caught:
        grant_of(spec, Held(secrets), allowed=AllowedHosts())

    assert str(caught.value) == (
        "The key password of the Secret database holds no PEM certificate. Put in the authority's certificate, "
        "which begins with -----BEGIN CERTIFICATE-----."
    )
