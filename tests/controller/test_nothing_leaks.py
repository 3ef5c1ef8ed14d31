"""No secret, key or token in what the controller logs, tells, reports or measures; the scan finds a planted one."""

import base64
import json
from collections.abc import Callable

import pytest
from cluster_rig.control_plane import ControlPlane
from support.controller_process import ControllerProcess, Namespace
from support.waiting import eventually

WRONG_SECRET = "canary-wrong-value-not-a-secret"
EMPTY_NEIGHBOUR = "canary-neighbour-value-not-a-secret"
SPOILT_KEY = "canary-spoilt-key-not-a-secret"


def forms(canary: str) -> set[str]:
    """A canary as it is, and as it would stand in JSON, base64 and a URL's body."""
    encoded = base64.b64encode(canary.encode()).decode()
    return {canary, json.dumps(canary)[1:-1], encoded.rstrip("="), encoded[4:40]}


def leaks(texts: dict[str, str], canaries: dict[str, str]) -> list[str]:
    """Which canary is in which text."""
    return [
        f"{what} in {where}"
        for where, text in texts.items()
        for what, canary in canaries.items()
        if any(form in text for form in forms(canary))
    ]


@pytest.mark.promise("secrets-stay-secret")
def test_no_secret_or_token_is_in_logs_events_status_or_metrics(
    cluster: ControlPlane, own_namespace: Namespace, start_controller: Callable[..., ControllerProcess]
) -> None:
    namespace = own_namespace
    process = start_controller("--log-level", "debug")
    process.wait_until_leading()
    namespace.secret("wrong", {"secret": WRONG_SECRET})
    namespace.secret("neighbour", {"secret": " ", "other": EMPTY_NEIGHBOUR})
    namespace.secret("pair", {"tls.crt": SPOILT_KEY, "tls.key": SPOILT_KEY})
    namespace.apply_mailer("right")
    namespace.apply_mailer("refused", credential=client_secret("wrong"))
    namespace.apply_mailer("empty", credential=client_secret("neighbour"))
    namespace.apply_mailer("spoilt", credential={"certificate": {"secretRef": {"name": "pair"}}})
    namespace.await_ready("right")
    namespace.await_condition("AADSTS7000215", mailer="refused")
    namespace.await_condition("SecretKeyEmpty", mailer="empty")
    namespace.await_condition("CertificateInvalid", mailer="spoilt")
    eventually(lambda: len(namespace.events("right")) == 3)  # Ready, TokenIssued, Authenticated
    process.kill()  # whatever it would write in dying is looked at too
    files = namespace.files("right")
    assert files is not None
    canaries = {
        "the client secret": namespace.emulator.client_secret,
        "the refused secret": WRONG_SECRET,
        "the neighbouring key": EMPTY_NEIGHBOUR,
        "the certificate's key": SPOILT_KEY,
        "the access token": files["access_token"].decode(),
        "the token's signature": files["access_token"].decode().rpartition(".")[2],
    }
    texts = {
        "the log": process.stderr(),
        "the mailers": cluster.kubectl("get", "o365mailers", "-n", namespace.name, "-o", "json"),
        "the Events": cluster.kubectl("get", "events.events.k8s.io", "-n", namespace.name, "-o", "json"),
    }
    assert all(len(text) > 500 for text in texts.values())
    assert leaks(texts, canaries) == []
    assert namespace.emulator.mailbox not in texts["the log"]


@pytest.mark.promise("secrets-stay-secret")
def test_no_secret_or_token_is_in_the_metrics(namespace: Namespace, controller: ControllerProcess) -> None:
    namespace.apply_mailer("measured")
    namespace.await_ready("measured")
    files = namespace.files("measured")
    assert files is not None
    exposition = controller.http("/metrics")[1]
    assert "measured" in exposition
    canaries = {"secret": namespace.emulator.client_secret, "token": files["access_token"].decode()}
    assert leaks({"the metrics": exposition}, canaries) == []


@pytest.mark.promise("secrets-stay-secret")
def test_the_scan_finds_what_is_planted(cluster: ControlPlane, own_namespace: Namespace) -> None:
    planted = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "planted"},
        "data": {
            "log": f'{{"message": "asked with {WRONG_SECRET}"}}',
            "encoded": base64.b64encode(EMPTY_NEIGHBOUR.encode()).decode(),
        },
    }
    cluster.kubectl.apply(planted, namespace=own_namespace.name)
    text = cluster.kubectl("get", "configmap", "planted", "-n", own_namespace.name, "-o", "json")
    canaries = {"one": WRONG_SECRET, "two": EMPTY_NEIGHBOUR, "none": SPOILT_KEY}
    assert leaks({"planted": text}, canaries) == ["one in planted", "two in planted"]


def client_secret(name: str) -> dict[str, object]:
    """A credential of one client secret."""
    return {"clientSecret": {"secretRefs": [{"name": name, "key": "secret"}]}}
