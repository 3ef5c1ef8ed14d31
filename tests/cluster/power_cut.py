"""Ends a pod's processes from its node, as a power cut would: kill -9, and no process can clean up.

Inside its own container the first process cannot be killed, not even by -9 (pid_namespaces(7)).
"""

from __future__ import annotations

import time

from cluster.apps import Manifest
from cluster.team import Team

KILL = """\
import os, pathlib, signal, sys
forms = {sys.argv[1], sys.argv[1].replace("-", "_")}
killed = []
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if any(form in (process / "cgroup").read_text() for form in forms):
            name = (process / "comm").read_text().strip()
            os.kill(int(process.name), signal.SIGKILL)
            killed.append(name)
    except OSError:
        continue
pathlib.Path("/dev/termination-log").write_text(f"killed {killed}")
"""
"""A pod's cgroup carries its UID. The pause process, another user's, stays. What it did is in the pod's status: a
container this short can end before containerd has its output (seen: an empty log of a pod that had succeeded)."""
OPERATOR_USER = 65532
"""The uid of the operator's image (its Dockerfile); the sidecar's is names.SIDECAR_USER."""


def killer(image: str, uid: str, user: int) -> Manifest:
    """A pod that kills this user's processes in the pod with this UID. It is the same user, so that it may, and needs
    no capability."""
    container = {
        "name": "killer",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", KILL, uid],
        "securityContext": {"runAsUser": user},
    }
    spec = {"hostPID": True, "restartPolicy": "Never", "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "killer"}, "spec": spec}


def kill_9(lax_team: Team, pod: str, *, namespace: str, process: str, user: int) -> float:
    """Kills our processes in the pod, one named `process` among them, and returns when (the machine's clock)."""
    uid = lax_team.cluster.kubectl.json("get", "pod", pod, "--namespace", namespace)["metadata"]["uid"]
    began = time.time()
    lax_team.apply(killer(lax_team.image, uid, user))
    lax_team.kubectl("wait", "pod/killer", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    (status,) = lax_team.get("pod", "killer")["status"]["containerStatuses"]
    assert process in status["state"]["terminated"]["message"], status
    lax_team.kubectl("delete", "pod", "killer", "--now")
    return began
