"""`helm uninstall` leaves a cluster that works, mailers, and mail that goes on."""

import pytest
from cluster import apps
from cluster.installation import OPERATOR, RELEASE, Installation
from cluster.team import Team

from o365mailer_contract import names

pytestmark = pytest.mark.timeout(300)

CONFIGURATIONS = "mutatingwebhookconfigurations,validatingwebhookconfigurations"


@pytest.mark.promise("chart-keeps-mailers")
def test_uninstalling_leaves_no_webhook_configuration_and_stops_no_mail(
    installation: Installation, steady: Team, team: Team
) -> None:
    def configurations() -> str:
        return installation.kubectl("get", CONFIGURATIONS, "--output=name")

    assert names.WEBHOOK_NAME in configurations()
    installation.cluster.helm("uninstall", RELEASE, "--namespace", OPERATOR, "--wait", timeout=120)
    arrived = len(steady.mails())
    assert names.GROUP not in configurations()
    team.apply(apps.deployment({"containers": [team.app(apps.STAY)]}))
    team.rolled_out()
    assert "initContainers" not in team.pods()[0]["spec"]
    assert team.get("o365mailers", apps.MAILER)["spec"]["mailbox"] == team.mailbox
    steady.mails(atleast=arrived + 2)
