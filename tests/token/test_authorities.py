"""Authorities come from a Secret or a ConfigMap; one that cannot be used is named, with its key and what to do."""

import base64
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import certifi
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.held import Held
from support.refused import refused

from o365mailer_operator.controller.config_map import ConfigMapFiles
from o365mailer_operator.token.authorities import authorities_of
from o365mailer_operator.token.certificate import certificate_end, read_certificate
from o365mailer_operator.token.grant import config_maps_needed, secrets_needed
from o365mailer_operator.token.spec import decode_spec

Files = Mapping[str, Mapping[str, bytes]]

BY_CONFIG_MAP = {"configMapRef": {"name": "company-ca"}}
BEGIN = "-----BEGIN CERTIFICATE-----"


NONE: Files = {}


def authorities(spec_of: Any, ca: dict[str, Any], *, secrets: Files = NONE, config_maps: Files = NONE) -> str | None:
    """What `spec.authority.ca` names."""
    spec = decode_spec(spec_of(authority={"ca": ca}))
    return authorities_of(spec.authority.ca, Held(secrets, config_maps))


def test_a_secret_and_a_config_map_of_one_name_are_told_apart(spec_of: Any, pair_of: Any, rsa_keys: Any) -> None:
    one, other = pair_of(), pair_of(rsa_keys[1])
    files = {"secrets": {"company-ca": {"ca.crt": one.crt}}, "config_maps": {"company-ca": {"ca.crt": other.crt}}}

    assert authorities(spec_of, {"secretRef": {"name": "company-ca"}}, **files) == one.crt.decode()
    assert authorities(spec_of, BY_CONFIG_MAP, **files) == other.crt.decode()


def test_the_needed_config_maps_are_just_those_that_the_spec_names(spec_of: Any) -> None:
    spec = decode_spec(
        spec_of(
            authority={"ca": BY_CONFIG_MAP},
            submission={"ca": {"configMapRef": {"name": "company-ca", "key": "smtp.pem"}}},
        )
    )

    assert config_maps_needed(spec) == {"company-ca": {"ca.crt", "smtp.pem"}}
    assert secrets_needed(spec) == {"noreply": {"secret"}}


