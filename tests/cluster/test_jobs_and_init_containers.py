"""What ends mails as well as what stays: the relay is there before, and does not keep a pod from being done."""

import pytest
from cluster import apps
from cluster.team import Team

from o365mailer_contract import names

pytestmark = [pytest.mark.timeout(300), pytest.mark.every_release]


@pytest.mark.promise("sidecar-starts-first")
def test_a_job_that_mails_completes(team: Team) -> None:
    team.apply(apps.job({"containers": [team.app(apps.ONCE)]}))
    team.kubectl("wait", "job/app", "--for=condition=Complete", "--timeout=60s")
    assert len(team.mails(atleast=1)) == 1
    (pod,) = team.pods()
    (relay,) = pod["status"]["initContainerStatuses"]
    assert relay["name"] == names.CONTAINER
    assert relay["state"]["terminated"]["exitCode"] == 0


@pytest.mark.promise("sidecar-starts-first")
def test_a_pods_init_container_mails(team: Team) -> None:
    first = team.app(apps.ONCE, name="first")
    team.apply(apps.pod("app", {"initContainers": [first], "containers": [team.app(apps.STAY)]}))
    team.kubectl("wait", "pod/app", "--for=condition=Ready", "--timeout=60s")
    assert len(team.mails(atleast=1)) == 1
    pod = team.get("pod", "app")
    relay, done = pod["status"]["initContainerStatuses"]
    assert (relay["name"], done["name"]) == (names.CONTAINER, "first")
    assert "running" in relay["state"]
    assert done["state"]["terminated"]["exitCode"] == 0
