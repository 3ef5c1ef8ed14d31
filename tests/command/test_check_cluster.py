"""`check` on a healthy installation, and on one with each fault, made for real on a real API server."""

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_rig.control_plane import ControlPlane
from controller.test_every_reason_is_told import RSA_KEY, pair
from support.controller_process import ALLOW_LOOPBACK
from support.emulator_client import EmulatorClient
from support.waiting import eventually

from command.installed import SIDECAR_IMAGE, Installed
from command.team import Team, command, moment, write_kubeconfig
from o365mailer_contract.names import WEBHOOK_NAME

pytestmark = pytest.mark.promise("check-names-the-clusters-fault")

CRD = Path(__file__).parents[2] / "crds" / "o365mailers.yaml"
Relays = Callable[..., tuple[str, int]]


@pytest.fixture(scope="module")
def healthy(
    cluster: ControlPlane, fresh_emulator: EmulatorClient, own_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    """One installation for all tests here; each fault is undone."""
    directory = tmp_path_factory.mktemp("installed")
    with Installed(cluster, fresh_emulator, address=own_address, directory=directory) as installed:
        yield installed


@pytest.fixture
def installed(healthy: Installed) -> Iterator[Installed]:
    """The installation, without pods of other tests."""
    yield healthy
    healthy.tidy()


@pytest.mark.every_release
def test_a_healthy_installation_has_only_what_is_well(installed: Installed, relay: Relays) -> None:
    installed.pod("web", relay(revision=1))
    assert installed.findings() == []
    tried = installed.findings("noreply", *ALLOW_LOOPBACK)  # its login, too
    assert [each["name"] for each in tried] == ["login.message"]
    told = installed.check()
    assert told.status == 0
    assert not {"✗", "!", "?"} & {line[:1] for line in told.out.splitlines()}, told.out
    for fact in ("is supported", "every member", "leads", "gets its relay (dry run", "can submit mail", "newest token"):
        assert fact in told.out, told.out
    assert installed.kubectl("get", "pods", "-n", installed.namespace, "-o", "name").count("o365mailer-check") == 0


def test_a_crd_that_is_older_than_this_version(installed: Installed, cluster: ControlPlane) -> None:
    older = yaml.safe_load(CRD.read_text())
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["recipients"]["properties"]["redirectTo"]
    with installed.without_controller():  # it ends while such a CRD is served
        cluster.kubectl.apply(older)
        try:
            found = installed.await_finding("crd.schema")
            assert found["status"] == "failed"
            assert "spec.recipients.redirectTo" in found["cause"]
            assert "kubectl apply --server-side -f crds/o365mailers.yaml" in found["remedy"]
        finally:
            cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", CRD)
    eventually(lambda: not installed.findings(), "the CRD is whole again")


def test_a_webhook_that_is_away(installed: Installed) -> None:
    with installed.webhook.away():
        found = installed.finding("webhook.admission")
    assert found["title"] == "the webhook is away"
    assert "connection refused" in found["cause"]


def test_a_webhook_that_is_away_while_failures_are_ignored(installed: Installed, relay: Relays) -> None:
    def policy(value: str) -> Any:
        return [{"op": "replace", "path": f"/webhooks/{number}/failurePolicy", "value": value} for number in (0, 1)]

    with installed.patched("mutatingwebhookconfiguration", WEBHOOK_NAME, policy("Ignore"), policy("Fail")):
        with installed.webhook.away():
            found = installed.await_finding("webhook.admission")
            assert found["title"] == "an annotated pod gets no relay"
            installed.pod("missed", None)
        assert installed.finding("webhook.failure-policy")["status"] == "warning"
        found = installed.finding("pods.relay")
        assert found["status"] == "failed"
        assert "failurePolicy is Ignore" in found["cause"]


@contextlib.contextmanager
def wrong_authority(installed: Installed) -> Iterator[None]:
    """The configuration trusts another authority, and the keeper, which would repair it, is gone."""
    keeper = installed.webhook
    other = base64.b64encode((installed.plane.certificates / "ca.crt").read_bytes()).decode()
    right = next(iter(keeper.bundles()))

    def bundle(value: str) -> str:
        both = [{"op": "replace", "path": f"/webhooks/{n}/clientConfig/caBundle", "value": value} for n in (0, 1)]
        return json.dumps(both)

    with keeper.unkept():
        keeper.plane.kubectl("patch", "mutatingwebhookconfiguration", WEBHOOK_NAME, "--type=json", "-p", bundle(other))
        yield
        keeper.plane.kubectl("patch", "mutatingwebhookconfiguration", WEBHOOK_NAME, "--type=json", "-p", bundle(right))


def test_an_authority_that_is_not_the_webhooks(installed: Installed) -> None:
    with wrong_authority(installed):
        found = installed.await_finding("webhook.admission")
        assert found["title"] == "the API server does not trust the webhook's certificate"
        assert "unknown authority" in found["cause"]
    eventually(lambda: not installed.findings(), "the authority is right again")


def test_a_webhook_whose_certificate_has_expired(installed: Installed) -> None:
    with installed.expired_certificate():
        found = installed.finding("webhook.admission")
    assert found["title"] == "the webhook's certificate has expired"
    assert "kubectl rollout restart deployment/o365mailer-webhook" in found["remedy"]


def test_pods_that_were_annotated_after_they_were_created(installed: Installed) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "labels": {"test": "check"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"test": "check"}},
            "template": {
                "metadata": {"labels": {"test": "check"}},
                "spec": {"containers": [{"name": "app", "image": "app"}]},
            },
        },
    }
    installed.kubectl.apply(deployment, namespace=installed.namespace)
    where = ("-n", installed.namespace, "-l", "test=check")

    def created() -> list[str]:
        return [
            each["metadata"]["creationTimestamp"] for each in installed.kubectl.json("get", "pods", *where)["items"]
        ]

    eventually(lambda: len(created()) == 2 and max(created()) < moment(seconds=3), "both pods, for a few seconds")
    installed.kubectl("annotate", "pods", *where, "o365mailer.dev/inject=noreply")
    found = installed.finding("pods.relay")
    assert found["status"] == "failed"
    assert found["title"] == "2 pods have the annotation and no relay"
    assert "The annotation was written on the running pod." in found["cause"]
    assert found["subject"] == f"{installed.namespace} deployment/shop"
    assert "kubectl annotate deployment NAME o365mailer.dev/inject=MAILER" in found["remedy"]


