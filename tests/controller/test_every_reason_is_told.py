"""A mailer that cannot work says why, and what to do, in its condition; nothing is written for it."""

import datetime
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from support import hostile_keys
from support.controller_process import ControllerProcess, Namespace
from support.waiting import eventually

from o365mailer_contract import names

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

UNKNOWN = "99999999-9999-4999-8999-999999999999"


def refs(*pairs: tuple[str, str]) -> dict[str, Any]:
    """A credential of client secrets."""
    return {"clientSecret": {"secretRefs": [{"name": name, "key": key} for name, key in pairs]}}


def pair(key: Key, *, days: int = 30) -> dict[str, str]:
    """A kubernetes.io/tls Secret's data: a certificate that ends in `days`, and its key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mailer")])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=60))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {"tls.crt": certificate.public_bytes(serialization.Encoding.PEM).decode(), "tls.key": private.decode()}


def closed_port() -> int:
    """A port that no process listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CERTIFICATE = {"certificate": {"secretRef": {"name": "pair"}}}
DER = x509.load_pem_x509_certificate(pair(RSA_KEY)["tls.crt"].encode()).public_bytes(serialization.Encoding.DER)


def with_secret(name: str, data: dict[str, str], spec: dict[str, Any]) -> Callable[[Namespace], dict[str, Any]]:
    """A case that needs a Secret of its own."""

    def prepare(namespace: Namespace) -> dict[str, Any]:
        namespace.secret(name, data)
        return spec

    return prepare


def by_config_map(name: str) -> dict[str, Any]:
    """Members of a spec whose submission host's authorities are in a ConfigMap."""
    return {"submission": {"ca": {"configMapRef": {"name": name}}}}


def with_config_map(
    data: dict[str, str], binary: dict[str, bytes] | None = None
) -> Callable[[Namespace], dict[str, Any]]:
    """A case that needs a ConfigMap of its own."""

    def prepare(namespace: Namespace) -> dict[str, Any]:
        namespace.config_map("company-ca", data, binary=binary)
        return by_config_map("company-ca")

    return prepare


def entra_says(spec: dict[str, Any], **rule: Any) -> Callable[[Namespace], dict[str, Any]]:
    """A case in which Entra is scripted."""

    def prepare(namespace: Namespace) -> dict[str, Any]:
        namespace.emulator.script("token", times=None, **rule)
        return spec

    return prepare


def expired_secret(namespace: Namespace) -> dict[str, Any]:
    """The application's secret has ended."""
    change = {"secrets": [{"value": namespace.emulator.client_secret, "expiresAt": "2020-01-01T00:00:00Z"}]}
    namespace.emulator.control("PATCH", f"/applications/{namespace.emulator.client_id}", change)
    return {}


