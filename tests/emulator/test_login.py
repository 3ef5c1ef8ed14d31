"""AUTH: the two forms of XOAUTH2, everything a token can be wrong in, and the words of the refusal."""

import re
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import secured, xoauth2

UNSUCCESSFUL = (
    r"535 5\.7\.3 Authentication unsuccessful "
    r"\[[A-Z0-9]+\.outlook\.office365\.com \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [0-9A-F]{16}\]"
)
OTHER_CLIENT = "44444444-4444-4444-8444-444444444444"


def attempt(emulator: EmulatorClient, token: str, *, mailbox: str | None = None) -> str:
    with secured(emulator) as dialogue:
        return dialogue.ask(f"AUTH XOAUTH2 {xoauth2(mailbox or emulator.mailbox, token)}")


def refusals(emulator: EmulatorClient) -> list[str]:
    return [event["reason"] for event in emulator.events("auth-refused")]


def test_one_line_form(emulator: EmulatorClient) -> None:
    assert attempt(emulator, emulator.issue_token()) == "235 2.7.0 Authentication successful"
    assert emulator.counters()["authOk"] == 1


def test_two_step_form(emulator: EmulatorClient) -> None:
    with secured(emulator) as dialogue:
        assert dialogue.ask("AUTH XOAUTH2") == "334 "
        reply = dialogue.ask(xoauth2(emulator.mailbox, emulator.issue_token()))
    assert reply == "235 2.7.0 Authentication successful"


def test_the_mailbox_may_be_written_in_any_case(emulator: EmulatorClient) -> None:
    assert attempt(emulator, emulator.issue_token(), mailbox="NoReply@CONTOSO.com").startswith("235 ")


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"lifetime": 10, "started": -60}, "expired"),
        ({"started": 600}, "not valid yet"),
        ({"foreign": True}, "does not verify"),
        ({"audience": "https://graph.microsoft.com"}, "another audience"),
    ],
)
def test_a_wrong_token_is_refused_in_exchanges_words(
    emulator: EmulatorClient, order: dict[str, Any], reason: str
) -> None:
    assert re.fullmatch(UNSUCCESSFUL, attempt(emulator, emulator.issue_token(**order)))
    assert reason in refusals(emulator)[0]
    assert emulator.counters()["replies"]["535"] == 1
    assert emulator.counters()["authExpired"] == (reason == "expired")


def test_a_token_that_is_changed_by_one_character_is_refused(emulator: EmulatorClient) -> None:
    header, claims, signature = emulator.issue_token().split(".")
    changed = ("B" if claims[30] == "A" else "A").join((claims[:30], claims[31:]))
    assert attempt(emulator, f"{header}.{changed}.{signature}").startswith("535 5.7.3 ")


def test_an_unknown_mailbox_is_refused(emulator: EmulatorClient) -> None:
    assert attempt(emulator, emulator.issue_token(), mailbox="nobody@contoso.com").startswith("535 5.7.3 ")
    assert "no such mailbox" in refusals(emulator)[0]


def test_a_mailbox_may_be_closed_to_the_application(emulator: EmulatorClient) -> None:
    token = emulator.issue_token()
    emulator.control("PATCH", f"/mailboxes/{emulator.mailbox}", {"applications": [OTHER_CLIENT]})
    assert attempt(emulator, token).startswith("535 5.7.3 ")
    emulator.control("PATCH", f"/mailboxes/{emulator.mailbox}", {"applications": [emulator.client_id]})
    assert attempt(emulator, token).startswith("235 ")


@pytest.mark.parametrize("roles", [["SMTP.SendAsApp"], [], ["Mail.Send"]])
@pytest.mark.parametrize(("listed", "code"), [(True, "235"), (False, "535")])
def test_a_mailbox_opens_by_its_own_list_whatever_the_roles(
    emulator: EmulatorClient, roles: list[str], listed: bool, code: str
) -> None:
    emulator.control("PATCH", f"/applications/{emulator.client_id}", {"roles": roles})
    applications = [emulator.client_id] if listed else []
    emulator.control("PATCH", f"/mailboxes/{emulator.mailbox}", {"applications": applications})
    assert attempt(emulator, emulator.issue_token())[:3] == code
    if code == "535":
        assert "no right on this mailbox" in refusals(emulator)[0]


def test_a_mailbox_of_another_tenant_is_refused(emulator: EmulatorClient) -> None:
    emulator.control("PATCH", "/tenants/99999999-9999-4999-8999-999999999999", {"domains": ["fabrikam.example"]})
    emulator.control("PATCH", "/mailboxes/info@fabrikam.example", {"tenant": "fabrikam.example"})
    assert attempt(emulator, emulator.issue_token(), mailbox="info@fabrikam.example").startswith("535 5.7.3 ")
    assert "another tenant" in refusals(emulator)[0]


@pytest.mark.parametrize("response", ["*", "not base64", "dXNlcj1h", "", "=" * 40])
def test_what_is_no_xoauth2_is_refused_and_the_session_goes_on(emulator: EmulatorClient, response: str) -> None:
    with secured(emulator) as dialogue:
        assert dialogue.ask("AUTH XOAUTH2") == "334 "
        assert dialogue.ask(response).startswith("535 5.7.3 ")
        assert dialogue.ask(f"AUTH XOAUTH2 {xoauth2(emulator.mailbox, emulator.issue_token())}").startswith("235 ")


def test_basic_authentication_is_disabled(emulator: EmulatorClient) -> None:
    with secured(emulator) as dialogue:
        assert dialogue.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert dialogue.ask("bm9yZXBseQ==") == "334 UGFzc3dvcmQ6"
        reply = dialogue.ask("bm90LWEtc2VjcmV0")
    assert reply.startswith("535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [")


def test_plain_is_no_mechanism_here(emulator: EmulatorClient) -> None:
    with secured(emulator) as dialogue:
        assert dialogue.ask("AUTH PLAIN AGEAYg==").startswith("504 5.7.4 Unrecognized authentication type")


def test_a_second_login_is_out_of_order(emulator: EmulatorClient) -> None:
    with secured(emulator) as dialogue:
        credentials = xoauth2(emulator.mailbox, emulator.issue_token())
        assert dialogue.ask(f"AUTH XOAUTH2 {credentials}").startswith("235 ")
        assert dialogue.ask(f"AUTH XOAUTH2 {credentials}").startswith("503 5.5.2 ")
