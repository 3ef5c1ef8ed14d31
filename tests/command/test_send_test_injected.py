"""The Job of `o365mailer send-test` and the real webhook: its pod gets a relay and passes Pod Security `restricted`."""

import os
import signal
import subprocess
import sys

import pytest
from cluster_rig.control_plane import ControlPlane
from support.waiting import eventually
from webhook.installation import Installation

from command.apps import pods
from command.team import Team


@pytest.mark.promise("send-test-tidies-up")
def test_its_pod_has_a_relay_without_a_spool(cluster: ControlPlane, team: Team, webhook: Installation) -> None:
    team.mailer()
    team.kubectl("label", "namespace", team.namespace, "pod-security.kubernetes.io/enforce=restricted")
    arguments = ["send-test", "noreply", "--to", "you@example.com", "--image", "x", "-n", team.namespace]
    process = subprocess.Popen(
        [sys.executable, "-m", "o365mailer_cli.main", *arguments],
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        (pod,) = eventually(lambda: pods(team), "the Job's pod")
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    finally:
        process.kill()

    relay, app = pod["spec"]["initContainers"][0], pod["spec"]["containers"][0]
    assert (relay["name"], app["name"]) == ("o365mailer", "send-test")
    assert not [each for each in pod["spec"]["volumes"] if each["name"] == "o365mailer-spool"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert (process.returncode, out, errors) == (130, "", "\n")
    eventually(lambda: not pods(team), "the pod is gone")
