"""A token that you ask for reaches a pod that runs, and the pod does not notice."""

import pytest
from cluster import apps
from cluster.apps import MAILER
from cluster.team import Team
from support.waiting import eventually

from o365mailer_contract import names

pytestmark = [pytest.mark.timeout(300), pytest.mark.every_release]


@pytest.mark.promise("token-rotation-unnoticed")
def test_a_refreshed_token_reaches_a_running_pod(team: Team) -> None:
    team.apply(apps.deployment({"containers": [team.app(apps.ALWAYS)]}))
    team.rolled_out()
    first = {mail["token"] for mail in team.mails(atleast=1)}
    assert len(first) == 1
    team.kubectl("annotate", "o365mailer", MAILER, f"{names.REFRESH_ANNOTATION}=now")
    eventually(lambda: {mail["token"] for mail in team.mails()} - first, "a mail with the second token", within=60)
    (pod,) = team.pods()
    relay, app = pod["status"]["initContainerStatuses"][0], pod["status"]["containerStatuses"][0]
    assert (relay["restartCount"], app["restartCount"]) == (0, 0)
