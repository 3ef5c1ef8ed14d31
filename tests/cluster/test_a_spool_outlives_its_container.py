"""Mail that a sidecar has queued survives what its spool is said to survive, on a real node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster import apps
from cluster.apps import Manifest
from cluster.installation import Installation
from cluster.power_cut import kill_9
from cluster.team import Team
from cluster_rig.node import NodeCluster
from support.waiting import eventually

from o365mailer_contract import names

pytestmark = pytest.mark.timeout(300)

BUSY = "451 4.7.500 Server busy. Please try again later"
CLAIM = "outbox"


@contextmanager
def exchange_busy(installation: Installation, team: Team) -> Iterator[None]:
    """Exchange takes no mail of the team's for as long as the context lasts."""
    rule = {"step": "body", "match": team.mailbox, "reply": BUSY, "times": None}
    installation.office365.control("POST", "/script", rule)
    try:
        yield
    finally:
        installation.office365.control("DELETE", "/script")


def flush(team: Team) -> None:
    """Makes the relay try its mail now.

    A message that Exchange deferred keeps its pause, which doubles with each attempt, also in the next pod: after a
    minute and a half of "busy" it is up to two minutes. How long Exchange is busy here, the machine's load decides.
    """
    (pod,) = team.kubectl("get", "pods", "--selector=app=app", "--output=name").split()
    command = ("exec", pod, f"--container={names.CONTAINER}", "--", "o365mailer-sidecar", "spool", "flush")
    # No success is asked for: the relay may send the message in the same moment.
    team.cluster.kubectl.process("--namespace", team.name, *command)


def deployment(team: Team, *, spool: str) -> Manifest:
    """An app that mails once, ends if that is refused, and stays."""
    made = apps.deployment({"containers": [team.app(apps.ONCE_AND_STAY)]})
    made["spec"]["strategy"] = {"type": "Recreate"}
    made["spec"]["template"]["metadata"]["annotations"][names.SPOOL_ANNOTATION] = spool
    return made


def relay(team: Team, pod: str) -> Manifest:
    """The sidecar's status."""
    (status,) = team.get("pod", pod)["status"]["initContainerStatuses"]
    return dict(status)


@pytest.mark.promise("spool-survives-crash", "spool-in-the-pod")
def test_queued_mail_survives_kill_9_of_the_sidecar(installation: Installation, team: Team, lax_team: Team) -> None:
    with exchange_busy(installation, team):
        team.apply(deployment(team, spool=names.SPOOL_EPHEMERAL))
        team.rolled_out()
        (pod,) = (pod["metadata"]["name"] for pod in team.pods())
        eventually(lambda: "sent" in team.kubectl("logs", pod, "--container=app"), "the app has its 250")
        assert team.mails() == []
        kill_9(lax_team, pod, namespace=team.name, process="o365mailer-side", user=names.SIDECAR_USER)
        eventually(lambda: relay(team, pod)["restartCount"] == 1 and relay(team, pod)["ready"], "the sidecar is back")
    flush(team)
    assert len(team.mails(atleast=1)) == 1


@pytest.mark.promise("spool-survives-crash", "spool-in-the-pod")
def test_queued_mail_on_a_claim_survives_its_pod(installation: Installation, lax_team: Team) -> None:
    lax_team.cluster.kubectl.apply(volume(lax_team))
    lax_team.apply(claim(lax_team), opener(lax_team))
    lax_team.kubectl("wait", "pod/opener", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    with exchange_busy(installation, lax_team):
        lax_team.apply(deployment(lax_team, spool=CLAIM))
        lax_team.rolled_out()
        (pod,) = lax_team.kubectl("get", "pods", "--selector=app=app", "--output=name").split()
        eventually(lambda: "sent" in lax_team.kubectl("logs", pod, "--container=app"), "the app has its 250")
        lax_team.kubectl("scale", "deployment/app", "--replicas=0")
        lax_team.kubectl("wait", pod, "--for=delete", "--timeout=90s", timeout=120)
    assert lax_team.mails() == []
    quiet = deployment(lax_team, spool=CLAIM)
    quiet["spec"]["template"]["spec"]["containers"] = [lax_team.app(apps.STAY)]
    lax_team.apply(quiet)
    lax_team.rolled_out()
    flush(lax_team)
    assert len(lax_team.mails(atleast=1)) == 1


def volume(team: Team) -> Manifest:
    """A directory of the node, for one claim of this team's.

    With our own node one that goes with it. Its /var/lib is memory, which no spool accepts.
    """
    place = team.cluster.directory / "volumes" if isinstance(team.cluster, NodeCluster) else Path("/var/tmp")  # noqa: S108
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{team.name}-{CLAIM}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "hostPath": {"path": str(place / team.name), "type": "DirectoryOrCreate"},
            "claimRef": {"namespace": team.name, "name": CLAIM},
        },
    }


def claim(team: Team) -> Manifest:
    """The claim of that volume."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "volumeName": f"{team.name}-{CLAIM}",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def opener(team: Team) -> Manifest:
    """Lets the sidecar's user write there: kubelet applies no fsGroup to a directory of the node."""
    container = team.app("import os; os.chmod('/outbox', 0o777)", name="opener", secure=False)
    container["securityContext"] = {"runAsUser": 0}
    container["volumeMounts"] = [{"name": "outbox", "mountPath": "/outbox"}]
    volumes = [{"name": "outbox", "persistentVolumeClaim": {"claimName": CLAIM}}]
    return apps.pod(
        "opener", {"restartPolicy": "Never", "containers": [container], "volumes": volumes}, annotated=False
    )
