"""An authority's Secret whose key or certificate is dear to read is refused unread, by controller and webhook."""

import base64
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from support.hostile_keys import DIFFIE_HELLMAN, certificate_of, diffie_hellman, integer, pem, public_key, sequence

from o365mailer_contract import names
from o365mailer_operator.pki import authority
from o365mailer_operator.pki.leaf import UnusableAuthority, read_authority

pytestmark = pytest.mark.promise("load-does-not-block")


@pytest.fixture
def files() -> Mapping[str, bytes]:
    """An authority's Secret as the controller writes it."""
    made = authority.make(now=datetime.datetime.now(datetime.UTC), lifetime=authority.LIFETIME)
    data = authority.write(authority.Authorities(signer=made))
    return {name: base64.b64decode(content) for name, content in data.items()}


def dear_certificate() -> bytes:
    """A certificate with a Diffie-Hellman key of 9,689 bits."""
    modulus = 2**9689 - 1
    key = public_key(sequence(DIFFIE_HELLMAN, sequence(integer(modulus), integer(3))), integer(modulus // 3))
    return certificate_of(key, signer=rsa.generate_private_key(public_exponent=65537, key_size=2048))


DEAR = {
    "key": {names.CA_SECRET_KEY: pem("PRIVATE KEY", diffie_hellman(9689))},
    "certificate": {names.CA_SECRET_SIGNER: dear_certificate()},
}


def refuse_to_load(*_: Any, **__: Any) -> NoReturn:
    """In the place of OpenSSL's parser."""
    raise AssertionError("a private key was loaded")


@pytest.mark.parametrize("part", DEAR)
def test_an_authority_that_is_expensive_to_parse_is_refused_unparsed(
    files: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def mounted(content: Mapping[str, bytes]) -> Path:
        for name, each in content.items():
            (tmp_path / name).write_bytes(each)
        return tmp_path

    def encoded(content: Mapping[str, bytes]) -> dict[str, str]:
        return {name: base64.b64encode(each).decode() for name, each in content.items()}

    assert authority.read(encoded(files)) is not None
    assert read_authority(mounted(files)).serial

    monkeypatch.setattr(serialization, "load_pem_private_key", refuse_to_load)
    hostile = {**files, **DEAR[part]}
    assert authority.read(encoded(hostile)) is None
    with pytest.raises(UnusableAuthority, match="delete Secret o365mailer-webhook-ca, the controller makes it anew"):
        read_authority(mounted(hostile))