def test_a_pod_in_a_namespace_that_the_webhook_leaves_out(installed: Installed, cluster: ControlPlane) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "left-out", "annotations": {"o365mailer.dev/inject": "noreply"}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    }
    cluster.kubectl.apply(pod, namespace="kube-public")
    try:
        told = command("check", "-n", "kube-public", "-o", "json", environment={"KUBECONFIG": str(cluster.kubeconfig)})
    finally:
        cluster.kubectl("delete", "pod", "left-out", "-n", "kube-public", "--grace-period=0", "--force")
    found = [each for group in told.json["groups"] for each in group["findings"] if each["name"] == "pods.relay"]
    assert [each["status"] for each in found] == ["failed"]
    assert "its namespaceSelector wants" in found[0]["cause"]


def test_pods_whose_creation_is_refused(installed: Installed) -> None:
    with installed.webhook.away():
        template = {
            "metadata": {"labels": {"test": "check"}, "annotations": {"o365mailer.dev/inject": "noreply"}},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        }
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "waits", "labels": {"test": "check"}},
            "spec": {"selector": {"matchLabels": {"test": "check"}}, "template": template},
        }
        installed.kubectl.apply(deployment, namespace=installed.namespace)
        found = installed.await_finding("pods.refused")
        assert "failed calling webhook" in found["cause"]
        assert found["title"] == "the webhook did not answer, so its pods were not created"


