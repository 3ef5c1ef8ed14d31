"""Install, upgrade, uninstall, reinstall, as the documentation says, on a real API server (without a node)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane
from support.waiting import eventually

from chart.release import CHART, NAMESPACE, RELEASE, Render

pytestmark = pytest.mark.timeout(120)

CONFIGURATION = ("mutatingwebhookconfiguration", "admission.o365mailer.dev")
AUTHORITY = "bm90LWEtY2VydGlmaWNhdGU="
MAILER = {
    "apiVersion": "o365mailer.dev/v1alpha1",
    "kind": "O365Mailer",
    "metadata": {"name": "noreply"},
    "spec": {
        "tenantId": "contoso.example",
        "clientId": "00000000-0000-0000-0000-000000000000",
        "mailbox": "noreply@contoso.example",
        "credential": {"clientSecret": {"secretRefs": [{"name": "noreply-credential", "key": "client-secret"}]}},
    },
}


def versions(plane: ControlPlane, objects: list[dict[str, Any]]) -> dict[str, str]:
    """The resourceVersion of each of the chart's objects, by kind and name."""
    items = {"apiVersion": "v1", "kind": "List", "items": objects}
    found = plane.kubectl(
        "get", "--filename", "-", "--output", "json", "--namespace", NAMESPACE, stdin=json.dumps(items)
    )
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for item in json.loads(found)["items"]
    }


def settled(plane: ControlPlane, role: str, replicas: int) -> bool:
    """Whether a role's pods were made and its Deployment's status knows them."""
    status = plane.kubectl.json("get", "deployment", f"o365mailer-{role}", "--namespace", NAMESPACE)["status"]
    return bool(status.get("unavailableReplicas", 0) == replicas == status.get("updatedReplicas"))


def authorities(plane: ControlPlane) -> list[str]:
    """The caBundle of each entry of the webhook configuration."""
    webhooks = plane.kubectl.json("get", *CONFIGURATION)["webhooks"]
    return [webhook["clientConfig"].get("caBundle", "") for webhook in webhooks]


def write_authority(plane: ControlPlane) -> None:
    """What the controller does to the webhook configuration."""
    change = [
        {"op": "add", "path": f"/webhooks/{number}/clientConfig/caBundle", "value": AUTHORITY} for number in (0, 1)
    ]
    plane.kubectl("patch", *CONFIGURATION, "--type=json", "--patch", json.dumps(change))


@pytest.fixture
def mailer(installed: Client, plane: ControlPlane) -> Iterator[None]:
    """A user's mailer in a user's namespace."""
    eventually(lambda: plane.kubectl.process("get", "o365mailers").returncode == 0)
    plane.kubectl.apply(MAILER, namespace="team-a")
    yield
    plane.kubectl("delete", "o365mailer", "noreply", "--namespace", "team-a", "--ignore-not-found")


@pytest.mark.promise("pod-security-restricted")
def test_pod_security_restricted_admits_every_pod_of_the_chart(installed: Client, plane: ControlPlane) -> None:
    eventually(lambda: settled(plane, "webhook", 2) and settled(plane, "controller", 1))
    pods = plane.kubectl.json("get", "pods", "--namespace", NAMESPACE)["items"]
    assert len([pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]) == 3


def test_that_namespace_does_refuse_a_pod_that_is_not_restricted(plane: ControlPlane) -> None:
    plain = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain"},
        "spec": {"containers": [{"name": "app", "image": "none"}]},
    }
    items = {"apiVersion": "v1", "kind": "List", "items": [plain]}
    refused = plane.kubectl.process(
        "apply", "--namespace", NAMESPACE, "--dry-run=server", "--filename", "-", stdin=json.dumps(items)
    )
    assert 'violates PodSecurity "restricted' in refused.stderr


@pytest.mark.promise("chart-keeps-mailers")
def test_an_upgrade_without_changes_changes_no_object(installed: Client, plane: ControlPlane, render: Render) -> None:
    write_authority(plane)
    eventually(lambda: settled(plane, "webhook", 2) and settled(plane, "controller", 1))
    objects = render()
    before = versions(plane, objects)
    installed("upgrade", RELEASE, CHART, "--namespace", NAMESPACE)
    assert versions(plane, objects) == before
    assert authorities(plane) == [AUTHORITY, AUTHORITY]