CASES: dict[str, tuple[Callable[[Namespace], dict[str, Any]], str, list[str]]] = {
    "there is no Secret": (
        lambda _: {"credential": refs(("nowhere", "secret"))},
        "SecretNotFound",
        ["no Secret nowhere", "Create it", "key secret"],
    ),
    "the Secret has no such key": (
        lambda _: {"credential": refs(("entra", "password"))},
        "SecretKeyMissing",
        ["entra has no key password", "it has one other key"],
    ),
    "the key is empty": (
        with_secret("blank", {"secret": " \n"}, {"credential": refs(("blank", "secret"))}),
        "SecretKeyEmpty",
        ["key secret of the Secret blank is empty", "Put the value in"],
    ),
    "the authority's host is not allowed": (
        lambda _: {"authority": {"url": "https://login.example.test"}},
        "HostNotAllowed",
        ["spec.authority.url", "login.example.test:443", "allowedHosts.authority"],
    ),
    "the submission host is not allowed": (
        lambda _: {"submission": {"host": "smtp.example.test"}},
        "HostNotAllowed",
        ["spec.submission.host", "smtp.example.test:587", "allowedHosts.submission"],
    ),
    "the certificate's key is not RSA": (
        with_secret("pair", pair(ec.generate_private_key(ec.SECP256R1())), {"credential": CERTIFICATE}),
        "CertificateKeyNotRSA",
        ["tls.key of the Secret pair is not RSA", "algorithm: RSA"],
    ),
    "the key is dear to read": (
        with_secret(
            "pair",
            {**pair(RSA_KEY), "tls.key": hostile_keys.pem("PRIVATE KEY", hostile_keys.diffie_hellman(9689)).decode()},
            {"credential": CERTIFICATE},
        ),
        "CertificateKeyNotRSA",
        ["tls.key of the Secret pair is not RSA"],
    ),
    "the certificate has expired": (
        with_secret("pair", pair(RSA_KEY, days=-1), {"credential": CERTIFICATE}),
        "CertificateExpired",
        ["Secret pair expired at", "Renew it"],
    ),
    "the certificate is not registered": (
        with_secret("pair", pair(RSA_KEY), {"credential": CERTIFICATE}),
        "AADSTS700027",
        ["AADSTS700027", "Upload tls.crt"],
    ),
    "the authority's CA is no certificate": (
        with_secret("no-ca", {"ca.crt": "nothing"}, {"submission": {"ca": {"secretRef": {"name": "no-ca"}}}}),
        "CABundleInvalid",
        ["ca.crt of the Secret no-ca holds no PEM certificate"],
    ),
    "there is no ConfigMap": (
        lambda _: by_config_map("nowhere"),
        "ConfigMapNotFound",
        ["no ConfigMap nowhere in this namespace", "Create it", "key ca.crt", "trust-manager"],
    ),
    "the ConfigMap has another key": (
        with_config_map({"ca-bundle.crt": "PEM"}),
        "ConfigMapKeyMissing",
        ["company-ca has no key ca.crt; it has a key ca-bundle.crt", "configMapRef.key"],
    ),
    "the ConfigMap holds no PEM": (
        with_config_map({"ca.crt": "nothing"}),
        "CABundleInvalid",
        ["ca.crt of the ConfigMap company-ca holds no PEM certificate", "BEGIN CERTIFICATE"],
    ),
    "the ConfigMap holds DER": (
        with_config_map({}, binary={"ca.crt": DER}),
        "CABundleInvalid",
        ["company-ca is a certificate in DER form", "openssl x509 -inform DER"],
    ),
    "the ConfigMap is too large": (
        with_config_map({"ca.crt": "x" * 600_000}),
        "CABundleInvalid",
        ["ca.crt of the ConfigMap company-ca has 600000 bytes", "at most 524288", "only the authorities needed"],
    ),
    "the client secret is wrong": (
        with_secret("wrong", {"secret": "wrong-not-a-secret"}, {"credential": refs(("wrong", "secret"))}),
        "AADSTS7000215",
        ["AADSTS7000215", "the secret wrong/secret", "Value, not its ID"],
    ),
    "the client secret has expired": (expired_secret, "AADSTS7000222", ["AADSTS7000222", "expired", "Create a new"]),
    "the application is unknown": (lambda _: {"clientId": UNKNOWN}, "AADSTS700016", ["AADSTS700016", "spec.clientId"]),
    "the tenant is unknown": (lambda _: {"tenantId": UNKNOWN}, "AADSTS90002", ["AADSTS90002", "spec.tenantId"]),
    "Entra cannot be reached": (
        lambda _: {
            "authority": {"url": f"https://127.0.0.1:{closed_port()}", "ca": {"secretRef": {"name": "emulator-ca"}}}
        },
        "EntraUnreachable",
        ["No connection to 127.0.0.1", "egress"],
    ),
    "Entra's certificate is not trusted": (
        lambda namespace: {"authority": {"url": namespace.emulator.authority}},
        "EntraNotTrusted",
        ["127.0.0.1", "spec.authority.ca"],
    ),
    "Entra has a fault": (entra_says({}, status=503), "EntraUnreachable", ["HTTP 503", "tried again"]),
    "Entra asks to wait": (entra_says({}, status=429, retryAfter=40), "EntraThrottled", ["40 s", "429"]),
}


@pytest.mark.promise("mailer-says-what-is-wrong")
@pytest.mark.parametrize("case", CASES)
def test_a_mailer_that_cannot_work_says_why_and_what_to_do(namespace: Namespace, case: str) -> None:
    prepare, reason, parts = CASES[case]
    namespace.apply_mailer(**prepare(namespace))
    ready = namespace.await_condition(reason)
    issued = namespace.await_condition(reason, kind="TokenIssued")
    assert (ready["status"], issued["status"]) == ("False", "False")
    for part in parts:
        assert part in ready["message"]
    assert namespace.files() is None
    line = namespace.kubectl("get", "o365m", "noreply", "-n", namespace.name, "--no-headers")
    assert line.split()[1:4] == [namespace.emulator.mailbox, "False", reason]


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_authorities_in_a_config_map_are_trusted_and_their_change_is_delivered(namespace: Namespace) -> None:
    """In `data` and in `binaryData`, with a JKS next to it, as trust-manager writes it."""
    authority = Path(namespace.emulator.ca_file).read_bytes()
    namespace.config_map("company-ca", {"ca.crt": authority.decode()}, binary={"ca.jks": b"\xfe\xed\xfe\xed"})
    namespace.config_map("binary-ca", {}, binary={"ca.crt": authority})
    host, port = namespace.emulator.smtp_host, namespace.emulator.smtp_port
    spec = {
        "authority": {"url": namespace.emulator.authority, "ca": {"configMapRef": {"name": "binary-ca"}}},
        "submission": {"host": host, "port": port, "ca": {"configMapRef": {"name": "company-ca"}}},
    }
    namespace.apply_mailer(**spec)
    namespace.await_ready()
    assert (namespace.files() or {})["ca.crt"] == authority

    more = json.dumps({"data": {"ca.crt": pair(RSA_KEY)["tls.crt"] + authority.decode()}})
    namespace.kubectl("patch", "configmap", "company-ca", "-n", namespace.name, "--type=merge", "-p", more)
    namespace.apply_mailer(**spec, logLevel="debug")  # the controller looks at once
    eventually(lambda: (namespace.files() or {})["ca.crt"].count(b"BEGIN CERTIFICATE") == 2)


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_registered_certificate_gets_a_token(namespace: Namespace) -> None:
    data = pair(RSA_KEY)
    namespace.secret("pair", data)
    namespace.emulator.control(
        "PATCH", f"/applications/{namespace.emulator.client_id}", {"certificates": [data["tls.crt"]]}
    )
    namespace.apply_mailer(credential=CERTIFICATE)
    namespace.await_ready()


