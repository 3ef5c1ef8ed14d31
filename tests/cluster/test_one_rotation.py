"""A token that you ask for reaches a pod that runs, and the pod does not notice."""

import pytest
from cluster import apps
from cluster.apps import MAILER
from cluster.team import Team
from support.waiting import eventually

from o365mailer_contract import names
from o365mailer_sidecar.upstream.pool import IDLE_LIMIT

pytestmark = [pytest.mark.timeout(300), pytest.mark.every_release]


@pytest.mark.promise("token-rotation-unnoticed")
def test_a_refreshed_token_reaches_a_running_pod(team: Team) -> None:
    team.apply(apps.deployment({"containers": [team.app(apps.STAY)]}))
    team.rolled_out()
    (before,) = team.pods()
    send = ("exec", before["metadata"]["name"], "--container=app", "--", "python3", "-c", apps.ONCE)

    def tokens() -> set[str]:
        team.kubectl(*send)
        return {mail["token"] for mail in team.mails(atleast=1)}

    first = tokens()
    assert len(first) == 1
    team.kubectl("annotate", "o365mailer", MAILER, f"{names.REFRESH_ANNOTATION}=now")
    # A session stays on the token that it logged in with, so each mail waits until the session before it is closed.
    eventually(lambda: tokens() - first, "a mail with the second token", within=60, pause=IDLE_LIMIT + 1)
    (after,) = team.pods()
    assert after["status"]["initContainerStatuses"] == before["status"]["initContainerStatuses"]
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
