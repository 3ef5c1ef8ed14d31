"""What the log says, and what it must never say."""

import json
import smtplib

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

CANARIES = {
    "body": "canary-body-not-a-secret",
    "subject": "canary-subject-not-a-secret",
    "address": "canary-recipient@example.com",
    "sender": "canary-sender@example.com",
    "password": "canary-password-not-a-secret",
    "host": "canary-client-host",
}


def found(text: bytes, token: str) -> set[str]:
    """Which canaries are in a text."""
    return {name for name, canary in {**CANARIES, "token": token}.items() if canary.encode() in text}


def provoke(app: Wire) -> None:
    """Say every canary where the relay might repeat it."""
    app.ask(f"EHLO {CANARIES['host']}")
    app.ask(f"AUTH PLAIN {CANARIES['password']}")
    app.ask(f"{CANARIES['password']} {CANARIES['address']}")
    app.ask(f"MAIL FROM:<{CANARIES['sender']}> FOO={CANARIES['address']}")
    app.ask(f"MAIL FROM:<{CANARIES['sender']}>")
    app.ask(f"RCPT TO:<{CANARIES['address']}>")
    app.deliver(f"Subject: {CANARIES['subject']}\r\n\r\n{CANARIES['body']}\r\n".encode())


@pytest.mark.promise("relay-logs-no-mail")
@pytest.mark.parametrize("level", ["debug", "info"])
def test_neither_log_nor_metrics_carry_bodies_tokens_or_addresses(
    emulator: EmulatorClient, directory: MailerDirectory, sidecar: Sidecar, level: str
) -> None:
    token = emulator.issue_token()
    directory.write_for(emulator, token=token, revision=2, logLevel=level, senders={"allowed": ["@example.com"]})
    sidecar.event("mailer_read", revision=2)
    for rule in (
        {"step": "body", "reply": f"554 5.2.252 SendAsDenied; {CANARIES['sender']} not allowed to send"},
        {"step": "rcpt", "reply": f"550 5.1.10 {CANARIES['address']} not found"},
        {"step": "mail", "close": True},
        {"step": "body", "close": True},
        {"step": "auth", "reply": "535 5.7.3 Authentication unsuccessful"},
    ):
        emulator.script(str(rule.pop("step")), **rule)
        with Wire(sidecar.port) as app:
            provoke(app)
    app = Wire(sidecar.port)
    app.begin(CANARIES["sender"], CANARIES["address"])
    app.send(CANARIES["body"].encode() + b"\n")
    assert app.reply().startswith("500")
    app.socket.close()
    sidecar.event("message", nth=5)
    assert len(sidecar.events("message")) == 5
    assert found(sidecar.stderr().encode(), token) == set()
    assert found(sidecar.get("/metrics")[1].encode(), token) == set()


@pytest.mark.promise("relay-logs-no-mail")
def test_the_scan_finds_a_planted_canary() -> None:
    """The control."""
    planted = json.dumps({"event": "message", "to": CANARIES["address"], "token": "planted-not-a-secret"}).encode()
    assert found(planted, "planted-not-a-secret") == {"address", "token"}


def test_one_record_a_message_says_what_became_of_it(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with smtplib.SMTP("127.0.0.1", sidecar.port) as client:
        client.sendmail("noreply@contoso.com", ["a@example.com", "b@example.com"], "Subject: x\n\nbody\n")
        emulator.script("body", reply="550 5.7.60 SMTP; Client does not have permissions to send as this sender")
        with pytest.raises(smtplib.SMTPDataError) as refusal:
            client.sendmail("noreply@contoso.com", ["a@example.com"], "Subject: x\n\nbody\n")
    accepted, refused = sidecar.event("message"), sidecar.event("message", nth=2)
    assert {name: accepted[name] for name in ("outcome", "code", "enhanced", "size", "recipients")} == {
        "outcome": "accepted", "code": 250, "enhanced": "2.0.0", "size": 20, "recipients": 2,
    }  # fmt: skip
    assert (refused["outcome"], refused["code"], refused["enhanced"]) == ("refused", 550, "5.7.60")
    assert accepted["queue_id"] != refused["queue_id"]
    assert str(refusal.value.smtp_error).rstrip("'").endswith(f"[{refused['queue_id']}]")
    assert 0 <= accepted["seconds"] < 30


def test_every_line_is_json(emulator: EmulatorClient, directory: MailerDirectory, sidecar: Sidecar) -> None:
    directory.write_for(emulator, revision=2, senders={"allowed": ["@example.com"]})
    sidecar.event("mailer_read", revision=2)
    with Wire(sidecar.port) as app:
        provoke(app)
    sidecar.event("message")
    assert [json.loads(line)["event"] for line in sidecar.stderr().encode().splitlines()]


@pytest.mark.parametrize(
    ("body", "code", "enhanced"), [(b"a lone \r here\r\n", 554, "5.6.0"), (b"x" * 2000 + b"\r\n", 552, "5.3.4")]
)
def test_a_message_that_the_relay_itself_refuses_is_in_the_audit(
    emulator: EmulatorClient, directory: MailerDirectory, body: bytes, code: int, enhanced: str
) -> None:
    directory.write_for(emulator, limits={"messageSize": "1Ki"})
    with running(directory.path) as sidecar, Wire(sidecar.port) as app:
        app.begin()
        assert app.deliver(body).startswith(f"{code} {enhanced} ")
        line = sidecar.event("message")
        assert (line["outcome"], line["code"], line["enhanced"], line["size"]) == ("refused", code, enhanced, len(body))
        assert sidecar.metric('o365mailer_messages_total{outcome="refused"}') == 1
    assert emulator.messages() == []
