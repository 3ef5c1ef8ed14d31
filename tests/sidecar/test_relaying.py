"""From an app's DATA to the mailbox: what arrives, and what 250 means."""

import base64
import smtplib
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire

TEXT = b"Subject: one\r\nDate: Mon, 23 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@app.example>\r\n\r\nbody\r\n"


def content(message: dict[str, Any]) -> bytes:
    """The bytes that the mailbox got."""
    return base64.b64decode(message["content"])


@pytest.mark.promise("accepted-means-kept")
def test_a_mail_is_in_the_mailbox_when_the_app_reads_250(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        app.begin("noreply@contoso.com", "a@example.com", "b@example.com")
        reply = app.deliver(TEXT)
        (message,) = emulator.messages()
    assert reply.startswith("250 2.0.0 Office 365 has it: ")
    assert message["reversePath"] == "noreply@contoso.com"
    assert message["recipients"] == ["a@example.com", "b@example.com"]
    assert content(message).endswith(TEXT)


@pytest.mark.promise("accepted-means-kept")
@pytest.mark.parametrize("step", ["connect", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body"])
def test_250_is_never_said_when_exchange_did_not_say_it(emulator: EmulatorClient, sidecar: Sidecar, step: str) -> None:
    emulator.script(step, reply="451 4.7.0 Temporary server error", times=None)
    with Wire(sidecar.port) as app:
        app.begin()
        assert app.deliver(TEXT).startswith("451 4.")
    assert emulator.messages() == []


@pytest.mark.promise("accepted-means-kept")
def test_nothing_goes_upstream_before_the_message_is_whole(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        app.begin()
        assert app.ask("DATA").startswith("354")
        app.send(b"x" * 100_000 + b"\r\n")
        assert Wire(sidecar.port).ask("NOOP").startswith("250")  # the loop has been round
        assert emulator.counters()["connections"] == 0
        app.send(b".\r\n")
        assert app.reply().startswith("250")
        assert emulator.counters()["connections"] == 1


@pytest.mark.promise("message-unchanged")
def test_from_date_and_message_id_are_added_when_absent(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        app.begin()
        reply = app.deliver(b"Subject: bare\r\n\r\nbody\r\n")
    (message,) = emulator.messages()
    headers = dict(message["headers"])
    queue_id = reply.rpartition("[")[2].rstrip("]")
    assert [name for name, _ in message["headers"]] == ["Received", "From", "Date", "Message-ID", "Subject"]
    assert headers["From"] == "noreply@contoso.com"
    assert headers["Message-ID"].startswith(f"<{queue_id}.")
    assert headers["Message-ID"].endswith("@contoso.com>")


def test_one_received_line_carries_the_queue_id_and_no_client(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        assert app.ask("EHLO secret-host.internal").startswith("250")
        assert app.ask("MAIL FROM:<noreply@contoso.com>").startswith("250")
        assert app.ask("RCPT TO:<a@example.com>").startswith("250")
        reply = app.deliver(TEXT)
    (message,) = emulator.messages()
    received = [value for name, value in message["headers"] if name == "Received"]
    assert len(received) == 1
    assert reply.rpartition("[")[2].rstrip("]") in received[0]
    assert b"secret-host" not in content(message)
    assert b"127.0.0.1" not in content(message)


@pytest.mark.promise("all-recipients-or-none")
@pytest.mark.parametrize(
    ("refusal", "expected"),
    [("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found",
      ("550 5.1.10 <b@example.com>: RESOLVER.ADR.RecipientNotFound; Recipient not found; "
      "nothing was sent to the other 2 ")),
     ("450 4.2.1 Try later",
      ("451 4.2.1 Office 365 said 450 4.2.1 <b@example.com>: Try later; nothing was sent to the other 2; "
      "try again later "))],
)  # fmt: skip
def test_one_refused_recipient_means_nothing_was_sent(
    emulator: EmulatorClient, sidecar: Sidecar, refusal: str, expected: str
) -> None:
    emulator.script("rcpt", match="b@*", reply=refusal, times=None)
    with Wire(sidecar.port) as app:
        app.begin("noreply@contoso.com", "a@example.com", "b@example.com", "c@example.com")
        assert app.deliver(TEXT).startswith(expected)
        assert emulator.messages() == []
        assert emulator.counters()["commands"]["RSET"] == 1
        app.begin("noreply@contoso.com", "a@example.com", "c@example.com")
        assert app.deliver(TEXT).startswith("250")
    assert [message["recipients"] for message in emulator.messages()] == [["a@example.com", "c@example.com"]]
    assert emulator.counters()["connections"] == 1


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_a_permanent_refusal_reaches_the_app_in_exchanges_words_without_the_dump(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    emulator.script(
        "body",
        reply="554 5.2.252 SendAsDenied; noreply@contoso.com not allowed to send as boss@contoso.com; "
        "STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message "
        "due to a permanent exception with message [BeginDiagnosticData]" + "Cannot submit message. 0:1 " * 100,
    )
    with Wire(sidecar.port) as app:
        app.begin()
        reply = app.deliver(TEXT)
    assert reply.startswith("554 5.2.252 SendAsDenied; noreply@contoso.com not allowed to send as boss@contoso.com; ")
    assert "BeginDiagnosticData" not in reply
    assert len(reply) < 240


@pytest.mark.promise("outage-is-answered-at-once")
@pytest.mark.parametrize(
    "reply",
    [
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
        "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
        "550 5.2.251 Sender throttled due to continuous mailbox full errors.",
        "550 5.7.233 Your message can't be sent because your tenant exceeded its limit",
    ],
)
def test_a_quota_in_5xx_words_is_451(emulator: EmulatorClient, sidecar: Sidecar, reply: str) -> None:
    emulator.script("body", reply=reply)
    with Wire(sidecar.port) as app:
        app.begin()
        answer = app.deliver(TEXT)
    assert answer.startswith("451 4.")
    assert reply[:9] in answer


def test_parameters_are_handed_on(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        assert app.ask("EHLO x").startswith("250")
        assert app.ask("MAIL FROM:<noreply@contoso.com> RET=HDRS ENVID=abc AUTH=<> SIZE=5").startswith("250")
        assert app.ask("RCPT TO:<a@example.com> NOTIFY=NEVER").startswith("250")
        assert app.deliver(b"Subject: caf\xc3\xa9\r\n\r\n\xe4\r\n").startswith("250")
    (message,) = emulator.messages()
    assert {"RET=HDRS", "ENVID=abc", "BODY=8BITMIME"} <= set(message["parameters"])
    assert not any(parameter.startswith("AUTH") for parameter in message["parameters"])
    assert content(message).endswith(b"Subject: caf\xc3\xa9\r\n\r\n\xe4\r\n")


def test_an_internationalized_address_is_handed_on(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        assert app.ask("EHLO x").startswith("250")
        assert app.ask("MAIL FROM:<noreply@contoso.com> SMTPUTF8").startswith("250")
        assert app.ask("RCPT TO:<grüße@example.com>".encode()).startswith("250")
        assert app.deliver(TEXT).startswith("250")
    (message,) = emulator.messages()
    assert message["recipients"] == ["grüße@example.com"]
    assert "SMTPUTF8" in message["parameters"]


def test_three_connections_at_most_however_many_apps_send(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("body", delay=0.2, times=None)
    apps = [Wire(sidecar.port) for _ in range(9)]
    for app in apps:
        app.begin()
        assert app.ask("DATA").startswith("354")
    for app in apps:
        app.send(TEXT + b".\r\n")
    assert all(app.reply().startswith("250") for app in apps)
    assert emulator.counters()["openPeak"] == 3
    assert len(emulator.messages()) == 9
    for app in apps:
        app.socket.close()


@pytest.mark.promise("changes-without-restart")
def test_a_changed_limit_holds_without_a_restart(
    emulator: EmulatorClient, directory: MailerDirectory, sidecar: Sidecar
) -> None:
    with Wire(sidecar.port) as app:
        assert "SIZE 36700160" in app.ask("EHLO x")
        directory.write_for(emulator, revision=2, limits={"messageSize": "1Ki"})
        sidecar.event("mailer_read", revision=2)
        assert "SIZE 1024" in app.ask("EHLO x")
        assert app.ask("MAIL FROM:<a@b.c> SIZE=1025").startswith("552 5.3.4 Message too big: the limit is 1024 bytes")
        app.begin()
        assert app.deliver(b"x" * 1023 + b"\r\n").startswith("552 5.3.4 Message too big: the limit is 1024 bytes")
        app.begin()
        assert app.deliver(b"Subject: x\r\n\r\n").startswith("250")


def test_pythons_own_client_needs_no_setting(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with smtplib.SMTP("127.0.0.1", sidecar.port) as client:
        client.login("somebody", "any password, not-a-secret")
        assert client.sendmail("noreply@contoso.com", ["a@example.com"], "Subject: x\n\n.\nbody\n") == {}
    assert content(emulator.messages()[0]).endswith(b"Subject: x\r\n\r\n.\r\nbody\r\n")
