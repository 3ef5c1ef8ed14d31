"""A Secret that cannot be used is named, with the key and what to do; its content never is."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from support.held import Held
from support.refused import refused

from o365mailer_operator.token.certificate import Certificate
from o365mailer_operator.token.clientsecret import ClientSecret, ClientSecrets
from o365mailer_operator.token.endpoints import AllowedHosts
from o365mailer_operator.token.grant import grant_of, read_credential, secrets_needed
from o365mailer_operator.token.spec import decode_spec

Secrets = Mapping[str, Mapping[str, bytes]]

TWO_REFS = {"clientSecret": {"secretRefs": [{"name": "old", "key": "secret"}, {"name": "new", "key": "secret"}]}}


def values_of(spec: dict[str, Any], secrets: Secrets) -> list[tuple[str, str]]:
    credential = read_credential(decode_spec(spec), Held(secrets))
    assert isinstance(credential, ClientSecrets)
    return [(secret.ref, secret.value) for secret in credential.secrets]


def test_the_needed_secrets_and_keys_are_just_those_that_the_spec_names(spec_of: Any) -> None:
    spec = spec_of(
        credential=TWO_REFS,
        authority={"ca": {"secretRef": {"name": "ca"}}},
        submission={"ca": {"secretRef": {"name": "ca", "key": "smtp.crt"}}},
    )

    assert secrets_needed(decode_spec(spec)) == {
        "old": {"secret"},
        "new": {"secret"},
        "ca": {"ca.crt", "smtp.crt"},
    }


def test_a_certificate_needs_both_keys_of_a_tls_secret(spec_of: Any) -> None:
    spec = spec_of(credential={"certificate": {"secretRef": {"name": "pair"}}})

    assert secrets_needed(decode_spec(spec)) == {"pair": {"tls.crt", "tls.key"}}


WRITTEN = {
    "as it is": b"not-a-secret",
    "echo": b"not-a-secret\n",
    "an editor on Windows": b"not-a-secret\r\n",
    "pasted": b" not-a-secret ",
    "a byte order mark": b"\xef\xbb\xbfnot-a-secret",
    "PowerShell 7, utf8BOM": b"\xef\xbb\xbfnot-a-secret\r\n",
    "white space before the mark": b"\n\xef\xbb\xbf not-a-secret",
    "Windows PowerShell": "\ufeffnot-a-secret\r\n".encode("utf-16-le"),
    "the other byte order": "\ufeffnot-a-secret\n".encode("utf-16-be"),
}


@pytest.mark.promise("wrong-credential-explained")
@pytest.mark.parametrize("way", WRITTEN)
def test_what_editors_and_shells_add_is_not_part_of_a_secret(spec_of: Any, way: str) -> None:
    assert values_of(spec_of(), {"noreply": {"secret": WRITTEN[way]}}) == [("noreply/secret", "not-a-secret")]


@pytest.mark.promise("wrong-credential-explained")
@pytest.mark.parametrize("way", ["as it is", "a byte order mark", "Windows PowerShell"])
def test_nor_is_it_part_of_a_certificate_or_an_authority(spec_of: Any, pair_of: Any, way: str) -> None:
    written = {
        "as it is": lambda pem: pem,
        "a byte order mark": lambda pem: b"\xef\xbb\xbf" + pem,
        "Windows PowerShell": lambda pem: ("\ufeff" + pem.decode().replace("\n", "\r\n")).encode("utf-16-le"),
    }[way]
    pair = pair_of()
    spec = decode_spec(
        spec_of(
            credential={"certificate": {"secretRef": {"name": "pair"}}}, authority={"ca": {"secretRef": {"name": "ca"}}}
        )
    )
    secrets = {
        "pair": {"tls.crt": written(pair.crt), "tls.key": written(pair.key)},
        "ca": {"ca.crt": written(pair.crt)},
    }

    grant = grant_of(spec, Held(secrets), allowed=AllowedHosts())

    assert isinstance(grant.credential, Certificate)
    assert grant.credential.certificate == grant.authorities == pair.crt.decode()


@pytest.mark.promise("wrong-credential-explained")
@pytest.mark.parametrize(
    ("value", "doubt"),
    [
        ("33333333-3333-4333-8333-333333333333", " (it is a GUID, as the ID of a secret is; the Value is no GUID)"),
        (
            base64.b64encode(b"not~a-secret.of-forty-characters-or-so\n").decode(),
            " (it is base64 of another text: it was probably encoded twice, so decode it once)",
        ),
        ("not~a-secret.of-forty-characters-or-so", ""),
        ("bm90", " (it is base64 of another text: it was probably encoded twice, so decode it once)"),
        ("abcdefgh", ""),  # base64 of bytes that are no text
        ("", ""),
    ],
)
def test_a_value_that_is_most_likely_a_wrong_one_is_told_apart(value: str, doubt: str) -> None:
    assert ClientSecret("noreply/secret", value).doubt == doubt


SHOWN = (
    "Put in the client secret's Value as Entra shows it: kubectl create secret generic noreply "
    "--from-literal=secret=VALUE encodes it by itself."
)
UNUSABLE: dict[str, tuple[Secrets, str, str]] = {
    "no Secret": ({}, "SecretNotFound", "There is no Secret noreply. Create it, with the key secret."),
    "another key": (
        {"noreply": {"password": b"x", "id": b"y"}},
        "SecretKeyMissing",
        "The Secret noreply has no key secret; it has 2 other keys. Add the key, or name another one in the spec.",
    ),
    "one other key": (
        {"noreply": {"database-password": b"x"}},
        "SecretKeyMissing",
        "The Secret noreply has no key secret; it has one other key. Add the key, or name another one in the spec.",
    ),
    "nearly the key": (
        {"noreply": {"password": b"x", "SECRET": b"y"}},
        "SecretKeyMissing",
        "The Secret noreply has no key secret; it has a key SECRET. Add the key, or name another one in the spec.",
    ),
    "no key at all": (
        {"noreply": {}},
        "SecretKeyMissing",
        "The Secret noreply has no key secret; it has no key at all. Add the key, or name another one in the spec.",
    ),
    "nothing in it": (
        {"noreply": {"secret": b""}},
        "SecretKeyEmpty",
        "The key secret of the Secret noreply is empty. Put the value in.",
    ),
    "white space in it": (
        {"noreply": {"secret": b" \n"}},
        "SecretKeyEmpty",
        "The key secret of the Secret noreply is empty. Put the value in.",
    ),
    "bytes in it": (
        {"noreply": {"secret": b"\xff\xfex"}},
        "SecretKeyNotText",
        f"The key secret of the Secret noreply is not a text. {SHOWN}",
    ),
    "UTF-16 that does not say so": (
        {"noreply": {"secret": "not-a-secret".encode("utf-16-le")}},
        "SecretKeyNotText",
        f"The key secret of the Secret noreply has line breaks, control or invisible characters in it. {SHOWN}",
    ),
    "only a byte order mark": (
        {"noreply": {"secret": b"\xef\xbb\xbf\n"}},
        "SecretKeyEmpty",
        "The key secret of the Secret noreply is empty. Put the value in.",
    ),
    "two lines in it": (
        {"noreply": {"secret": b"one\ntwo"}},
        "SecretKeyNotText",
        f"The key secret of the Secret noreply has line breaks, control or invisible characters in it. {SHOWN}",
    ),
}


@pytest.mark.promise("wrong-credential-explained")
@pytest.mark.promise("secrets-stay-secret")
@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_secret_is_told_apart_and_named(spec_of: Any, case: str) -> None:
    secrets, reason, message = UNUSABLE[case]

    with refused(reason) as caught:
        read_credential(decode_spec(spec_of()), Held(secrets))

    assert str(caught.value) == message
    assert (caught.value.secret, caught.value.key) == ("noreply", "secret")
    assert not caught.value.transient


@pytest.mark.promise("wrong-credential-explained")
def test_of_two_references_one_that_can_be_read_is_enough(spec_of: Any) -> None:
    credential = read_credential(decode_spec(spec_of(credential=TWO_REFS)), Held({"new": {"secret": b"not-a-secret"}}))

    assert isinstance(credential, ClientSecrets)
    assert [secret.ref for secret in credential.secrets] == ["new/secret"]
    assert [(refusal.ref, refusal.reason) for refusal in credential.unreadable] == [("old/secret", "SecretNotFound")]


def test_of_two_references_the_first_ones_fault_is_told_when_neither_can_be_read(spec_of: Any) -> None:
    secrets: Secrets = {"old": {"secret": b""}}

    with refused("SecretKeyEmpty", match="Secret old"):
        read_credential(decode_spec(spec_of(credential=TWO_REFS)), Held(secrets))


def test_a_value_shows_in_no_repr(spec_of: Any) -> None:
    credential = read_credential(decode_spec(spec_of()), Held({"noreply": {"secret": b"canary-not-a-secret"}}))

    assert "noreply/secret" in repr(credential)
    assert "canary" not in repr(credential)


def test_no_secret_is_read_for_a_host_that_is_not_allowed(spec_of: Any) -> None:
    source = Held({"noreply": {"secret": b"not-a-secret"}})

    with refused("HostNotAllowed"):
        grant_of(decode_spec(spec_of(authority={"url": "https://evil.example"})), source, allowed=AllowedHosts())

    assert source.asked == []
    grant_of(decode_spec(spec_of()), source, allowed=AllowedHosts())
    assert source.asked == ["noreply"]