def test_a_pod_with_an_old_token(installed: Installed, team: Team, relay: Relays) -> None:
    team.mailer("billing", status={"tokenRevision": 7, "lastRefresh": moment(minutes=10)})  # no controller writes here

    def tokens() -> list[Any]:
        told = command("check", "-n", team.namespace, "-o", "json", environment=installed.environment).json
        return [each for group in told["groups"] for each in group["findings"] if each["name"] == "pods.token"]

    team.pod("newest", mailer="billing", image=SIDECAR_IMAGE, address=relay(revision=7))
    assert tokens() == []
    team.pod("old", mailer="billing", image=SIDECAR_IMAGE, address=relay(revision=6))
    (found,) = tokens()
    assert found["title"] == "1 pod has revision 6 of the mailer, and 7 is the newest"
    assert found["status"] == "warning"
    assert "kubectl describe node" in found["remedy"]


def test_a_pod_with_an_older_relay(installed: Installed, relay: Relays) -> None:
    installed.pod("web", relay(revision=1))
    newer = [{"op": "replace", "path": "/spec/template/spec/containers/0/env/0/value", "value": "sidecar:next"}]
    older = [{**newer[0], "value": SIDECAR_IMAGE}]
    with installed.patched("deployment", "o365mailer-webhook", newer, older, namespace=installed.namespace):
        found = installed.finding("pods.version")
    assert found["status"] == "warning"
    assert SIDECAR_IMAGE in found["cause"]
    assert "sidecar:next" in found["cause"]


def test_a_pod_whose_mailer_does_not_exist(installed: Installed, relay: Relays) -> None:
    installed.pod("web", relay(revision=1), mailer="norepyl")
    found = installed.finding("pods.mailer")
    assert "norepyl" in found["title"]
    assert "it has noreply" in found["cause"]


@pytest.mark.parametrize(("days", "status"), [(30, "ok"), (20, "warning"), (-1, "failed")])
def test_a_client_secret_that_ends(installed: Installed, days: int, status: str) -> None:
    secret = {"secretRefs": [{"name": "entra", "key": "secret"}], "expiresAt": moment(days=-days)}
    installed.mailers.apply_mailer("secret-ends", credential={"clientSecret": secret})
    installed.mailers.await_ready("secret-ends")
    told = installed.check("secret-ends", "-o", "json").json
    found = [each for group in told["groups"] for each in group["findings"] if each["name"] == "mailer.client-secret"]
    assert [each["status"] for each in found] == [status]
    installed.kubectl("delete", "o365mailer", "secret-ends", "-n", installed.namespace)


@pytest.mark.parametrize(("days", "status"), [(30, "ok"), (20, "warning"), (-1, "failed")])
def test_a_certificate_that_ends(installed: Installed, days: int, status: str) -> None:
    """Its end is in the metrics of the controller, which read it."""
    name = f"certificate-{status}"
    installed.mailers.secret(name, pair(RSA_KEY, days=days))
    installed.mailers.apply_mailer(name, credential={"certificate": {"secretRef": {"name": name}}})

    def found() -> list[str]:
        told = installed.check(name, "-o", "json").json
        every = [each for group in told["groups"] for each in group["findings"]]
        return [each["status"] for each in every if each["name"] == "mailer.certificate"]

    eventually(lambda: found() not in ([], ["unknown"]), "the controller has read the certificate")
    assert found() == [status]
    installed.kubectl("delete", "o365mailer", name, "-n", installed.namespace)


def test_a_mailer_that_is_not_ready(installed: Installed) -> None:
    reference = {"secretRefs": [{"name": "nowhere", "key": "secret"}]}
    installed.mailers.apply_mailer("broken", credential={"clientSecret": reference})
    installed.mailers.await_condition("SecretNotFound", mailer="broken")
    found = installed.finding("mailer.ready")
    installed.kubectl("delete", "o365mailer", "broken", "-n", installed.namespace)
    assert found["title"] == "pods cannot submit mail (SecretNotFound)"
    assert "nowhere" in found["cause"]
    assert found["link"].endswith("troubleshooting.md#secretnotfound")


