"""A Secret that cannot be used is named, with the key and what to do; its content never is."""

from collections.abc import Mapping
from typing import Any

import pytest

from o365mailer_operator.token.credential import ClientSecrets, read_credential, secrets_needed
from o365mailer_operator.token.errors import (
    CredentialError,
    HostNotAllowed,
    SecretKeyEmpty,
    SecretKeyMissing,
    SecretKeyNotText,
    SecretNotFound,
)
from o365mailer_operator.token.grant import grant_of
from o365mailer_operator.token.hosts import AllowedHosts
from o365mailer_operator.token.spec import decode_spec

Secrets = Mapping[str, Mapping[str, bytes]]

TWO_REFS = {"clientSecret": {"secretRefs": [{"name": "old", "key": "secret"}, {"name": "new", "key": "secret"}]}}


def values_of(spec: dict[str, Any], secrets: Secrets) -> list[tuple[str, str]]:
    credential = read_credential(decode_spec(spec), secrets.get)
    assert isinstance(credential, ClientSecrets)
    return [(secret.ref, secret.value) for secret in credential.secrets]


def test_the_needed_secrets_and_keys_are_just_those_that_the_spec_names(spec_of: Any) -> None:
    spec = spec_of(
        credential=TWO_REFS,
        authority={"caSecretRef": {"name": "ca"}},
        submission={"caSecretRef": {"name": "ca", "key": "smtp.crt"}},
    )

    assert secrets_needed(decode_spec(spec)) == {
        "old": {"secret"},
        "new": {"secret"},
        "ca": {"ca.crt", "smtp.crt"},
    }


def test_a_certificate_needs_both_keys_of_a_tls_secret(spec_of: Any) -> None:
    spec = spec_of(credential={"certificate": {"secretRef": {"name": "pair"}}})

    assert secrets_needed(decode_spec(spec)) == {"pair": {"tls.crt", "tls.key"}}


@pytest.mark.parametrize("written", [b"not-a-secret", b"not-a-secret\n", b"not-a-secret\r\n", b" not-a-secret "])
def test_the_white_space_that_editors_leave_is_not_part_of_a_secret(spec_of: Any, written: bytes) -> None:
    assert values_of(spec_of(), {"noreply": {"secret": written}}) == [("noreply/secret", "not-a-secret")]


UNUSABLE: dict[str, tuple[Secrets, type[CredentialError], str]] = {
    "no Secret": ({}, SecretNotFound, "There is no Secret noreply. Create it, with the key secret."),
    "another key": (
        {"noreply": {"password": b"x", "id": b"y"}},
        SecretKeyMissing,
        "The Secret noreply has no key secret (it has: id, password). Add the key, or name another one in the spec.",
    ),
    "no key at all": (
        {"noreply": {}},
        SecretKeyMissing,
        "The Secret noreply has no key secret (it has: none). Add the key, or name another one in the spec.",
    ),
    "nothing in it": (
        {"noreply": {"secret": b""}},
        SecretKeyEmpty,
        "The key secret of the Secret noreply is empty. Put the value in.",
    ),
    "white space in it": (
        {"noreply": {"secret": b" \n"}},
        SecretKeyEmpty,
        "The key secret of the Secret noreply is empty. Put the value in.",
    ),
    "octets in it": (
        {"noreply": {"secret": b"\xff\xfe"}},
        SecretKeyNotText,
        "The key secret of the Secret noreply is not a text. Put in the value as it was shown, without encoding it.",
    ),
    "two lines in it": (
        {"noreply": {"secret": b"one\ntwo"}},
        SecretKeyNotText,
        "The key secret of the Secret noreply is not a text. Put in the value as it was shown, without encoding it.",
    ),
}


@pytest.mark.promise("C63")
@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_secret_is_told_apart_and_named(spec_of: Any, case: str) -> None:
    secrets, kind, message = UNUSABLE[case]

    with pytest.raises(kind) as caught:
        read_credential(decode_spec(spec_of()), secrets.get)

    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert (caught.value.secret, caught.value.key) == ("noreply", "secret")
    assert not caught.value.transient
    assert caught.value.reason == kind.__name__


@pytest.mark.promise("C63")
def test_of_two_references_one_that_can_be_read_is_enough(spec_of: Any) -> None:
    credential = read_credential(decode_spec(spec_of(credential=TWO_REFS)), {"new": {"secret": b"not-a-secret"}}.get)

    assert isinstance(credential, ClientSecrets)
    assert [secret.ref for secret in credential.secrets] == ["new/secret"]
    assert [(refusal.ref, refusal.reason) for refusal in credential.unreadable] == [("old/secret", "SecretNotFound")]


def test_of_two_references_the_first_ones_fault_is_told_when_neither_can_be_read(spec_of: Any) -> None:
    secrets: Secrets = {"old": {"secret": b""}}

    with pytest.raises(SecretKeyEmpty, match="Secret old"):
        read_credential(decode_spec(spec_of(credential=TWO_REFS)), secrets.get)


def test_a_value_shows_in_no_repr(spec_of: Any) -> None:
    credential = read_credential(decode_spec(spec_of()), {"noreply": {"secret": b"canary-not-a-secret"}}.get)

    assert "noreply/secret" in repr(credential)
    assert "canary" not in repr(credential)


def test_no_secret_is_read_for_a_host_that_is_not_allowed(spec_of: Any) -> None:
    asked: list[str] = []

    def read(name: str) -> Mapping[str, bytes]:
        asked.append(name)
        return {"secret": b"not-a-secret"}

    with pytest.raises(HostNotAllowed):
        grant_of(decode_spec(spec_of(authority={"url": "https://evil.example"})), read, allowed=AllowedHosts())

    assert asked == []
    grant_of(decode_spec(spec_of()), read, allowed=AllowedHosts())
    assert asked == ["noreply"]
