"""The command `o365mailer` on a cluster with a node: what only a kubelet can show."""

import json

import pytest
from cluster import apps
from cluster.apps import MAILER
from cluster.team import Team
from command.team import Told, command
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


def ask(team: Team, *arguments: str) -> Told:
    """The command, as the cluster's administrator in the team's namespace."""
    return command(*arguments, "-n", team.name, environment={"KUBECONFIG": str(team.cluster.kubeconfig)})


@pytest.mark.promise("status-tells-token-relay-queue", "explain-says-why")
def test_status_and_explain_of_an_app_that_mails(team: Team) -> None:
    team.apply(apps.deployment({"containers": [team.app(apps.ONCE_AND_STAY)]}))
    team.rolled_out()

    told = ask(team, "status", MAILER, "-o", "json")
    (mailer,) = told.json["mailers"]
    (relay,) = mailer["relays"]
    assert (told.status, told.json["problems"]) == (0, [])
    assert mailer["pods"]["newestRelay"] == 1
    assert (relay["phase"], relay["ready"], relay["image"]) == ("Running", True, told.json["sidecarImage"])
    eventually(lambda: ask(team, "status", "-o", "json").json["mailers"][0]["pods"]["newestToken"] == 1, within=60)

    told = ask(team, "explain", "deployment/app")
    assert told.status == 0, told.out
    assert f"it has a relay of the mailer {MAILER}: mail to 127.0.0.1, port 25, 587" in told.out


@pytest.mark.promise("send-test-tells-the-verdict", "send-test-tidies-up")
def test_a_test_mail_arrives_and_its_job_is_gone(team: Team) -> None:
    told = ask(team, "send-test", MAILER, "--to", "you@example.com", "-o", "json")

    assert told.status == 0, told.out + told.err
    assert (told.json["outcome"], told.json["code"]) == ("accepted", 250)
    (mail,) = team.mails(atleast=1)
    assert mail["recipients"] == ["you@example.com"]
    assert told.json["queueId"] in json.dumps(mail)
    eventually(lambda: not team.get("jobs")["items"] and not team.get("pods")["items"], "the Job and its pod are gone")


@pytest.mark.promise("send-test-tells-the-verdict", "send-test-tidies-up")
def test_a_test_mail_that_is_refused_has_its_reason(team: Team) -> None:
    team.office365.script("rcpt", match=f"gone@{team.name}.example", reply="550 5.1.10 Recipient not found", times=None)

    told = ask(team, "send-test", MAILER, "--to", f"gone@{team.name}.example")

    assert told.status == 1, told.out + told.err
    assert "(recipient)" in told.out
    assert "550 5.1.10" in told.out
    assert "docs/sidecar.md#replies-of-the-relay-and-what-to-do" in told.out
    eventually(lambda: not team.get("jobs")["items"], "the Job is gone")
    assert "    queue id:  " in told.out
