"""`o365mailer explain` with the real webhook: what it did to a pod, and its refusals in its own words."""

import pytest
from support.waiting import eventually
from webhook.installation import Installation

from command.apps import INJECT, deployment, findings, pods, refused
from command.team import Ask, Team


@pytest.mark.promise("explain-says-why")
def test_a_pod_with_a_relay(ask: Ask, team: Team, webhook: Installation) -> None:
    team.mailer()
    team.kubectl.apply(deployment({INJECT: "noreply"}), namespace=team.namespace)
    eventually(lambda: pods(team))

    told = ask("explain", "deploy/web", "-n", team.namespace)

    assert told.status == 0, told.out
    assert "✓ it asks for a relay of the mailer noreply in its pod template" in told.out
    assert "it has a relay of the mailer noreply: mail to 127.0.0.1, port 25, 587; health on 9025, no spool" in told.out
    assert f"✓ {team.namespace}/noreply is ready: it mails as noreply@contoso.com" in told.out

    name = pods(team)[0]["metadata"]["name"]
    assert findings(ask("explain", name, "-n", team.namespace, "-o", "json"))["pod.injected"]["status"] == "ok"


@pytest.mark.promise("explain-says-why")
def test_a_refusal_is_told_in_the_webhooks_words(ask: Ask, team: Team, webhook: Installation) -> None:
    team.mailer()
    manifest = deployment({}, inner={INJECT: "noreply"}, hostNetwork=True)
    team.kubectl.apply(manifest, namespace=team.namespace)
    eventually(lambda: refused(team))

    told = ask("explain", "web", "-n", team.namespace, "-o", "json")

    assert told.status == 1
    finding = findings(told)["pod.refused"]
    assert finding["title"] == "the webhook refuses its pods"
    assert finding["cause"].startswith("the pod uses the node's network (hostNetwork: true)")
    assert finding["cause"].endswith("(HostNetwork)")
    assert finding["link"].endswith("docs/injection.md#when-a-pod-is-refused")

    change = '{"spec": {"template": {"spec": {"hostNetwork": false}}}}'
    team.kubectl("patch", "deployment", "web", "-n", team.namespace, "-p", change)
    eventually(lambda: pods(team))
    corrected = ask("explain", "web", "-n", team.namespace, "-o", "json")
    assert "pod.refused" not in findings(corrected)
    assert (corrected.status, findings(corrected)["pod.injected"]["status"]) == (0, "ok")


def test_a_webhook_that_is_away(ask: Ask, team: Team, webhook: Installation) -> None:
    team.mailer()
    with webhook.away():
        team.kubectl.apply(deployment({}, inner={INJECT: "noreply"}), namespace=team.namespace)
        eventually(lambda: refused(team))
        told = ask("explain", "deployment/web", "-n", team.namespace)

    assert told.status == 1
    assert "✗ the webhook did not answer, so its pods were not created" in told.out


def test_an_annotation_on_a_running_pod(ask: Ask, team: Team, webhook: Installation) -> None:
    team.mailer()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    }
    team.kubectl.apply(pod, namespace=team.namespace)

    def late() -> bool:
        """Annotated at another second than it was created: the API's times have no fractions."""
        team.kubectl("annotate", "--overwrite", "pod", "web", "-n", team.namespace, f"{INJECT}=noreply")
        cause = findings(ask("explain", "pod/web", "-n", team.namespace, "-o", "json"))["pod.injected"]["cause"]
        team.kubectl("annotate", "pod", "web", "-n", team.namespace, f"{INJECT}-")
        return "The annotation was written on the running pod." in str(cause)

    eventually(late, pause=0.5)
