"""A mailer that is deleted takes its token along, and nothing that is its user's."""

import pytest
from cluster import apps
from cluster.team import Team

from o365mailer_contract import names

pytestmark = pytest.mark.timeout(300)


@pytest.mark.promise("chart-keeps-mailers")
def test_deleting_the_mailer_deletes_its_token_secret_and_no_other(team: Team) -> None:
    secret = f"secret/{names.token_secret_name(apps.MAILER)}"
    assert team.get(secret)["metadata"]["ownerReferences"][0]["name"] == apps.MAILER
    team.kubectl("delete", "o365mailer", apps.MAILER)
    team.kubectl("wait", secret, "--for=delete", "--timeout=60s")
    assert {each["metadata"]["name"] for each in team.get("secrets")["items"]} == {"credential", "office365-ca"}
