"""The control API: waiting instead of sleeping, what it shows, what it never shows, what it says to a wrong request."""

import json
import smtplib
import ssl
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import authenticated, greeted, xoauth2

from o365mailer_emulator.client import ControlRefused

CONTENT = "From: noreply@contoso.com\r\nSubject: one\r\n\r\nhello\r\n"


def send(emulator: EmulatorClient, *, mailbox: str | None = None) -> None:
    """One mail by smtplib."""
    sender = mailbox or emulator.mailbox
    with smtplib.SMTP(emulator.smtp_host, emulator.smtp_port, timeout=10) as client:
        client.starttls(context=ssl.create_default_context(cafile=emulator.ca_file))
        client.ehlo()
        assert client.docmd("AUTH", f"XOAUTH2 {xoauth2(sender, emulator.issue_token())}")[0] == 235
        client.sendmail(sender, ["a@b.example"], CONTENT.replace("noreply@contoso.com", sender))


def test_a_reader_waits_for_a_message_instead_of_polling(emulator: EmulatorClient) -> None:
    sending = threading.Thread(target=send, args=(emulator,))
    sending.start()
    messages = emulator.messages(atleast=1, wait=10)
    sending.join()
    assert [message["number"] for message in messages] == [1]


def test_a_wait_ends_with_what_there_is(emulator: EmulatorClient) -> None:
    assert emulator.messages(atleast=1, wait=0.1) == []
    assert emulator.events("message", wait=0.1) == []


def test_messages_can_be_had_by_mailbox_and_without_content(emulator: EmulatorClient) -> None:
    emulator.control("PATCH", "/mailboxes/second@contoso.com", {"applications": [emulator.client_id]})
    send(emulator)
    send(emulator, mailbox="second@contoso.com")
    (message,) = emulator.control("GET", "/messages?mailbox=Second@contoso.com&content=0")["messages"]
    assert (message["number"], message["size"]) == (2, len(CONTENT) - 1)
    assert "content" not in message
    assert len(emulator.messages()) == 2


def test_events_are_numbered_and_told_apart(emulator: EmulatorClient) -> None:
    send(emulator)
    emulator.events("closed")
    everything = emulator.control("GET", "/events")
    assert [event["n"] for event in everything["events"]] == list(range(1, everything["last"] + 1))
    assert [event["kind"] for event in everything["events"]] == ["connected", "token", "auth", "message", "closed"]
    assert [event["kind"] for event in emulator.control("GET", "/events?after=3")["events"]] == ["message", "closed"]


def test_the_counters_count(emulator: EmulatorClient) -> None:
    send(emulator)
    with greeted(emulator):
        counters = emulator.counters()
    assert (counters["connections"], counters["openNow"], counters["messages"]) == (2, 1, 1)
    assert (counters["tlsHandshakes"], counters["authOk"], counters["authFailed"]) == (1, 1, 0)
    assert counters["commands"]["EHLO"] == 2
    assert counters["replies"]["235"] == 1


def test_a_handshake_that_fails_is_counted(emulator: EmulatorClient) -> None:
    with greeted(emulator) as dialogue:
        dialogue.ask("EHLO test.example")
        dialogue.ask("STARTTLS")
        with pytest.raises(ssl.SSLCertVerificationError):
            dialogue.socket = ssl.create_default_context().wrap_socket(dialogue.socket, server_hostname="localhost")
    emulator.events("closed")
    assert emulator.counters()["tlsFailures"] == 1


def test_no_token_and_no_secret_is_ever_shown(emulator: EmulatorClient) -> None:
    token = emulator.issue_token()
    with authenticated(emulator, token=token):
        shown = [
            json.dumps(emulator.control("GET", path))
            for path in ("/state", "/messages", "/counters", "/tokens", "/events", "/script", "/config", "/healthz")
        ]
        with urllib.request.urlopen(f"{emulator.control_url}/", timeout=10) as page:
            shown.append(page.read().decode())
    everything = "".join(shown) + emulator.stderr() + emulator.announcement
    assert emulator.tokens()[0]["uti"] in everything
    for canary in (token, token.split(".")[2], emulator.client_secret):
        assert canary not in everything


def test_a_reset_brings_the_beginning_back(emulator: EmulatorClient) -> None:
    emulator.settings(tokenLifetime=5)
    emulator.script("noop", close=True, times=None)
    emulator.control("PATCH", "/mailboxes/second@contoso.com", {})
    send(emulator)
    with greeted(emulator) as dialogue:
        emulator.reset()
        assert dialogue.closed()
    assert emulator.messages() == emulator.tokens() == emulator.control("GET", "/script")["rules"] == []
    document = emulator.control("GET", "/config")
    assert document["settings"]["tokenLifetime"] is None
    assert [mailbox["address"] for mailbox in document["mailboxes"]] == [emulator.mailbox]
    assert emulator.counters()["openNow"] == emulator.counters()["connections"] == 0


