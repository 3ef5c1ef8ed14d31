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

PEEK = """\
import os, sys
token = sys.argv[1]
for process in filter(str.isdigit, os.listdir("/proc")):
    try:
        command = open(f"/proc/{process}/cmdline").read().replace("\\0", " ")
        os.listdir(f"/proc/{process}/root")
        print("found the token" if os.path.exists(f"/proc/{process}/root{token}") else f"looked into {command}")
    except PermissionError:
        print(f"refused by {command}")
    except FileNotFoundError:
        pass
"""
"""What a program may see of the files of every process of its pod."""


@pytest.mark.promise("token-only-in-the-sidecar")
def test_an_app_of_the_same_uid_that_sees_the_relays_processes_does_not_find_the_token(team: Team) -> None:
    """The control is a second app of that uid: its files can be looked into."""
    same = {"securityContext": {**apps.RESTRICTED, "runAsUser": names.SIDECAR_USER, "runAsGroup": names.SIDECAR_USER}}
    containers = [{**team.app(apps.ONCE_AND_STAY), **same}, {**team.app(apps.STAY, name="neighbour"), **same}]
    team.apply(apps.deployment({"shareProcessNamespace": True, "containers": containers}))
    team.rolled_out()
    team.mails(atleast=1)
    (pod,) = team.pods()
    token = f"{names.DIRECTORY_MOUNT}/{names.TOKEN_FILE}"
    command = ("exec", pod["metadata"]["name"], "--container=app", "--", "python3", "-c", PEEK, token)
    seen = team.kubectl(*command).splitlines()
    assert [line for line in seen if line.startswith("refused by") and "o365mailer-sidecar" in line]
    assert [line for line in seen if line.startswith("looked into") and apps.STAY in line]
    assert "found the token" not in seen


@pytest.mark.promise("token-only-in-the-sidecar")
def test_a_shell_in_the_relay_finds_no_service_account_token_where_the_app_has_one(team: Team) -> None:
    team.apply(apps.deployment({"containers": [team.app(apps.ONCE_AND_STAY)]}))
    team.rolled_out()
    (pod,) = team.pods()

    def found_in(container: str) -> set[str]:
        name = pod["metadata"]["name"]
        return set(team.kubectl("exec", name, f"--container={container}", "--", "python3", "-c", FIND).split())

    assert found_in("app") == {"token"}
    assert found_in(names.CONTAINER) == {names.TOKEN_FILE}
