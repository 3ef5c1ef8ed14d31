"""`o365mailer explain`: why a pod has no relay, from the objects alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.waiting import eventually

from command.apps import INJECT, deployment, findings, pods
from command.team import Ask, Team, condition, moment


def test_an_app_that_does_not_ask(ask: Ask, team: Team) -> None:
    team.kubectl.apply(deployment({}), namespace=team.namespace)
    eventually(lambda: pods(team))

    told = ask("explain", "deploy/web", "-n", team.namespace)

    assert told.status == 0
    assert "! it does not ask for a relay" in told.out
    assert f"remedy: kubectl annotate deployment/web -n {team.namespace} {INJECT}=MAILER" in told.out


def test_a_pod_that_is_older_than_the_webhook(ask: Ask, team: Team) -> None:
    team.mailer()
    team.kubectl.apply(deployment({}, inner={INJECT: "noreply"}), namespace=team.namespace)
    eventually(lambda: pods(team))

    def older() -> bool:
        with team.installation():
            told = ask("explain", "deploy/web", "-n", team.namespace, "-o", "json")
        finding = findings(told)["pod.injected"]
        assert (told.status, finding["status"]) == (1, "failed")
        assert f"kubectl rollout restart deployment/web -n {team.namespace}" in finding["remedy"]
        return "The pod is older than the webhook" in str(finding["cause"])

    eventually(older, pause=0.5)


def test_a_namespace_that_the_webhook_leaves_out(ask: Ask, team: Team) -> None:
    team.mailer()
    team.kubectl.apply(deployment({}, inner={INJECT: "noreply"}), namespace=team.namespace)
    eventually(lambda: pods(team))

    with team.installation(namespaceSelector={"matchLabels": {"mail": "yes"}}):
        told = ask("explain", "deploy/web", "-n", team.namespace)

    assert "The webhook is not asked about this namespace: its namespaceSelector wants the label mail=yes." in told.out


def test_a_workload_that_was_annotated_while_the_webhook_was_away(ask: Ask, team: Team) -> None:
    team.mailer()
    team.kubectl.apply(deployment({INJECT: "noreply"}), namespace=team.namespace)

    told = ask("explain", "deploy/web", "-n", team.namespace)

    assert told.status == 1
    assert "✗ it asks for a relay of the mailer noreply, but its pod template does not" in told.out
    assert f"kubectl annotate deployment/web -n {team.namespace} --overwrite {INJECT}=noreply" in told.out


def test_a_mailer_that_is_not_there(ask: Ask, team: Team) -> None:
    team.mailer("other")
    team.kubectl.apply(deployment({}, inner={INJECT: "noreply"}), namespace=team.namespace)

    told = ask("explain", "deploy/web", "-n", team.namespace)

    assert told.status == 1
    assert f"✗ there is no mailer noreply in namespace {team.namespace}" in told.out
    assert "it has other. Until there is one, the relay answers 451." in told.out


@pytest.mark.parametrize("kind", ["client-secret", "certificate"])
def test_a_mailer_whose_credential_ends_soon(ask: Ask, team: Team, kind: str) -> None:
    told = "The certificate ends on 2026-12-18 at 12:00 UTC."
    secret = {"secretRefs": [{"name": "entra", "key": "secret"}], "expiresAt": moment(days=-12.5)}
    credential = (
        {"clientSecret": secret} if kind == "client-secret" else {"certificate": {"secretRef": {"name": "pair"}}}
    )
    reason = "ClientSecretExpiring" if kind == "client-secret" else "CertificateExpiring"
    team.mailer(
        "noreply",
        condition("Ready", "True", "TokenValid", "Pods can submit mail."),
        condition("CredentialExpiring", "True", reason, told),
        credential=credential,
    )
    team.kubectl.apply(deployment({INJECT: "noreply"}), namespace=team.namespace)

    finding = findings(ask("explain", "deploy/web", "-n", team.namespace, "-o", "json"))[f"mailer.{kind}"]

    assert finding["status"] == "warning"
    if kind == "certificate":
        assert (finding["title"], finding["cause"]) == ("its certificate ends soon, or has ended", told)
    else:
        assert finding["title"] == "its client secret ends in 12d"
    assert finding["remedy"].startswith(("Create a new client secret", "Renew the certificate"))
    assert finding["link"].endswith("#o365mailercredentialexpires")


def test_a_label_in_place_of_an_annotation(ask: Ask, team: Team) -> None:
    manifest = deployment({})
    manifest["metadata"]["labels"] = {INJECT: "noreply"}
    team.kubectl.apply(manifest, namespace=team.namespace)

    told = ask("explain", "deploy/web", "-n", team.namespace)

    assert told.status == 1
    assert f"cause:  {INJECT} is a label here. It has to be an annotation." in told.out


def test_a_cronjobs_template_is_looked_at(ask: Ask, team: Team) -> None:
    team.mailer()
    template = deployment({}, inner={INJECT: "noreply"}, restartPolicy="Never")["spec"]["template"]
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "report"},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}},
    }
    team.kubectl.apply(cron, namespace=team.namespace)

    told = ask("explain", "cj/report", "-n", team.namespace)

    assert told.status == 0
    assert "✓ it asks for a relay of the mailer noreply in its pod template" in told.out
    assert "✓ it has no pods now" in told.out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("svc/web", "'svc' is no kind that can have a relay; there are pod, deployment, "),
        ("deploy/", "'deploy/' is no object; write one such as deployment/web, pod/web-abc or cronjob/report."),
        ("deploy/nothing", "There is no deployment nothing in namespace "),
        ("nothing", "There is no pod or workload nothing in namespace "),
    ],
)
def test_what_is_not_there(ask: Ask, namespace: str, text: str, message: str) -> None:
    told = ask("explain", text, "-n", namespace)

    assert (told.status, told.out) == (2, "")
    assert told.err.startswith(f"o365mailer: {message}")


def test_a_namespace_that_is_not_there(ask: Ask) -> None:
    told = ask("explain", "web", "-n", "nowhere")

    assert (told.status, told.err.partition(".")[0]) == (2, "o365mailer: There is no namespace nowhere")


@pytest.mark.promise("command-needs-exactly-its-role")
def test_the_viewers_role_is_enough(ask: Ask, team: Team, user: Callable[..., Path]) -> None:
    team.mailer()
    team.kubectl.apply(deployment({}, inner={INJECT: "noreply"}), namespace=team.namespace)
    eventually(lambda: pods(team))

    nothing = ask("explain", "deploy/web", kubeconfig=user())
    viewer = ask("explain", "deploy/web", kubeconfig=user("o365mailer-viewer"))
    everywhere = ask("explain", "deploy/web", "-o", "json", kubeconfig=user("o365mailer-viewer", everywhere=True))

    assert nothing.status == 2
    assert 'cannot get resource "deployments" in API group "apps"' in nothing.err
    assert "✓ it asks for a relay of the mailer noreply" in viewer.out
    assert findings(everywhere)["mailer"]["status"] == "ok"
