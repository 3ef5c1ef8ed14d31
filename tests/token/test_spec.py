"""A spec is decoded as it is written, and what is wrong in it is named by its path."""

from typing import Any

import pytest

from o365mailer_operator.token.errors import InvalidSpec
from o365mailer_operator.token.spec import Spec, decode_spec


def test_a_minimal_spec_takes_the_documented_defaults(spec_of: Any) -> None:
    spec = decode_spec(spec_of())

    assert spec.cloud == "Global"
    assert spec.suspend is False
    assert spec.log_level == "info"
    assert (spec.limits.connections, spec.limits.message_size) == (3, "35Mi")
    assert (spec.delivery.confirm_within, spec.delivery.line_endings) == ("8s", "Normalize")
    assert spec.log_addresses is False


def test_every_member_is_read(spec_of: Any) -> None:
    spec = decode_spec(
        spec_of(
            suspend=True,
            cloud="China",
            tenantId="contoso.partner.onmschina.cn",
            authority={"url": "https://login.example:8443", "ca": {"secretRef": {"name": "ca"}}},
            credential={
                "clientSecret": {
                    "secretRefs": [{"name": "a", "key": "x"}, {"name": "b", "key": "y"}],
                    "expiresAt": "2027-01-01T00:00:00Z",
                }
            },
            submission={
                "host": "mail.example",
                "port": 2587,
                "ca": {"secretRef": {"name": "ca", "key": "root.pem"}},
            },
            limits={"connections": 1, "messageSize": "10Mi", "messagesPerMinute": 20},
            delivery={"confirmWithin": "5s", "lineEndings": "Reject", "spool": {"maxAge": "1h"}},
            logLevel="debug",
            logAddresses=True,
        )
    )

    assert spec.suspend
    assert spec.authority.ca is not None
    assert spec.authority.ca.secret_ref is not None
    assert spec.authority.ca.secret_ref.key == "ca.crt"
    assert spec.credential.client_secret is not None
    assert [str(ref) for ref in spec.credential.client_secret.secret_refs] == ["a/x", "b/y"]
    assert spec.credential.client_secret.expires_at is not None
    assert spec.submission.port == 2587
    assert spec.limits.messages_per_minute == 20
    assert (spec.delivery.spool.max_age, spec.delivery.spool.keep_dead) == ("1h", "168h")
    assert spec.log_addresses


def test_a_certificate_is_the_other_credential(spec_of: Any) -> None:
    spec = decode_spec(spec_of(credential={"certificate": {"secretRef": {"name": "noreply-tls"}}}))

    assert spec.credential.certificate is not None
    assert spec.credential.certificate.secret_ref.name == "noreply-tls"


def test_unknown_members_are_ignored_because_the_api_server_has_judged_them(spec_of: Any) -> None:
    assert isinstance(decode_spec(spec_of(later=True)), Spec)


