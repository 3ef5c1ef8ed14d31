"""Two controllers, and the active one is killed as a node's power cut would."""

import itertools
import time

import pytest
from cluster.apps import Manifest
from cluster.installation import CONTROLLER, OPERATOR, TOKEN_SECONDS, Installation
from cluster.team import Team
from cluster.waiting import eventually

pytestmark = pytest.mark.timeout(300)

LEASE_SECONDS = 15
"""The controller's default (--lease-duration)."""
MINT_SECONDS = 5
"""For the new one's first look at its mailers, and one token, on a machine that is busy."""
SOONEST_RENEWAL = 0.6 * TOKEN_SECONDS
VISITS = 'o365mailer_visits_total{result="done"}'

KILL = """\
import os, pathlib, signal, sys
forms = {sys.argv[1], sys.argv[1].replace("-", "_")}
killed = []
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if any(form in (process / "cgroup").read_text() for form in forms):
            os.kill(int(process.name), signal.SIGKILL)
            killed.append((process / "comm").read_text().strip())
    except OSError:
        continue
pathlib.Path("/dev/termination-log").write_text(f"killed {killed}")
"""
"""From the node: inside its own container the first process cannot be killed, not even by -9 (pid_namespaces(7)). A
pod's cgroup carries its UID. The pause process, another user's, stays. What it did is in the pod's status: a container
this short can end before containerd has its output (seen: an empty log of a pod that had succeeded)."""
IMAGE_USER = 65532
"""Of the operator's image: who may kill its processes without being root."""


def killer(image: str, uid: str) -> Manifest:
    """A pod that kills the processes of the pod with this UID."""
    container = {
        "name": "killer",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", KILL, uid],
        "securityContext": {"runAsUser": IMAGE_USER},
    }
    spec = {"hostPID": True, "restartPolicy": "Never", "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "killer"}, "spec": spec}


def kill_9(lax_team: Team, pod: str) -> float:
    """Kills the pod's processes from the node, and returns when (the machine's clock)."""
    uid = lax_team.cluster.kubectl.json("get", "pod", pod, "--namespace", OPERATOR)["metadata"]["uid"]
    began = time.time()
    lax_team.apply(killer(lax_team.image, uid))
    lax_team.kubectl("wait", "pod/killer", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    (status,) = lax_team.get("pod", "killer")["status"]["containerStatuses"]
    assert "o365mailer-cont" in status["state"]["terminated"]["message"], status
    return began


@pytest.mark.promise("C14")
def test_after_kill_9_of_the_active_controller_the_other_mints_in_time_and_nothing_twice(
    installation: Installation, team: Team, lax_team: Team
) -> None:
    with installation.changed("controller.replicas=2"), installation.team() as late:
        first = installation.active_controller()
        (second,) = (pod for pod in installation.pods(CONTROLLER) if pod != first)
        assert installation.metric(second, "o365mailer_leading") == 0
        killed = kill_9(lax_team, first)
        late.apply_mailer()
        assert installation.active_controller() == second
        assert late.tokens_issued()[0]["issued"] - killed < LEASE_SECONDS + MINT_SECONDS
        mailers = 4  # late, team, lax_team and the steady one
        eventually(lambda: installation.metric(second, VISITS) >= mailers, "the other controller looks at every mailer")
        assert [len(each.tokens_issued()) for each in (late, team, lax_team)] == [1, 1, 1]
        nothing_came_too_soon(installation)
        killed_pod = installation.kubectl.json("get", "pod", first, "--namespace", OPERATOR)
        (status,) = killed_pod["status"]["containerStatuses"]
        assert status["lastState"]["terminated"]["exitCode"] == 137


def nothing_came_too_soon(installation: Installation) -> None:
    """No application got a token while it had one that was not due for renewal."""
    issued: dict[str, list[float]] = {}
    for token in installation.office365.tokens():
        issued.setdefault(token["clientId"], []).append(token["issued"])
    gaps = [after - before for times in issued.values() for before, after in itertools.pairwise(times)]
    assert all(gap > SOONEST_RENEWAL - 2 for gap in gaps), sorted(gaps)