def test_an_upgrade_that_changes_a_value_changes_what_it_is_about_and_keeps_the_authority(
    installed: Client, plane: ControlPlane
) -> None:
    write_authority(plane)
    installed("upgrade", RELEASE, CHART, "--namespace", NAMESPACE, "--set", "webhook.failurePolicy=Ignore")
    webhooks = plane.kubectl.json("get", *CONFIGURATION)["webhooks"]
    assert [webhook["failurePolicy"] for webhook in webhooks] == ["Ignore", "Ignore"]
    assert authorities(plane) == [AUTHORITY, AUTHORITY]


@pytest.mark.promise("chart-keeps-mailers")
def test_server_side_apply_as_helm_4_and_argo_do_it_neither_conflicts_nor_drops_the_authority(
    plane: ControlPlane, render: Render
) -> None:
    (configuration,) = (found for found in render() if found["kind"] == "MutatingWebhookConfiguration")
    apply = ("apply", "--server-side", "--field-manager=helm", "--filename", "-")
    try:
        plane.kubectl(*apply, stdin=json.dumps(configuration))
        write_authority(plane)
        plane.kubectl(*apply, stdin=json.dumps(configuration))
        assert authorities(plane) == [AUTHORITY, AUTHORITY]
    finally:
        plane.kubectl("delete", *CONFIGURATION, "--ignore-not-found")


@pytest.mark.promise("chart-keeps-mailers")
def test_uninstalling_leaves_no_webhook_configuration_and_no_rights(installed: Client, plane: ControlPlane) -> None:
    assert "admission.o365mailer.dev" in plane.kubectl("get", "mutatingwebhookconfigurations", "--output", "name")
    installed("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    kinds = "mutatingwebhookconfigurations,validatingwebhookconfigurations,clusterroles,clusterrolebindings"
    left = plane.kubectl("get", kinds, "--output", "name")
    assert "clusterrole.rbac.authorization.k8s.io/view" in left
    assert "o365mailer" not in left
    in_namespace = "deployments,services,serviceaccounts,roles,rolebindings,poddisruptionbudgets"
    assert "o365mailer" not in plane.kubectl("get", in_namespace, "--namespace", NAMESPACE, "--output", "name")


@pytest.mark.promise("chart-keeps-mailers")
def test_uninstalling_keeps_the_mailers_and_installing_again_takes_them_over(
    mailer: None, installed: Client, plane: ControlPlane
) -> None:
    uid = plane.kubectl("get", "o365mailer", "noreply", "--namespace", "team-a", "--output", "jsonpath={.metadata.uid}")
    installed("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    still = plane.kubectl.json("get", "o365mailer", "noreply", "--namespace", "team-a")
    assert still["metadata"]["uid"] == uid
    installed("install", RELEASE, CHART, "--namespace", NAMESPACE)
    again = plane.kubectl.json("get", "o365mailer", "noreply", "--namespace", "team-a")
    assert again["metadata"]["uid"] == uid


def test_another_release_name_over_kept_crds_is_refused_with_the_reason_and_has_a_way(
    installed: Client, plane: ControlPlane
) -> None:
    installed("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    other = ("install", "another", CHART, "--namespace", NAMESPACE)
    refused = installed.process(*other)
    assert "invalid ownership metadata" in refused.stderr
    installed(*other, "--set", "crds.enabled=false")
    installed("uninstall", "another", "--namespace", NAMESPACE, "--wait")


def test_the_notes_warn_of_what_loses_mail(helm_on_plane: Client) -> None:
    rehearse = ("install", RELEASE, CHART, "--dry-run=server", "--namespace", NAMESPACE)
    usual = helm_on_plane(*rehearse)
    assert "NOTE:" not in usual
    assert "image.registry is localhost, and nodes cannot pull from it" in usual
    assert "localhost, and nodes" not in helm_on_plane(*rehearse, "--set", "image.registry=registry.example.com")
    warned = helm_on_plane(*rehearse, "--set", "webhook.failurePolicy=Ignore", "--set", "webhook.replicas=1")
    assert "annotated pods start without their sidecar and cannot send mail" in warned
    assert "webhook.replicas is 1" in warned
    spooling = helm_on_plane(*rehearse, "--set", "sidecar.spool=ephemeral")
    assert "is lost when its pod is deleted, evicted or rolled out" in spooling
    assert "is lost" not in usual
    priority = "webhook.podSpec.priorityClassName=system-cluster-critical"
    assert priority in usual
    assert priority not in helm_on_plane(*rehearse, "--set", priority)
    assert priority not in warned
    bold = ("--set", "crds.keep=false", "--set", "webhook.podSpec.hostNetwork=true", "--set", "webhook.port=9443")
    warned = helm_on_plane(*rehearse, *bold)
    assert "helm uninstall deletes all mailers" in warned
    assert "(9443, 9025) must be free on the nodes" in warned
