"""Tokens come and go under running pods. The apps have mailed since before the first test of this folder."""

import itertools
from collections import defaultdict
from typing import Any

import pytest
from cluster.installation import TOKEN_SECONDS
from cluster.team import Team
from cluster.waiting import eventually

from o365mailer_contract import names

ROTATIONS = 5

pytestmark = pytest.mark.timeout(300 + ROTATIONS * TOKEN_SECONDS)


def restarts(team: Team) -> dict[str, list[int]]:
    """The restarts of each pod's containers, by the pod's UID."""
    return {
        pod["metadata"]["uid"]: [
            each["restartCount"]
            for kind in ("initContainerStatuses", "containerStatuses")
            for each in pod["status"][kind]
        ]
        for pod in team.pods()
    }


def numbers(mails: list[dict[str, Any]]) -> dict[str, list[int]]:
    """The numbers in the subjects of each pod's mails, in the order of arrival."""
    found = defaultdict(list)
    for mail in mails:
        pod, number = dict(map(tuple, mail["headers"]))["Subject"].split()
        found[pod].append(int(number))
    return found


@pytest.mark.promise("B21")
def test_over_five_rotations_every_mail_arrives_once_and_no_pod_notices(steady: Team) -> None:
    def rotated() -> list[dict[str, Any]] | None:
        """The mails, once a mail has arrived from each pod with the last of the tokens."""
        last = [token["uti"] for token in steady.tokens_issued()][ROTATIONS:]
        mails = steady.mails()
        return mails if last and sum(mail["token"] in last for mail in mails) >= 4 else None

    mails = eventually(rotated, f"mails with the token after {ROTATIONS} rotations", within=ROTATIONS * TOKEN_SECONDS)
    pods = {pod["metadata"]["name"]: pod for pod in steady.pods()}
    assert len(pods) == 2
    counted = numbers(mails)
    assert set(counted) == set(pods)
    for arrived in counted.values():
        assert arrived == list(range(1, len(arrived) + 1))
    used = [token for token, _ in itertools.groupby(mail["token"] for mail in sorted(mails, key=lambda m: m["number"]))]
    assert len(set(used)) >= ROTATIONS + 1
    assert restarts(steady) == {pod["metadata"]["uid"]: [0, 0] for pod in pods.values()}
    assert {pod["spec"]["initContainers"][0]["name"] for pod in pods.values()} == {names.CONTAINER}


@pytest.mark.promise("B21")
def test_office_365_was_never_shown_an_expired_token_by_any_pod(steady: Team) -> None:
    counters = steady.office365.counters()
    assert counters["authOk"] > ROTATIONS
    assert counters["replies"]["235"] == counters["authOk"]
    assert (counters["authExpired"], counters["replies"].get("535", 0)) == (0, 0)
