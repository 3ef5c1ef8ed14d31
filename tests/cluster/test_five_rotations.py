"""Tokens come and go under running pods. The apps have mailed since before the first test of this folder."""

import itertools
from typing import Any

import pytest
from cluster import apps
from cluster.installation import TOKEN_SECONDS
from cluster.office365 import HOST
from cluster.team import Team
from support.waiting import eventually

ROTATIONS = 5
LOOK_SECONDS = 3

pytestmark = pytest.mark.timeout(300 + ROTATIONS * TOKEN_SECONDS)


def mails_after_the_last_rotation(steady: Team) -> list[dict[str, Any]] | None:
    """All mails, once some have been sent with the last of the tokens."""
    steady.forbid_token()
    last = {token["uti"] for token in steady.tokens_issued()[ROTATIONS:]}
    mails = steady.mails()
    return mails if sum(mail["token"] in last for mail in mails) >= 4 else None


@pytest.mark.promise("token-rotation-unnoticed")
def test_over_five_rotations_every_mail_arrives_once_and_no_pod_restarts(steady: Team) -> None:
    mails = eventually(
        lambda: mails_after_the_last_rotation(steady),
        f"mails with the token after {ROTATIONS} rotations",
        within=(ROTATIONS + 1) * TOKEN_SECONDS,
        pause=LOOK_SECONDS,
    )
    arrived = apps.numbers(mails)
    assert all(each == list(range(1, len(each) + 1)) for each in arrived.values()), arrived
    assert {pod["metadata"]["name"]: apps.restarts(pod) for pod in steady.pods()} == {pod: [0, 0] for pod in arrived}
    assert len(arrived) == 2
    used = {token for token, _ in itertools.groupby(mail["token"] for mail in mails)}
    assert len(used) > ROTATIONS


@pytest.mark.promise("token-rotation-unnoticed")
def test_office_365_was_never_shown_an_expired_token_by_any_pod(steady: Team) -> None:
    def counters() -> dict[str, Any]:
        return steady.office365.counters()

    eventually(lambda: counters()["authOk"], "a pod logs in")
    assert counters()["authExpired"] == 0
    order = {"clientId": steady.client_id, "lifetime": 10, "started": -60}
    expired = steady.office365.control("POST", "/tokens", order)["accessToken"]
    pod = steady.pods()[0]["metadata"]["name"]
    show = ("exec", pod, "--container=app", "--", "python3", "-c", SHOW, HOST, steady.mailbox, expired)
    assert steady.kubectl(*show).startswith("535 ")
    assert counters()["authExpired"] == 1


SHOW = """\
import base64, smtplib, sys
host, mailbox, token = sys.argv[1:]
with smtplib.SMTP(host, 587) as exchange:
    exchange.starttls()
    exchange.ehlo()
    initial = f"user={mailbox}\\1auth=Bearer {token}\\1\\1"
    code, text = exchange.docmd("AUTH", "XOAUTH2 " + base64.b64encode(initial.encode()).decode())
    print(code, text.decode())
"""
"""What a pod with an expired token would do; so it is known that the counters count."""
