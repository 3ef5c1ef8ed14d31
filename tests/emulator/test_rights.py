"""What an administrator can get wrong, and how Exchange and Entra refuse then."""

import datetime
import email.utils
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import secured, xoauth2


def attempt(emulator: EmulatorClient, token: str | None = None) -> str:
    with secured(emulator) as dialogue:
        return dialogue.ask(f"AUTH XOAUTH2 {xoauth2(emulator.mailbox, token or emulator.issue_token())}")


def change(emulator: EmulatorClient, what: str, **members: Any) -> None:
    path = {
        "tenant": f"/tenants/{emulator.tenant}",
        "application": f"/applications/{emulator.client_id}",
        "mailbox": f"/mailboxes/{emulator.mailbox}",
        "settings": "/settings",
    }
    emulator.control("PATCH", path[what], members)


DISABLED = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the"


@pytest.mark.parametrize(
    ("tenant", "mailbox", "reply"),
    [
        (True, None, "235 "),
        (True, False, f"{DISABLED} Mailbox."),
        (False, None, f"{DISABLED} Tenant."),
        (False, True, "235 "),
        (False, False, f"{DISABLED} Mailbox."),
    ],
)
def test_the_mailboxs_switch_beats_the_tenants(
    emulator: EmulatorClient, tenant: bool, mailbox: bool | None, reply: str
) -> None:
    change(emulator, "tenant", smtpAuth=tenant)
    change(emulator, "mailbox", smtpAuth=mailbox)
    assert attempt(emulator).startswith(reply)


@pytest.mark.parametrize(
    ("registered", "reason"),
    [
        (None, "Exchange has no service principal for the application"),
        ("55555555-5555-4555-8555-555555555555", "Exchange's service principal has another object id"),
    ],
)
def test_exchange_must_know_the_application_by_the_right_object_id(
    emulator: EmulatorClient, registered: str | None, reason: str
) -> None:
    assert attempt(emulator).startswith("235 ")
    change(emulator, "application", servicePrincipal=registered)
    assert attempt(emulator).startswith("535 5.7.3 ")
    assert [event["reason"] for event in emulator.events("auth-refused")] == [reason]
    change(emulator, "application", servicePrincipal="33333333-3333-4333-8333-333333333333")
    assert attempt(emulator).startswith("235 ")


@pytest.mark.parametrize(
    ("policy", "words"), [("security-defaults", "security defaults policy"), ("conditional-access", "criteria")]
)
def test_a_policy_blocks_every_login(emulator: EmulatorClient, policy: str, words: str) -> None:
    change(emulator, "tenant", policy=policy)
    reply = attempt(emulator)
    assert reply.startswith("535 5.7.139 ")
    assert words in reply


def test_a_right_spreads_after_a_while(emulator: EmulatorClient) -> None:
    change(emulator, "mailbox", applications=[])
    assert attempt(emulator).startswith("535 5.7.3 ")
    change(emulator, "settings", effectiveAfter=3600)
    change(emulator, "mailbox", applications=[emulator.client_id])
    assert attempt(emulator).startswith("535 5.7.3 ")
    change(emulator, "settings", clockOffset=3601)
    assert attempt(emulator).startswith("235 ")


def test_a_mailbox_and_an_application_that_are_added_spread_too(emulator: EmulatorClient) -> None:
    new = "44444444-4444-4444-8444-444444444444"

    def attempt_new() -> str:
        with secured(emulator) as dialogue:
            token = emulator.issue_token(clientId=new)
            return dialogue.ask(f"AUTH XOAUTH2 {xoauth2('new@contoso.com', token)}")

    change(emulator, "settings", effectiveAfter=600)
    emulator.control("PATCH", f"/applications/{new}", {})
    emulator.control("PATCH", "/mailboxes/new@contoso.com", {"applications": [new]})
    assert attempt_new().startswith("535 5.7.3 ")
    assert emulator.events("auth-refused")[-1]["reason"] == "the rights have not spread yet"
    assert attempt(emulator).startswith("235 ")  # what had its right before keeps it
    change(emulator, "settings", clockOffset=599)
    assert attempt_new().startswith("535 5.7.3 ")
    change(emulator, "settings", clockOffset=601)
    assert attempt_new().startswith("235 ")