def test_a_controller_without_its_rights(installed: Installed) -> None:
    where = f"--namespace={installed.namespace}"
    bindings = installed.kubectl.json("get", "rolebindings", where)["items"]
    installed.kubectl("delete", "rolebinding", *[each["metadata"]["name"] for each in bindings], where)
    try:
        found = installed.finding("controller.rights")
    finally:
        for each in bindings:
            del each["metadata"]["resourceVersion"], each["metadata"]["uid"]
            installed.kubectl.apply(each, namespace=installed.namespace)
    assert "get secrets in namespace" in found["cause"]
    assert "watchNamespaces" in found["remedy"]


def test_a_controller_without_a_grant_of_the_namespace_gets_the_command_for_it(installed: Installed) -> None:
    where = f"--namespace={installed.namespace}"
    [binding] = [
        each
        for each in installed.kubectl.json("get", "rolebindings", where)["items"]
        if each["roleRef"]["name"].endswith("-secrets")
    ]
    installed.kubectl("delete", "rolebinding", binding["metadata"]["name"], where)
    try:
        found = installed.finding("controller.rights")
    finally:
        del binding["metadata"]["resourceVersion"], binding["metadata"]["uid"]
        installed.kubectl.apply(binding, namespace=installed.namespace)
    assert found["remedy"] == (
        f"kubectl create rolebinding o365mailer-secrets -n {installed.namespace} --clusterrole=o365mailer-secrets "
        f"--serviceaccount={installed.namespace}:o365mailer-controller"
    )


def test_a_user_without_rights_learns_which_role_to_ask_for(
    installed: Installed, cluster: ControlPlane, team: Team, tmp_path: Path
) -> None:
    cluster.kubectl("create", "serviceaccount", "guest", "-n", installed.namespace)
    token = cluster.kubectl("create", "token", "guest", "-n", installed.namespace).strip()
    kubeconfig = write_kubeconfig(tmp_path / "guest", cluster, {"token": token}, namespace=installed.namespace)
    found = installed.findings(kubeconfig=kubeconfig)
    assert {each["status"] for each in found} == {"unknown"}
    assert all(each["remedy"] and each["link"] for each in found)
    nodes = next(each for each in found if each["name"] == "api.kubelets")
    assert "kubectl create clusterrolebinding NAME --clusterrole=o365mailer-viewer" in nodes["remedy"]
    mailers = next(each for each in found if each["name"] == "mailer.ready")
    assert f"kubectl create rolebinding -n {installed.namespace} NAME" in mailers["remedy"]


@pytest.mark.promise("command-needs-exactly-its-role")
def test_the_viewers_role_shows_all_but_what_only_others_may_ask(
    installed: Installed, relay: Relays, user: Callable[..., Path]
) -> None:
    installed.pod("web", relay(revision=1))
    found = installed.findings(kubeconfig=user("o365mailer-viewer", everywhere=True))
    assert {each["name"]: each["status"] for each in found} == {
        "webhook.admission": "unknown",
        "controller.rights": "unknown",
    }
    remedy = next(each["remedy"] for each in found if each["name"] == "webhook.admission")
    assert "ClusterRole edit" in remedy


MAILERS, PODS, SECONDS = 20, 100, 5.0


def test_twenty_mailers_and_a_hundred_pods_are_looked_at_within_five_seconds(
    installed: Installed, relay: Relays
) -> None:
    names = [f"many-{number}" for number in range(MAILERS)]
    installed.kubectl.apply(*map(installed.mailers.manifest, names), namespace=installed.namespace)
    mailers = [f"o365mailer/{each}" for each in names]
    installed.kubectl("wait", *mailers, "-n", installed.namespace, "--for=condition=Ready", "--timeout=60s")
    address, port = relay(revision=1)
    installed.pods([f"web-{number}" for number in range(PODS)], names, (address, port))
    try:
        took = []
        for _ in range(3):  # the machine has other work too
            began = time.monotonic()
            told = installed.check()
            took.append(time.monotonic() - began)
            assert told.status == 0
            assert f"{PODS} pods have the newest token and relay, and can send" in told.out, told.out
        assert min(took) < SECONDS, took
        print("check:", ", ".join(f"{each:.2f} s" for each in took))
    finally:
        installed.kubectl("delete", "o365mailers", *names, "-n", installed.namespace)
