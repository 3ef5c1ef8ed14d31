"""`o365mailer send-test` and a real API server: the Job is made, watched and always removed. No node runs its pod."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster_rig.control_plane import ControlPlane
from support.waiting import eventually

from command.team import Ask, Team, condition

SEND = ("send-test", "noreply", "--to", "you@example.com", "--image", "registry.example/python")


def jobs(team: Team) -> list[str]:
    """The names of the namespace's Jobs that are not on their way out."""
    found = team.kubectl.json("get", "jobs", "-n", team.namespace)["items"]
    return [each["metadata"]["name"] for each in found if "deletionTimestamp" not in each["metadata"]]


@pytest.mark.promise("send-test-tidies-up")
def test_a_pod_without_its_relay_is_told_and_the_job_removed(ask: Ask, team: Team) -> None:
    team.mailer()

    told = ask(*SEND, "-n", team.namespace, "-o", "json")

    assert (told.status, told.json["outcome"], told.json["reason"]) == (1, "not-sent", "NotInjected")
    assert told.json["text"].startswith("The Job's pod has no relay")
    eventually(lambda: not jobs(team))
    eventually(lambda: not team.kubectl.json("get", "pods", "-n", team.namespace)["items"], "the pod is gone too")


@pytest.mark.promise("send-test-tidies-up")
def test_a_pod_that_is_refused_is_told_and_the_job_removed(ask: Ask, team: Team) -> None:
    team.mailer()
    team.kubectl("create", "quota", "none", "--hard=pods=0", "-n", team.namespace)
    eventually(lambda: team.kubectl.json("get", "quota", "none", "-n", team.namespace)["status"].get("hard"))

    told = ask(*SEND, "-n", team.namespace)

    assert told.status == 1
    assert "(PodRefused)" in told.out
    assert "exceeded quota: none" in told.out
    assert jobs(team) == []


@pytest.mark.promise("send-test-tidies-up")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_removes_the_job(cluster: ControlPlane, team: Team, number: int, status: int) -> None:
    team.mailer()
    team.kubectl("create", "quota", "none", "--hard=pods=0", "-n", team.namespace)
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    command = [sys.executable, "-m", "o365mailer_cli.main", *SEND, "-n", team.namespace]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: jobs(team), "the Job is there", pause=0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()

    assert process.returncode == status, errors
    assert jobs(team) == []


def test_the_pod_is_one_that_pod_security_restricted_admits(ask: Ask, team: Team) -> None:
    """Without a webhook the pod is created as it is: a refusal would be told as PodRefused."""
    team.mailer()
    level = "pod-security.kubernetes.io/enforce=restricted"
    team.kubectl("label", "namespace", team.namespace, level)

    assert ask(*SEND, "-n", team.namespace, "-o", "json").json["reason"] == "NotInjected"


def test_the_image_is_the_one_that_the_webhook_injects(ask: Ask, team: Team) -> None:
    team.mailer()

    with team.installation():
        told = ask("send-test", "noreply", "--to", "you@example.com", "-n", team.namespace, "-o", "json")

    assert told.json["image"] == "registry.example/o365mailer-sidecar:0.1.0"


def test_without_an_image_it_asks_for_one(ask: Ask, team: Team) -> None:
    team.mailer()

    told = ask("send-test", "noreply", "--to", "you@example.com", "-n", team.namespace)

    assert told.status == 2
    assert "Name one with --image" in told.err


def test_a_mailer_that_is_not_ready_is_told_before_anything_is_made(ask: Ask, team: Team) -> None:
    team.mailer("noreply", condition("Ready", "False", "SecretNotFound", "There is no Secret entra."))

    told = ask(*SEND, "-n", team.namespace)

    assert told.status == 1
    assert told.err.startswith(f"o365mailer: {team.namespace}/noreply is not ready, so no pod can mail through it.")
    assert "There is no Secret entra. See https://" in told.err


def test_a_job_that_cannot_be_removed_does_not_hide_the_verdict(
    ask: Ask, cluster: ControlPlane, team: Team, user: Callable[..., Path]
) -> None:
    team.mailer()
    sender = user("o365mailer-viewer")
    team.kubectl("create", "role", "no-delete", "--verb=create", "--resource=jobs", "-n", team.namespace)
    account = f"{team.namespace}:{sender.stem}"
    team.kubectl(
        *("create", "rolebinding", "no-delete", "--role=no-delete", f"--serviceaccount={account}", "-n", team.namespace)
    )

    told = ask(*SEND, "-o", "json", kubeconfig=sender)

    assert (told.status, told.json["reason"]) == (1, "NotInjected")
    assert told.err.startswith(f"The Job {told.json['job']} could not be removed: ")
    assert told.err.count("\n") == 1


def test_a_wrong_address_is_told(ask: Ask, team: Team) -> None:
    told = ask("send-test", "noreply", "--to", "you", "-n", team.namespace)

    assert (told.status, told.err) == (2, "o365mailer: 'you' is not an address such as you@example.com.\n")


@pytest.mark.promise("command-needs-exactly-its-role")
def test_the_senders_role_is_enough_and_the_viewers_is_not(ask: Ask, team: Team, user: Callable[..., Path]) -> None:
    team.mailer()

    viewer = ask(*SEND, kubeconfig=user("o365mailer-viewer"))
    sender = ask(*SEND, "-o", "json", kubeconfig=user("o365mailer-sender"))

    assert viewer.status == 2
    assert 'cannot create resource "jobs" in API group "batch"' in viewer.err
    assert json.loads(sender.out)["reason"] == "NotInjected"