def test_a_switch_of_smtp_auth_spreads_too(emulator: EmulatorClient) -> None:
    change(emulator, "mailbox", smtpAuth=False)
    change(emulator, "settings", effectiveAfter=600)
    change(emulator, "mailbox", smtpAuth=True)
    assert attempt(emulator).startswith(f"{DISABLED} Mailbox.")
    change(emulator, "settings", clockOffset=601)
    assert attempt(emulator).startswith("235 ")


def test_a_removed_right_holds_on_for_as_long(emulator: EmulatorClient) -> None:
    change(emulator, "settings", effectiveAfter=3600)
    change(emulator, "mailbox", applications=[])
    assert attempt(emulator).startswith("235 ")


def sent(emulator: EmulatorClient) -> str:
    with secured(emulator) as dialogue:
        assert dialogue.ask(f"AUTH XOAUTH2 {xoauth2(emulator.mailbox, emulator.issue_token())}").startswith("235 ")
        assert dialogue.ask(f"MAIL FROM:<{emulator.mailbox}>").startswith("250 ")
        assert dialogue.ask("RCPT TO:<someone@example.com>").startswith("250 ")
        assert dialogue.ask("DATA").startswith("354 ")
        return dialogue.ask(f"From: {emulator.mailbox}\r\n\r\nHello\r\n.")


def test_a_missing_right_may_show_only_with_a_message(emulator: EmulatorClient) -> None:
    change(emulator, "settings", noRight="body")
    assert sent(emulator).startswith("250 ")
    change(emulator, "mailbox", applications=[])
    assert sent(emulator).startswith("430 4.2.0 STOREDRV; mailbox logon failure")
    assert len(emulator.messages()) == 1


def test_a_locked_mailbox_refuses_every_message(emulator: EmulatorClient) -> None:
    change(emulator, "mailbox", locked="throttled-send-as")
    assert sent(emulator) == "550 5.2.252 Sender throttled due to continuous send as denied errors."
    change(emulator, "mailbox", locked=None)
    assert sent(emulator).startswith("250 ")


def test_a_lock_that_no_reply_tells_is_refused(emulator: EmulatorClient) -> None:
    with pytest.raises(RuntimeError, match=r"mailboxes\[0\].locked is 'shut', and there is no such reply"):
        change(emulator, "mailbox", locked="shut")


@pytest.mark.parametrize(
    ("what", "members", "code"),
    [("tenant", {"otherCloud": True}, 90038), ("application", {"enabled": False}, 7000112)],
)
def test_entra_refuses_what_is_elsewhere_or_disabled(
    emulator: EmulatorClient, what: str, members: dict[str, Any], code: int
) -> None:
    assert token_errors(emulator) == []
    change(emulator, what, **members)
    assert token_errors(emulator) == [code]


def token_errors(emulator: EmulatorClient) -> list[int]:
    """The AADSTS codes of a token request; none if it got a token."""
    form = {
        "grant_type": "client_credentials",
        "client_id": emulator.client_id,
        "client_secret": emulator.client_secret,
        "scope": "https://outlook.office365.com/.default",
    }
    url = f"{emulator.authority}/{emulator.tenant}/oauth2/v2.0/token"
    trust = ssl.create_default_context(cafile=emulator.ca_file)
    try:
        urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), context=trust).close()
    except urllib.error.HTTPError as refused:
        with refused:
            return list(json.loads(refused.read())["error_codes"])
    return []


def test_the_page_shows_why_a_login_was_refused(emulator: EmulatorClient) -> None:
    change(emulator, "mailbox", applications=[])
    attempt(emulator)
    with urllib.request.urlopen(f"{emulator.control_url}/?refresh=off") as answer:
        page = answer.read().decode()
    assert "the application has no right on this mailbox" in page


def test_the_emulators_clock_may_be_wrong(emulator: EmulatorClient) -> None:
    change(emulator, "settings", clockOffset=-600)
    trust = ssl.create_default_context(cafile=emulator.ca_file)
    url = f"{emulator.authority}/{emulator.tenant}/v2.0/.well-known/openid-configuration"
    with urllib.request.urlopen(url, context=trust) as answer:
        said = email.utils.parsedate_to_datetime(answer.headers["Date"])
    assert 590 < (datetime.datetime.now(datetime.UTC) - said).total_seconds() < 640
    assert attempt(emulator).startswith("235 ")  # its tokens and its checks have the same clock
