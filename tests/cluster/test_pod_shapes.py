"""Pods of other shapes mail as well, and keep their shape."""

import pytest
from cluster import apps
from cluster.apps import Manifest
from cluster.team import Team

from o365mailer_contract import names

pytestmark = pytest.mark.timeout(300)

ASK_USER = "import os; print(os.getuid(), *sorted(os.getgroups()))"
LIMIT_RANGE: Manifest = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "limits"},
    "spec": {
        "limits": [
            {
                "type": "Container",
                "default": {"cpu": "500m", "memory": "128Mi"},
                "defaultRequest": {"cpu": "20m", "memory": "48Mi"},
                "min": {"cpu": "5m", "memory": "16Mi"},
                "max": {"cpu": "1", "memory": "256Mi"},
            }
        ]
    },
}


def mails_from(team: Team, spec: Manifest, *, mails: int = 1) -> Manifest:
    """Runs the pod until it has mailed; the pod as it is then, with every container running and none restarted."""
    team.apply(apps.deployment(spec))
    team.rolled_out()
    team.mails(atleast=mails)
    (pod,) = team.pods()
    statuses = [*pod["status"]["initContainerStatuses"], *pod["status"]["containerStatuses"]]
    assert {each["name"]: (each["restartCount"], *each["state"]) for each in statuses} == {
        each["name"]: (0, "running") for each in statuses
    }
    assert statuses[0]["name"] == names.CONTAINER
    return pod


def user_of(team: Team, pod: Manifest, container: str) -> str:
    """The uid of a container's processes, and their groups."""
    name = pod["metadata"]["name"]
    return team.kubectl("exec", name, f"--container={container}", "--", "python3", "-c", ASK_USER).strip()


@pytest.mark.promise("pod-security-restricted")
def test_a_pod_that_runs_as_root_mails_and_its_relay_is_not_root(lax_team: Team) -> None:
    spec = {"securityContext": {"runAsUser": 0}, "containers": [lax_team.app(apps.ONCE_AND_STAY)]}
    pod = mails_from(lax_team, spec)
    assert user_of(lax_team, pod, "app").split()[0] == "0"
    assert user_of(lax_team, pod, names.CONTAINER).split()[0] == "36525"


@pytest.mark.promise("pod-security-restricted", "qos-unchanged")
def test_a_pod_under_a_limit_range_mails(team: Team) -> None:
    team.apply(LIMIT_RANGE)
    pod = mails_from(team, {"containers": [team.app(apps.ONCE_AND_STAY)]})
    (app,) = pod["spec"]["containers"]
    assert app["resources"]["limits"] == {"cpu": "500m", "memory": "128Mi"}
    assert pod["status"]["qosClass"] == "Burstable"


@pytest.mark.promise("pod-security-restricted")
def test_a_pod_with_an_fs_group_mails_and_keeps_it(team: Team) -> None:
    spec = {
        "securityContext": {"fsGroup": 2000},
        "containers": [{**team.app(apps.ONCE_AND_STAY), "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    pod = mails_from(team, spec)
    assert pod["spec"]["securityContext"]["fsGroup"] == 2000
    assert "2000" in user_of(team, pod, "app").split()[1:]


@pytest.mark.promise("sidecar-starts-first")
def test_a_pod_with_another_native_sidecar_mails_from_both(team: Team) -> None:
    other = {**team.app(apps.ONCE_AND_STAY, name="other"), "restartPolicy": "Always"}
    pod = mails_from(team, {"initContainers": [other], "containers": [team.app(apps.ONCE_AND_STAY)]}, mails=2)
    assert [each["name"] for each in pod["spec"]["initContainers"]] == [names.CONTAINER, "other"]