WRITTEN = {
    "as openssl writes it": lambda pem: pem,
    "with text between, as OpenShift writes it": lambda pem: b"# ACME Root CA\n" + pem + b"\n# another\n" + pem,
    "with a byte order mark": lambda pem: b"\xef\xbb\xbf" + pem,
    "by Windows PowerShell": lambda pem: ("\ufeff" + pem.decode()).encode("utf-16-le"),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_bundle_is_read_however_it_was_put_into_the_config_map(spec_of: Any, pair_of: Any, how: str) -> None:
    """`kubectl create configmap --from-file` puts what is not UTF-8 into binaryData. A client may put all there."""
    pem = pair_of().crt
    content = WRITTEN[how](pem)
    config_maps = [{"binaryData": {"ca.crt": base64.b64encode(content).decode()}}]
    with contextlib.suppress(UnicodeDecodeError):
        config_maps.append({"data": {"ca.crt": content.decode()}})

    for each in config_maps:
        found = authorities(spec_of, BY_CONFIG_MAP, config_maps={"company-ca": ConfigMapFiles(each)})
        assert found in (pem.decode(), pem.decode() * 2)


def der(pem: bytes) -> bytes:
    """The certificate without its armour."""
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


OTHER_KEY = "Name the key of the authorities in configMapRef.key, or add this one."

CASES: dict[str, tuple[Mapping[str, bytes] | None, str, str]] = {
    "there is no such ConfigMap": (
        None,
        "ConfigMapNotFound",
        (
            "There is no ConfigMap company-ca in this namespace. Create it, with the authorities under the key ca.crt, "
            "or let trust-manager or OpenShift put it here."
        ),
    ),
    "OpenShift's key": (
        {"ca-bundle.crt": b"PEM"},
        "ConfigMapKeyMissing",
        f"The ConfigMap company-ca has no key ca.crt; it has a key ca-bundle.crt. {OTHER_KEY}",
    ),
    "keys that are no bundles are not named": (
        {"password": b"x", "settings.json": b"y"},
        "ConfigMapKeyMissing",
        f"The ConfigMap company-ca has no key ca.crt; it has 2 other keys. {OTHER_KEY}",
    ),
    "OpenShift has not filled it yet": (
        {},
        "ConfigMapKeyMissing",
        f"The ConfigMap company-ca has no key ca.crt; it has no key at all. {OTHER_KEY}",
    ),
    "an empty key": (
        {"ca.crt": b" \n"},
        "CABundleInvalid",
        "The key ca.crt of the ConfigMap company-ca is empty. Put in the authority's certificate in PEM form.",
    ),
    "no PEM": (
        {"ca.crt": b"ACME Root CA"},
        "CABundleInvalid",
        (
            "The key ca.crt of the ConfigMap company-ca holds no PEM certificate. Put in the authority's certificate, "
            f"which begins with {BEGIN}."
        ),
    ),
    "far too large": (
        {"ca.crt": b"x" * (512 * 1024 + 1)},
        "CABundleInvalid",
        (
            "The key ca.crt of the ConfigMap company-ca has 524289 bytes, and at most 524288 are read. Put in only the "
            "authorities needed."
        ),
    ),
}


@pytest.mark.promise("mailer-says-what-is-wrong")
@pytest.mark.parametrize("case", CASES)
def test_a_config_map_that_cannot_be_used_is_named_with_the_remedy(spec_of: Any, case: str) -> None:
    content, reason, text = CASES[case]
    config_maps = {} if content is None else {"company-ca": content}

    with refused(reason) as caught:
        authorities(spec_of, BY_CONFIG_MAP, config_maps=config_maps)

    assert str(caught.value) == text


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_certificate_in_der_form_is_named_with_how_to_convert_it(spec_of: Any, pair_of: Any) -> None:
    """`kubectl create configmap --from-file` puts it into binaryData."""
    config_map = {"binaryData": {"ca.crt": base64.b64encode(der(pair_of().crt)).decode()}}

    with refused("CABundleInvalid", match="the ConfigMap company-ca is a certificate in DER form. Convert it to PEM"):
        authorities(spec_of, BY_CONFIG_MAP, config_maps={"company-ca": ConfigMapFiles(config_map)})


def altered(pair: Any, old: bytes, new: bytes) -> bytes:
    """The certificate with other bytes in it, in PEM."""
    der = pair.certificate.public_bytes(Encoding.DER)
    assert old in der
    return f"{BEGIN}\n{base64.encodebytes(der.replace(old, new)).decode()}-----END CERTIFICATE-----\n".encode()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"noreply", b"noreply", ""),
        (b"noreply", b"norepl\xff", "holds a certificate (number 2) that OpenSSL cannot read. Take it out."),
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", "holds no PEM certificate."),
    ],
    ids=["as it is", "a name that is no UTF-8", "a version that there is not"],
)
def test_what_only_one_of_two_libraries_reads_is_refused(
    spec_of: Any, pair_of: Any, old: bytes, new: bytes, words: str
) -> None:
    """Otherwise the token request and the login would fail with it, as by a defect of the controller."""
    config_maps = {"company-ca": {"ca.crt": pair_of().crt + altered(pair_of(), old, new)}}
    if not words:
        assert authorities(spec_of, BY_CONFIG_MAP, config_maps=config_maps)
        return
    with refused("CABundleInvalid") as caught:
        authorities(spec_of, BY_CONFIG_MAP, config_maps=config_maps)
    assert str(caught.value).startswith(f"The key ca.crt of the ConfigMap company-ca {words}")


def test_a_credential_of_a_version_that_there_is_not_is_refused(pair_of: Any) -> None:
    crt = altered(pair_of(), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09")
    with refused("CertificateInvalid"):
        read_certificate(secret="pair", certificate=crt, key=pair_of().key)
    with pytest.raises(ValueError, match="version"):
        certificate_end(crt)


def test_a_bundle_of_every_public_authority_is_read(spec_of: Any) -> None:
    """As trust-manager and OpenShift write it: some 250 KB."""
    bundle = Path(certifi.where()).read_bytes()

    found = authorities(spec_of, BY_CONFIG_MAP, config_maps={"company-ca": {"ca.crt": bundle}})

    assert found is not None
    assert found.count(BEGIN) == bundle.count(BEGIN.encode()) > 100
