"""The active controller keeps the webhook's authority, and gives the API server what it has to trust."""

import base64
import json
from collections.abc import Callable, Iterator

import pytest
from cluster_rig.control_plane import ControlPlane
from cryptography import x509
from support.controller_process import ControllerProcess, Namespace
from support.waiting import eventually

from o365mailer_contract import names


@pytest.fixture
def configuration(cluster: ControlPlane, own_namespace: Namespace) -> Iterator[str]:
    """A webhook configuration that matches nothing."""
    name = f"{own_namespace.name}.o365mailer.dev"
    webhook = {
        "name": f"pods.{name}",
        "clientConfig": {"url": "https://localhost:9/pods"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "objectSelector": {"matchLabels": {"no-pod-has-this": name}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    cluster.kubectl.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [webhook],
        }
    )
    yield name
    cluster.kubectl("delete", "mutatingwebhookconfiguration", name)


def bundle(cluster: ControlPlane, configuration: str) -> bytes:
    """What the API server trusts; empty where nothing is said."""
    found = cluster.kubectl.json("get", "mutatingwebhookconfiguration", configuration)
    return base64.b64decode(found["webhooks"][0]["clientConfig"].get("caBundle", ""))


@pytest.mark.promise("webhook-certificates-renewed")
def test_the_configuration_trusts_the_secrets_authority_and_is_mended_when_it_is_wiped(
    cluster: ControlPlane,
    own_namespace: Namespace,
    configuration: str,
    start_controller: Callable[..., ControllerProcess],
) -> None:
    controller = start_controller("--webhook-configuration", configuration)
    controller.wait_until_leading()
    trusted = eventually(lambda: bundle(cluster, configuration), what="a caBundle")
    secret = own_namespace.find("secret", names.CA_SECRET)
    assert base64.b64decode(secret["data"][names.CA_SECRET_CERTIFICATE]) == trusted
    end = x509.load_pem_x509_certificate(trusted).not_valid_after_utc.timestamp()
    shown = "o365mailer_webhook_authority_expiry_timestamp_seconds"
    assert eventually(lambda: controller.metric(shown) == end, what="its end in the metrics")
    wipe = '[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]'
    cluster.kubectl("patch", "mutatingwebhookconfiguration", configuration, "--type=json", "-p", wipe)
    assert eventually(lambda: bundle(cluster, configuration), within=5, what="the caBundle again") == trusted


@pytest.mark.promise("webhook-certificates-renewed")
def test_a_configuration_without_webhooks_is_left_and_trusts_again_when_it_has_some(
    cluster: ControlPlane,
    own_namespace: Namespace,
    configuration: str,
    start_controller: Callable[..., ControllerProcess],
) -> None:
    """To take its webhooks out is how a webhook is switched off by hand."""
    found = cluster.kubectl.json("get", "mutatingwebhookconfiguration", configuration)
    empty = '[{"op": "remove", "path": "/webhooks"}]'
    cluster.kubectl("patch", "mutatingwebhookconfiguration", configuration, "--type=json", "-p", empty)
    controller = start_controller("--webhook-configuration", configuration)
    controller.wait_until_leading()
    own_namespace.apply_mailer()
    own_namespace.await_ready()
    eventually(lambda: own_namespace.find("secret", names.CA_SECRET), what="the authority")
    back = json.dumps({"webhooks": found["webhooks"]})
    cluster.kubectl("patch", "mutatingwebhookconfiguration", configuration, "--type=merge", "-p", back)
    assert eventually(lambda: bundle(cluster, configuration), within=20, what="a caBundle")
    assert controller.process.poll() is None


@pytest.mark.promise("webhook-certificates-renewed")
def test_without_the_flag_nothing_is_kept(
    own_namespace: Namespace, start_controller: Callable[..., ControllerProcess]
) -> None:
    start_controller().wait_until_leading()
    own_namespace.apply_mailer()
    own_namespace.await_ready()
    assert own_namespace.find("secret", names.CA_SECRET) is None
