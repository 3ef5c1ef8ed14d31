"""The control plane answers, and nothing of it outlives the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster_rig import programs, releases
from cluster_rig.clients import ClientError
from cluster_rig.control_plane import ControlPlane

RIG = Path(__file__).parents[2] / "rig"


def processes_with(text: str) -> list[int]:
    """The living processes whose command line contains the text, ours excepted; zombies have no command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:  # it ended between the listing and the reading
                continue
            if text in command:
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(programs.ASSETS in os.environ, reason="another one was given")
def test_the_api_server_has_the_chosen_version(control_plane: ControlPlane) -> None:
    assert control_plane.kubectl.json("version")["serverVersion"]["gitVersion"] == f"v{releases.chosen().version}"


def test_a_deployment_becomes_a_pod_object(control_plane: ControlPlane) -> None:
    kubectl = control_plane.kubectl
    kubectl("create", "namespace", "rig")
    kubectl("create", "deployment", "web", "--image=example.invalid/web", "--namespace=rig")
    kubectl("wait", "--for=create", "pod", "--selector=app=web", "--namespace=rig", "--timeout=20s")
    pods = kubectl.json("get", "pods", "--namespace=rig")
    assert [pod["metadata"]["labels"]["app"] for pod in pods["items"]] == ["web"]


def test_a_failed_kubectl_call_says_what_the_server_said(control_plane: ControlPlane) -> None:
    with pytest.raises(ClientError, match='namespaces "missing" not found'):
        control_plane.kubectl("get", "namespace", "missing")


@pytest.mark.timeout(120)
def test_a_starter_killed_with_9_leaves_no_process(control_plane: ControlPlane, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cluster_rig", "control-plane", "up", "--dir", str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(RIG)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as starter:
        assert starter.stdout
        assert starter.stdout.readline().strip() == str(tmp_path / "certificates" / "admin.kubeconfig")
        assert (
            len(processes_with(f"{tmp_path}/")) == 4
        )  # the four servers: the starter's own path has no slash after it
        starter.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while processes_with(f"{tmp_path}/") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_with(f"{tmp_path}/") == []
