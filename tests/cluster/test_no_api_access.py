"""The relay has nothing of the cluster's, and the app has nothing of the relay's."""

import pytest
from cluster import apps
from cluster.team import Team

from o365mailer_contract import names

pytestmark = pytest.mark.timeout(300)

FIND = """\
import os
for place in ("/var/run/secrets", "/run/secrets", "/var/run/o365mailer"):
    for folder, _, files in os.walk(place):
        for file in files:
            content = open(os.path.join(folder, file), "rb").read()
            if content.startswith(b"eyJ"):
                print(file)
"""
"""Prints the name of each file below the places of Secrets that holds a JSON Web Token (`eyJ` is `{"` in base64)."""


@pytest.mark.promise("W2", "W3")
def test_a_shell_in_the_relay_finds_no_service_account_token_where_the_app_has_one(team: Team) -> None:
    team.apply(apps.deployment({"containers": [team.app(apps.ONCE_AND_STAY)]}))
    team.rolled_out()
    (pod,) = team.pods()

    def found_in(container: str) -> set[str]:
        name = pod["metadata"]["name"]
        return set(team.kubectl("exec", name, f"--container={container}", "--", "python3", "-c", FIND).split())

    assert found_in("app") == {"token"}
    assert found_in(names.CONTAINER) == {names.TOKEN_FILE}
