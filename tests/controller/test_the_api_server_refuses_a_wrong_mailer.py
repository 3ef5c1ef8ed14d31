"""What `kubectl` says about a mailer that is written wrong: the text names the member."""

import json
from typing import Any

import pytest
from cluster_rig.control_plane import ControlPlane
from support.controller_process import CREDENTIAL

from o365mailer_contract.names import DOCS

SECRET_REF = {"name": "a", "key": "b"}

CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown field": ({"mailbux": "a@b.example"}, ['unknown field "spec.mailbux"']),
    "unknown field deep inside": ({"limits": {"conections": 2}}, ['unknown field "spec.limits.conections"']),
    "wrong type": ({"limits": {"connections": "two"}}, ["spec.limits.connections", "must be of type integer"]),
    "two credentials": (
        {"credential": {**CREDENTIAL, "certificate": {"secretRef": {"name": "a"}}}},
        ["spec.credential", "exactly one of clientSecret, certificate and workloadIdentity"],
    ),
    "no credential": (
        {"credential": {}},
        ["spec.credential", "exactly one of clientSecret, certificate and workloadIdentity"],
    ),
    "all three credentials": (
        {
            "credential": {
                **CREDENTIAL,
                "certificate": {"secretRef": {"name": "a"}},
                "workloadIdentity": {"serviceAccountRef": {"name": "a"}},
            }
        },
        ["spec.credential", "remove the others"],
    ),
    "ServiceAccount with a namespace": (
        {"credential": {"workloadIdentity": {"serviceAccountRef": {"name": "a", "namespace": "b"}}}},
        ['unknown field "spec.credential.workloadIdentity.serviceAccountRef.namespace"'],
    ),
    "name that is no ServiceAccount's": (
        {"credential": {"workloadIdentity": {"serviceAccountRef": {"name": "shop/mailer"}}}},
        ["spec.credential.workloadIdentity.serviceAccountRef.name", "must be the name of a ServiceAccount"],
    ),
    "workload identity without a ServiceAccount": (
        {"credential": {"workloadIdentity": {}}},
        ["spec.credential.workloadIdentity.serviceAccountRef: Required value"],
    ),
    "credential left out": ({"credential": None}, ["spec.credential: Required value"]),
    "three client secrets": (
        {"credential": {"clientSecret": {"secretRefs": [SECRET_REF] * 3}}},
        ["spec.credential.clientSecret.secretRefs", "at most 2 items"],
    ),
    "malformed tenant": ({"tenantId": "con toso"}, ["spec.tenantId", "Tenant ID", "contoso.onmicrosoft.com"]),
    "tenant that is no tenant": ({"tenantId": "common"}, ["spec.tenantId", "Tenant ID"]),
    "client id that is a name": ({"clientId": "mailer"}, ["spec.clientId", "Application (client) ID"]),
    "mailbox without @": ({"mailbox": "noreply"}, ["spec.mailbox", "with one @"]),
    "mailbox with the end of a field of XOAUTH2": ({"mailbox": "a\x01b@c.example"}, ["spec.mailbox", "with one @"]),
    "mailbox with a space that is wide": ({"mailbox": "a\xa0b@c.example"}, ["spec.mailbox", "with one @"]),
    "mailbox with a display name": ({"mailbox": "No Reply <a@b.example>"}, ["spec.mailbox", "display name"]),
    "unknown cloud": ({"cloud": "Germany"}, ["spec.cloud", '"Global"']),
    "authority in clear text": ({"authority": {"url": "http://a.example"}}, ["spec.authority.url", "https://host"]),
    "authority with a path": ({"authority": {"url": "https://a.example/t"}}, ["spec.authority.url", "without a path"]),
    "authority with user info": ({"authority": {"url": "https://a@b.example"}}, ["spec.authority.url", "https://host"]),
    "authorities of a Secret and a ConfigMap": (
        {"authority": {"ca": {"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}}},
        ["spec.authority.ca", "must have exactly one of secretRef and configMapRef; remove the other, or add one"],
    ),
    "authorities of neither": ({"submission": {"ca": {}}}, ["spec.submission.ca", "exactly one of secretRef and"]),
    "authorities without a name": (
        {"submission": {"ca": {"configMapRef": {"key": "ca.crt"}}}},
        ["spec.submission.ca.configMapRef.name: Required value"],
    ),
    "authorities of a ConfigMap that cannot be one": (
        {"submission": {"ca": {"configMapRef": {"name": "Company CA"}}}},
        ["spec.submission.ca.configMapRef.name", "must be the name of a ConfigMap"],
    ),
    "authorities under a key that cannot be one": (
        {"authority": {"ca": {"configMapRef": {"name": "a", "key": "ca crt"}}}},
        ["spec.authority.ca.configMapRef.key", "must be a key of a Secret or ConfigMap"],
    ),
    "authorities as before": (
        {"authority": {"caSecretRef": {"name": "a"}}},
        ['unknown field "spec.authority.caSecretRef"'],
    ),
    "submission host with a port": ({"submission": {"host": "a:587"}}, ["spec.submission.host", "submission.port"]),
    "submission host with a label that no DNS holds": (
        {"submission": {"host": "a" * 64 + ".example"}},
        ["spec.submission.host", "must be a host name alone"],
    ),
    "submission port out of range": ({"submission": {"port": 70000}}, ["spec.submission.port", "65535"]),
    "too many connections": ({"limits": {"connections": 4}}, ["spec.limits.connections", "less than or equal to 3"]),
    "size without a number": ({"limits": {"messageSize": "big"}}, ["spec.limits.messageSize", "35Mi"]),
    "duration without a unit": ({"delivery": {"confirmWithin": "10"}}, ["spec.delivery.confirmWithin", "10s"]),
    "unknown line endings": ({"delivery": {"lineEndings": "LF"}}, ["spec.delivery.lineEndings", '"Normalize"']),
    "sender that is a bare domain": (
        {"senders": {"allowed": ["contoso.com"]}},
        ["spec.senders.allowed[0]", "must be an address, or @contoso.com"],
    ),
    "unknown mismatch": ({"senders": {"onMismatch": "Ignore"}}, ["spec.senders.onMismatch", '"Rewrite"']),
    "unknown null reverse-path": ({"senders": {"nullReversePath": "Drop"}}, ["spec.senders.nullReversePath", '"Keep"']),
    "domain with a wildcard": (
        {"recipients": {"allowedDomains": ["contoso.com", "*.contoso.com"]}},
        ["spec.recipients.allowedDomains[1]", "without @ and *"],
    ),
    "redirect to no address": ({"recipients": {"redirectTo": "staging"}}, ["spec.recipients.redirectTo", "an address"]),
    "too many recipients": (
        {"recipients": {"maxPerMessage": 1001}},
        ["spec.recipients.maxPerMessage", "less than or equal to 1000"],
    ),
    "unknown log level": ({"logLevel": "loud"}, ["spec.logLevel", '"info"']),
    "a word that YAML has read as a boolean": ({"logLevel": False}, ["spec.logLevel", "must be of type string"]),
    "a pace of nothing": ({"limits": {"messagesPerMinute": 0}}, ["spec.limits.messagesPerMinute", "equal to 1"]),
    "half a message a minute": ({"limits": {"messagesPerMinute": 0.5}}, ["messagesPerMinute", "of type integer"]),
    "AUTH on offer in words": ({"delivery": {"offerAuth": "no"}}, ["spec.delivery.offerAuth", "of type boolean"]),
    "notice to nobody": (
        {"delivery": {"notify": "recipient"}},
        ["spec.delivery.notify", "must be the word sender, or an address such as postmaster@contoso.com"],
    ),
    "age in two units": ({"delivery": {"spool": {"maxAge": "1h30m"}}}, ["spec.delivery.spool.maxAge", "such as 48h"]),
    "spool without an end": ({"delivery": {"spool": {"maxSize": "all"}}}, ["spec.delivery.spool.maxSize", "512Mi"]),
    "spool for no message": (
        {"delivery": {"spool": {"maxMessages": 0}}},
        ["spec.delivery.spool.maxMessages", "greater than or equal to 1"],
    ),
    "dead letters kept for ever": (
        {"delivery": {"spool": {"keepDead": "forever"}}},
        ["spec.delivery.spool.keepDead", "such as 168h"],
    ),
    "spool in the mailer": ({"delivery": {"spool": "ephemeral"}}, ["spec.delivery.spool", "must be of type object"]),
    "addresses in the log in words": ({"logAddresses": "yes"}, ["spec.logAddresses", "must be of type boolean"]),
    "key that cannot be one": (
        {"credential": {"clientSecret": {"secretRefs": [{"name": "a", "key": "b c"}]}}},
        ["spec.credential.clientSecret.secretRefs[0].key", "must be a key of a Secret"],
    ),
}


def mailer(name: str = "right", **spec: Any) -> dict[str, Any]:
    """A mailer that is right in everything but what `spec` says."""
    right = {
        "tenantId": "contoso.onmicrosoft.com",
        "clientId": "22222222-2222-4222-8222-222222222222",
        "mailbox": "noreply@contoso.com",
        "credential": CREDENTIAL,
    }
    return {
        "apiVersion": "o365mailer.dev/v1alpha1",
        "kind": "O365Mailer",
        "metadata": {"name": name},
        "spec": {member: value for member, value in {**right, **spec}.items() if value is not None},
    }


def create(cluster: ControlPlane, document: dict[str, Any]) -> tuple[int, str]:
    """Exit status and stderr of `kubectl create`, as a user sees them; nothing is stored."""
    done = cluster.kubectl.process("create", "--dry-run=server", "-f", "-", stdin=json.dumps(document))
    return done.returncode, done.stderr


@pytest.mark.promise("wrong-mailer-refused")
@pytest.mark.parametrize("case", CASES)
def test_a_wrong_member_is_refused_by_name(cluster: ControlPlane, case: str) -> None:
    spec, parts = CASES[case]
    status, text = create(cluster, mailer(**spec))
    assert status != 0
    for part in parts:
        assert part in text


@pytest.mark.promise("wrong-mailer-refused")
@pytest.mark.parametrize("name", ["a" * 41, "no.reply"])
def test_a_name_that_no_label_can_hold_is_refused(cluster: ControlPlane, name: str) -> None:
    status, text = create(cluster, mailer(name))
    assert status != 0
    assert "metadata.name" in text
    assert "40 characters" in text


@pytest.mark.promise("wrong-mailer-refused")
@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"tenantId": "11111111-1111-4111-8111-111111111111"},
        {"authority": {"url": "https://127.0.0.1:8443/", "ca": {"secretRef": {"name": "a", "key": "root.pem"}}}},
        {"submission": {"ca": {"configMapRef": {"name": "openshift.trusted-ca", "key": "ca-bundle.crt"}}}},
        {"submission": {"host": "smtp.example.test.", "port": 2587}},
        {"submission": {"host": "a" * 63 + ".example"}},
        {"credential": {"certificate": {"secretRef": {"name": "a"}}}},
        {"credential": {"clientSecret": {"secretRefs": [SECRET_REF] * 2, "expiresAt": "2027-01-01T00:00:00Z"}}},
        {"limits": {"connections": 1, "messageSize": "10M"}, "delivery": {"confirmWithin": "500ms"}},
        {"senders": {"allowed": ["a@b.example", "@b.example", "*@c.example"], "onMismatch": "Rewrite"}},
        {"recipients": {"allowedDomains": ["b.example"], "redirectTo": "a@b.example", "maxPerMessage": 1000}},
        {"limits": {"messagesPerMinute": 1}, "logAddresses": True},
        {"delivery": {"offerAuth": False, "notify": "sender", "spool": {"maxAge": "1h", "maxMessages": 1}}},
        {"delivery": {"notify": "postmaster@contoso.com", "spool": {"maxSize": "2Gi", "keepDead": "0s"}}},
        {"cloud": "China", "suspend": True, "logLevel": "debug"},
    ],
)
def test_what_is_right_is_taken(cluster: ControlPlane, spec: dict[str, Any]) -> None:
    assert create(cluster, mailer("a" * 40, **spec)) == (0, "")


def test_a_mailer_is_found_by_its_short_name_and_its_category(cluster: ControlPlane) -> None:
    listed = cluster.kubectl("api-resources", "--api-group=o365mailer.dev", "-o", "wide", "--no-headers")
    assert "o365m " in listed
    assert listed.split()[-1] == "mail"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("", [f"{DOCS}/mailer.md", "A mailbox in Office 365"]),
        ("spec.credential.clientSecret.secretRefs", ["same namespace as this mailer", "Value, as Entra shows it"]),
        ("spec.credential.certificate.secretRef", ["kubernetes.io/tls in the same namespace"]),
        ("spec.authority.ca", ["instead of the system's", "configMapRef", "same namespace"]),
        ("spec.submission.ca.configMapRef.key", ["Default ca.crt"]),
        ("status.conditions", [f"{DOCS}/troubleshooting.md", "Stalled", "what to do"]),
    ],
)
def test_kubectl_explain_says_where_things_are(cluster: ControlPlane, field: str, words: list[str]) -> None:
    told = " ".join(cluster.kubectl("explain", f"o365mailers.{field}".rstrip(".")).split())
    for each in words:
        assert each in told, told