@pytest.mark.promise("mailer-says-what-is-wrong")
@pytest.mark.parametrize("days", [30, -1])
def test_the_end_of_a_certificate_is_in_the_metrics_before_and_after_it(
    namespace: Namespace, controller: ControllerProcess, days: int
) -> None:
    data = pair(RSA_KEY, days=days)
    namespace.secret("pair", data)
    namespace.apply_mailer("ending", credential=CERTIFICATE)
    sample = f'o365mailer_certificate_expiry_timestamp_seconds{{mailer="ending",namespace="{namespace.name}"}}'
    end = x509.load_pem_x509_certificate(data["tls.crt"].encode()).not_valid_after_utc.timestamp()
    assert eventually(lambda: controller.metric(sample)) == end


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_credential_that_ends_soon_is_a_condition_and_an_event_until_it_is_renewed(namespace: Namespace) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=20)
    namespace.apply_mailer(credential=noted(soon))
    namespace.await_ready()
    told = namespace.await_condition("ClientSecretExpiring", kind="CredentialExpiring")
    assert f"ends on {soon:%Y-%m-%d}" in told["message"]
    assert "Create a new one in Entra" in told["message"]
    events = eventually(lambda: [each for each in namespace.events() if each["reason"] == "ClientSecretExpiring"])
    assert [(each["type"], each["note"]) for each in events] == [("Warning", told["message"])]
    later = soon - datetime.timedelta(days=14)  # as if two weeks had passed
    namespace.apply_mailer(credential=noted(later))
    notes = eventually(
        lambda: [each["note"] for each in namespace.events() if f"ends on {later:%Y-%m-%d}" in each["note"]]
    )
    assert "Renew it this week." in notes[0]
    namespace.apply_mailer(credential=noted(soon + datetime.timedelta(days=3)))
    eventually(lambda: namespace.condition("CredentialExpiring") is None)


def noted(end: datetime.datetime) -> Any:
    """The right client secret, whose end is noted."""
    return {"clientSecret": {**refs(("entra", "secret"))["clientSecret"], "expiresAt": f"{end:%Y-%m-%dT%H:%M:%SZ}"}}


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_token_with_more_rights_than_mail_needs_is_told(namespace: Namespace, controller: ControllerProcess) -> None:
    application = f"/applications/{namespace.emulator.client_id}"
    sample = f'o365mailer_excess_roles{{mailer="%s",namespace="{namespace.name}"}}'
    namespace.apply_mailer("least")
    namespace.await_ready("least")
    assert eventually(lambda: controller.metric(sample % "least") == 0)
    namespace.emulator.control("PATCH", application, {"roles": ["SMTP.SendAsApp", "Mail.Send", "full_access_as_app"]})
    namespace.apply_mailer("more", annotations={"o365mailer.dev/refresh": "now"})
    namespace.await_ready("more")
    told = "The token has more rights than mail needs: Mail.Send, full_access_as_app. Remove these API permissions"
    issued = namespace.condition("TokenIssued", mailer="more")
    assert issued
    assert told in issued["message"]
    assert eventually(lambda: controller.metric(sample % "more") == 2)
    [event] = eventually(lambda: [each for each in namespace.events("more") if each["reason"] == "ExcessRoles"])
    assert (event["type"], event["note"].startswith(told)) == ("Warning", True)
    assert "ExcessRoles" not in {each["reason"] for each in namespace.events("least")}


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_of_two_secrets_the_one_that_works_is_used_and_the_other_named(namespace: Namespace) -> None:
    namespace.secret("wrong", {"secret": "wrong-not-a-secret"})
    namespace.apply_mailer(credential=refs(("wrong", "secret"), ("entra", "secret")))
    namespace.await_ready()
    issued = namespace.condition("TokenIssued")
    assert issued is not None
    assert "Obtained with the Secret entra/secret" in issued["message"]
    assert "the secret wrong/secret" in issued["message"]