ONE_CREDENTIAL = "spec.credential: exactly one of clientSecret, certificate and workloadIdentity is needed"

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a tenant that is neither GUID nor domain": (
        {"tenantId": "common"},
        "spec.tenantId: expected a tenant's GUID, or one of its domains",
    ),
    "a number as tenant": ({"tenantId": 11111111}, "spec.tenantId: Expected `str`, got `int`"),
    "a client id that is a name": (
        {"clientId": "mailer"},
        "spec.clientId: expected the application's client id, a GUID",
    ),
    "a mailbox without @": (
        {"mailbox": "noreply"},
        "spec.mailbox: expected a mailbox's address, such as noreply@contoso.com",
    ),
    "a cloud that does not exist": ({"cloud": "Germany"}, "spec.cloud: Invalid enum value 'Germany'"),
    "an authority without TLS": (
        {"authority": {"url": "http://login.example"}},
        "spec.authority.url: expected https://host or https://host:port, without a path",
    ),
    "an authority that hides its host behind user info": (
        {"authority": {"url": "https://login.microsoftonline.com@evil.example"}},
        "spec.authority.url: expected https://host or https://host:port, without a path",
    ),
    "an authority at a port that does not exist": (
        {"authority": {"url": "https://login.example:65536"}},
        "spec.authority.url: expected https://host or https://host:port, without a path",
    ),
    "a host with a path": ({"submission": {"host": "mail.example/x"}}, "spec.submission.host: expected a host name"),
    "a port beyond the last": ({"submission": {"port": 70000}}, "spec.submission.port: Expected `int` <= 65535"),
    "more connections than a mailbox has": (
        {"limits": {"connections": 4}},
        "spec.limits.connections: Expected `int` <= 3",
    ),
    "a size in words": ({"limits": {"messageSize": "big"}}, "spec.limits.messageSize: expected a size, such as 35Mi"),
    "a duration without unit": (
        {"delivery": {"confirmWithin": "10"}},
        "spec.delivery.confirmWithin: expected a duration, such as 10s or 5m",
    ),
    "a word that YAML has read as a boolean": (
        {"logLevel": False},
        "spec.logLevel: Expected `str`, got `bool`. YAML reads a bare on, off,",
    ),
    "a pace of nothing": (
        {"limits": {"messagesPerMinute": 0}},
        "spec.limits.messagesPerMinute: Expected `int` >= 1",
    ),
    "a notice to nobody": (
        {"delivery": {"notify": "recipient"}},
        "spec.delivery.notify: expected `sender`, or an address such as postmaster@contoso.com",
    ),
    "an age in two units": (
        {"delivery": {"spool": {"maxAge": "1h30m"}}},
        "spec.delivery.spool.maxAge: expected a duration, such as 10s or 5m",
    ),
    "a spool without an end": (
        {"delivery": {"spool": {"maxSize": "unlimited"}}},
        "spec.delivery.spool.maxSize: expected a size, such as 35Mi",
    ),
    "a spool for no message": (
        {"delivery": {"spool": {"maxMessages": 0}}},
        "spec.delivery.spool.maxMessages: Expected `int` >= 1",
    ),
    "no credential": (
        {"credential": {}},
        f"{ONE_CREDENTIAL}, and none is given.",
    ),
    "two credentials": (
        {
            "credential": {
                "clientSecret": {"secretRefs": [{"name": "a", "key": "b"}]},
                "certificate": {"secretRef": {"name": "c"}},
            }
        },
        f"{ONE_CREDENTIAL}, and two are given.",
    ),
    "a ServiceAccount's name with a path in it": (
        {"credential": {"workloadIdentity": {"serviceAccountRef": {"name": "../a"}}}},
        "spec.credential.workloadIdentity.serviceAccountRef.name: expected a ServiceAccount's name",
    ),
    "no secret reference": (
        {"credential": {"clientSecret": {"secretRefs": []}}},
        "spec.credential.clientSecret.secretRefs: Expected `array` of length >= 1",
    ),
    "three secret references": (
        {"credential": {"clientSecret": {"secretRefs": [{"name": "a", "key": "b"}] * 3}}},
        "spec.credential.clientSecret.secretRefs: Expected `array` of length <= 2",
    ),
    "a Secret's name with a path in it": (
        {"credential": {"clientSecret": {"secretRefs": [{"name": "../a", "key": "b"}]}}},
        "spec.credential.clientSecret.secretRefs[0].name: expected the name of a Secret or ConfigMap",
    ),
    "authorities of two objects": (
        {"submission": {"ca": {"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}}},
        "spec.submission.ca: exactly one of secretRef and configMapRef is needed, and both are given.",
    ),
    "authorities of none": (
        {"authority": {"ca": {}}},
        "spec.authority.ca: exactly one of secretRef and configMapRef is needed, and none is given.",
    ),
    "an instant without zone": (
        {"credential": {"clientSecret": {"secretRefs": [{"name": "a", "key": "b"}], "expiresAt": "2027-01-01T00:00"}}},
        "spec.credential.clientSecret.expiresAt: Invalid RFC3339 encoded datetime",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_by_its_path(spec_of: Any, case: str) -> None:
    members, expected = WRONG[case]

    with pytest.raises(InvalidSpec) as caught:
        decode_spec(spec_of(**members))

    assert str(caught.value).startswith(expected)
    assert caught.value.reason == "InvalidSpec"
    assert not caught.value.transient


def test_a_missing_member_is_named(spec_of: Any) -> None:
    spec = spec_of()
    del spec["mailbox"]

    with pytest.raises(InvalidSpec, match=r"^spec: Object missing required field `mailbox`$"):
        decode_spec(spec)