@pytest.mark.parametrize("held", [{"stall": True}, {"delay": 1}])
def test_a_token_request_that_a_reset_interrupts_leaves_no_trace(
    emulator: EmulatorClient, held: dict[str, Any]
) -> None:
    secret = {"client_id": emulator.client_id, "client_secret": emulator.client_secret}
    scope = {"grant_type": "client_credentials", "scope": "https://outlook.office365.com/.default"}
    url, body = f"{emulator.authority}/{emulator.tenant}/oauth2/v2.0/token", urlencode(secret | scope).encode()
    context = ssl.create_default_context(cafile=emulator.ca_file)

    def ask() -> int:
        with urllib.request.urlopen(url, body, timeout=30, context=context) as answer:
            return int(answer.status)

    assert ask() == 200
    emulator.script("token", **held)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask)
        emulator.events("scripted")
        emulator.reset()
        assert isinstance(asked.exception(), OSError), "reset, as an SMTP connection is"
    assert emulator.counters()["tokensIssued"] == emulator.counters()["requests"].get("token", 0) == 0


def test_the_ca_is_handed_out(emulator: EmulatorClient) -> None:
    with urllib.request.urlopen(f"{emulator.control_url}/ca.crt", timeout=10) as answer:
        pem = answer.read().decode()
    ssl.create_default_context(cadata=pem)
    assert pem == (emulator.folder / "ca.crt").read_text()


def test_only_so_many_messages_are_kept(emulator: EmulatorClient) -> None:
    emulator.settings(keptMessages=1)
    send(emulator)
    send(emulator)
    assert [message["number"] for message in emulator.messages(atleast=1)] == [2]
    assert emulator.counters()["messages"] == 2


@pytest.mark.parametrize(
    ("method", "path", "document", "complaint"),
    [
        (
            "PATCH",
            "/settings",
            {"tokenLifetime": "long"},
            "the request: Expected `float | null`, got `str` - at `$.tokenLifetime`",
        ),
        ("PATCH", "/settings", {"lifetime": 5}, "unknown field `lifetime`"),
        ("PATCH", "/applications/x", {"tenant": "nowhere"}, "applications[1].tenant is 'nowhere', which no entry of"),
        ("PUT", "/config", {"tenants": [{"id": "contoso"}]}, "tenants[0].id is 'contoso', not a GUID"),
        ("PATCH", "/applications/x", {"secrets": [{"value": "…"}]}, "not what GET /config shows in place of a secret"),
        ("POST", "/tokens", {"clientId": "nobody"}, "there is no application 'nobody'; GET /config lists them"),
        ("GET", "/messages?atleast=some", None, "the query's atleast is 'some', not a number"),
        (
            "PATCH",
            "/applications/x",
            {"certificates": ["no PEM"]},
            "applications[1].certificates[0] is no certificate in PEM",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_what_is_wrong(
    emulator: EmulatorClient, method: str, path: str, document: Any, complaint: str
) -> None:
    before = emulator.control("GET", "/config")
    with pytest.raises(ControlRefused) as refused:
        emulator.control(method, path, document)
    assert complaint in json.loads(str(refused.value))["error"]
    assert emulator.control("GET", "/config") == before


def test_a_whole_configuration_can_be_put_in_force(emulator: EmulatorClient) -> None:
    tenant = "99999999-9999-4999-8999-999999999999"
    emulator.control(
        "PUT",
        "/config",
        {
            "tenants": [{"id": tenant, "domains": ["fabrikam.example"]}],
            "applications": [{"clientId": "app-1", "tenant": tenant}],
            "mailboxes": [{"address": "info@fabrikam.example", "tenant": tenant, "applications": ["app-1"]}],
        },
    )
    send(emulator, mailbox="info@fabrikam.example")
    assert emulator.messages()[0]["mailbox"] == "info@fabrikam.example"
    assert emulator.tokens()[0]["clientId"] == "app-1"


@pytest.mark.parametrize("number", ["inf", "nan", "-inf", "many"])
def test_a_query_that_is_no_number_is_told(emulator: EmulatorClient, number: str) -> None:
    for path in ("/messages?atleast", "/messages?wait", "/events?after"):
        with pytest.raises(ControlRefused) as refused:
            emulator.control("GET", f"{path}={number}")
        assert number in json.loads(str(refused.value))["error"]


def test_a_mailbox_without_any_tenant_is_told(emulator: EmulatorClient) -> None:
    emulator.control("PUT", "/config", {})
    with pytest.raises(ControlRefused) as refused:
        emulator.control("PATCH", "/mailboxes/info@fabrikam.example", {})
    assert "there is no tenant to add it to" in json.loads(str(refused.value))["error"]


def test_a_message_number_without_end_is_not_found(emulator: EmulatorClient) -> None:
    with pytest.raises(ControlRefused) as refused:
        emulator.control("GET", f"/message/{'9' * 5000}")
    assert "404" in str(refused.value)