@pytest.mark.promise("foreign-secret-untouched")
def test_a_secret_of_another_owner_is_left_alone_and_reported(namespace: Namespace) -> None:
    namespace.secret("o365mailer.taken", {"theirs": "not-a-secret"})
    before = namespace.find("secret", "o365mailer.taken")
    namespace.apply_mailer("taken")
    ready = namespace.await_condition("SecretNameTaken", mailer="taken")
    assert ready["status"] == "False"
    assert "Delete or rename that Secret" in ready["message"]
    assert namespace.find("secret", "o365mailer.taken") == before
    assert namespace.emulator.counters()["tokensIssued"] == 0
    namespace.kubectl("delete", "secret", "o365mailer.taken", "-n", namespace.name)
    namespace.await_ready("taken")


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_suspended_mailer_asks_for_no_token_until_it_goes_on(namespace: Namespace) -> None:
    namespace.apply_mailer(suspend=True)
    ready = namespace.await_condition("Suspended")
    assert ready["status"] == "False"
    assert namespace.emulator.counters()["tokensIssued"] == 0
    namespace.apply_mailer(suspend=False)
    namespace.await_ready()


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_refused_token_secret_is_reported_and_not_minted_for_again_and_again(namespace: Namespace) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full"},
        "spec": {"hard": {"count/secrets": "0"}},
    }
    namespace.kubectl.apply(quota, namespace=namespace.name)
    try:
        namespace.apply_mailer()
        ready = namespace.await_condition("SecretWriteRefused")
        assert "quota" in ready["message"]
        minted = namespace.emulator.counters()["tokensIssued"]
        other = namespace.manifest("later", credential=refs(("nowhere", "secret")))
        namespace.kubectl.apply(other, namespace=namespace.name)
        namespace.made.append("later")
        namespace.await_condition("SecretNotFound", mailer="later")
        assert namespace.emulator.counters()["tokensIssued"] == minted == 1
    finally:
        namespace.kubectl("delete", "resourcequota", "full", "-n", namespace.name)
    namespace.await_ready()  # with the token that was obtained then
    assert namespace.emulator.counters()["tokensIssued"] == 1


@pytest.mark.promise("mailer-says-what-is-wrong")
@pytest.mark.parametrize("wrong", [{"immutable": True}, {"type": "kubernetes.io/tls"}], ids=["immutable", "type"])
def test_a_token_secret_that_cannot_be_written_is_reported_and_ready_once_it_is_deleted(
    namespace: Namespace, wrong: dict[str, object]
) -> None:
    labels = {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.MAILER_LABEL: "noreply"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "o365mailer.noreply", "labels": labels}}
    data = {"stringData": {"tls.crt": "", "tls.key": ""}}
    namespace.kubectl.apply({**secret, **data, **wrong}, namespace=namespace.name)
    namespace.apply_mailer()
    assert "delete a Secret of this name" in namespace.await_condition("SecretWriteRefused")["message"]
    namespace.kubectl("delete", "secret", "o365mailer.noreply", "-n", namespace.name)
    namespace.await_ready()
    assert namespace.emulator.counters()["tokensIssued"] == 1


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_secret_of_very_many_keys_is_reported_all_the_same(namespace: Namespace) -> None:
    namespace.secret("crowded", {f"{number:03}{'x' * 240}": "" for number in range(500)})
    namespace.apply_mailer(credential=refs(("crowded", "secret")))
    namespace.await_condition("SecretKeyMissing")


@pytest.mark.promise("mailers-are-independent")
def test_a_wrong_mailer_disturbs_no_other(namespace: Namespace) -> None:
    namespace.emulator.script("token", match=UNKNOWN, stall=True, times=None)
    for number in range(4):
        namespace.apply_mailer(f"hanging-{number}", tenantId="contoso.com", clientId=UNKNOWN)
    namespace.emulator.events("stalled", atleast=1)
    namespace.apply_mailer("right")
    right = namespace.await_ready("right")
    namespace.emulator.release()
    secret = namespace.find("secret", "o365mailer.right")
    issued, made = (
        datetime.datetime.fromisoformat(written)
        for written in (
            secret["metadata"]["annotations"]["o365mailer.dev/issued-at"],
            right["metadata"]["creationTimestamp"],
        )
    )
    assert (issued - made).total_seconds() < 8, "a request that hangs is given up after ten"
