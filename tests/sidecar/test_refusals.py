"""What the relay itself refuses: whom it concerns, and that the audit and the metrics have it."""

import smtplib
import socket
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

ALLOWED = {"allowedDomains": ["example.com"]}
LIMIT = 4096


@pytest.mark.promise("smtp-conformance")
@pytest.mark.parametrize("together", [False, True])
def test_one_mail_to_many_reaches_those_whom_it_may(
    emulator: EmulatorClient, directory: MailerDirectory, together: bool
) -> None:
    directory.write_for(emulator, recipients=ALLOWED)
    people = [*(f"p{number}@customer.example" for number in range(40)), "a@example.com"]
    commands = [f"RCPT TO:<{address}>" for address in people]
    with running(directory.path) as sidecar, Wire(sidecar.port) as app:
        assert app.ask("EHLO staging").startswith("250")
        assert app.ask("MAIL FROM:<noreply@contoso.com>").startswith("250")
        if together:
            app.send("".join(f"{command}\r\n" for command in commands).encode())
            answers = [app.reply() for _ in commands]
        else:
            answers = [app.ask(command) for command in commands]
        for address, answer in zip(people[:-1], answers, strict=False):
            assert answer.startswith(f"550 5.7.1 Mail may not go to <{address}>: add its domain to ")
        assert answers[-1].startswith("250")
        assert app.deliver(b"Subject: x\r\n\r\nbody\r\n").startswith("250")
    (message,) = emulator.messages()
    assert message["recipients"] == ["a@example.com"]


@pytest.mark.promise("smtp-conformance")
def test_refused_senders_end_no_session(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    directory.write_for(emulator, limits={"messageSize": str(LIMIT)})
    with running(directory.path) as sidecar, Wire(sidecar.port) as app:
        app.ask("EHLO staging")
        for _ in range(15):
            assert app.ask("MAIL FROM:<boss@contoso.com>").startswith("553")
            assert app.ask(f"MAIL FROM:<noreply@contoso.com> SIZE={LIMIT + 1}").startswith("552")
        app.begin()
        assert app.deliver(b"Subject: x\r\n\r\nbody\r\n").startswith("250")
    assert len(emulator.messages()) == 1


def begun(sidecar: Sidecar) -> Wire:
    """An app whose message is wanted now."""
    app = Wire(sidecar.port)
    app.begin()
    assert app.ask("DATA").startswith("354")
    return app


def twice_too_large(sidecar: Sidecar) -> None:
    with begun(sidecar) as app:
        app.send(b"x" * (3 * LIMIT))
        assert app.reply().startswith("552 5.3.4")
        assert app.closed()


def a_little_too_large(sidecar: Sidecar) -> None:
    with begun(sidecar) as app:
        app.send(b"x" * (LIMIT + 1) + b"\r\n.\r\n")
        assert app.reply().startswith("552 5.3.4")


def announced_as_too_large(sidecar: Sidecar) -> None:
    with smtplib.SMTP("127.0.0.1", sidecar.port) as client, pytest.raises(smtplib.SMTPSenderRefused):
        client.sendmail("noreply@contoso.com", ["a@example.com"], "x" * (LIMIT + 1))


def a_sender_that_may_not_send(sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        app.ask("EHLO x")
        assert app.ask("MAIL FROM:<boss@contoso.com>").startswith("553")


def nobody_who_may_be_sent_to(sidecar: Sidecar) -> None:
    with smtplib.SMTP("127.0.0.1", sidecar.port) as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.sendmail("noreply@contoso.com", ["a@x.example", "b@x.example"], "Subject: x\n\nbody\n")


def one_of_two_and_the_app_gives_up(sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        app.begin()
        assert app.ask("RCPT TO:<b@x.example>").startswith("550")
        assert app.ask("QUIT").startswith("221")


def a_lone_cr(sidecar: Sidecar) -> None:
    with begun(sidecar) as app:
        app.send(b"a lone \r here\r\n.\r\n")
        assert app.reply().startswith("554")


def a_loop(sidecar: Sidecar) -> None:
    with begun(sidecar) as app:
        app.send(b"Received: x\r\n" * 60 + b"\r\n.\r\n")
        assert app.reply().startswith("554 5.4.6")


def written_before_354(sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        app.begin()
        app.send(b"DATA\r\nSubject: x\r\n\r\n.\r\n")
        assert app.reply().startswith("421 4.7.0 Wait for 354")


def closed_in_the_middle(sidecar: Sidecar) -> None:
    with begun(sidecar) as app:
        app.send(b"Subject: x\r\n")


def half_closed_in_the_middle(sidecar: Sidecar) -> None:
    with begun(sidecar) as app:
        app.send(b"Subject: x\r\n")
        app.socket.shutdown(socket.SHUT_WR)
        assert app.closed()


def reset_in_the_middle(sidecar: Sidecar) -> None:
    with begun(sidecar) as app:
        app.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


ENDS: list[tuple[Any, str, str, int]] = [
    (twice_too_large, "refused", "content", 552),
    (a_little_too_large, "refused", "content", 552),
    (announced_as_too_large, "refused", "content", 552),
    (a_sender_that_may_not_send, "refused", "policy", 553),
    (nobody_who_may_be_sent_to, "refused", "policy", 550),
    (one_of_two_and_the_app_gives_up, "refused", "policy", 550),
    (a_lone_cr, "refused", "content", 554),
    (a_loop, "refused", "policy", 554),
    (written_before_354, "deferred", "content", 421),
    (closed_in_the_middle, "dropped", "", 0),
    (half_closed_in_the_middle, "dropped", "", 0),
    (reset_in_the_middle, "dropped", "", 0),
]


@pytest.mark.promise("audit-and-metrics")
@pytest.mark.parametrize(("end", "outcome", "reason", "code"), ENDS, ids=[each[0].__name__ for each in ENDS])
def test_every_end_of_a_message_is_one_record_and_one_count(
    emulator: EmulatorClient, directory: MailerDirectory, end: Any, outcome: str, reason: str, code: int
) -> None:
    directory.write_for(emulator, recipients=ALLOWED, limits={"messageSize": str(LIMIT)})
    with running(directory.path) as sidecar:
        end(sidecar)
        line = sidecar.event("message")
        assert (line["outcome"], line["reason"], line["code"]) == (outcome, reason, code)
        assert sidecar.metric(f'o365mailer_messages_total{{outcome="{outcome}"}}') == 1
        assert sidecar.stop() == 0
    assert len(sidecar.events("message")) == 1
    assert emulator.messages() == []


@pytest.mark.promise("audit-and-metrics")
def test_a_disk_that_fills_up_while_a_message_arrives_is_in_the_audit(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    directory.write_for(emulator)
    with running(directory.path, prefix=["sh", "-c", 'ulimit -f 600; exec "$@"', "sh"]) as sidecar:
        with begun(sidecar) as app:
            app.send((b"x" * 78 + b"\r\n") * 20_000 + b".\r\n")
            assert app.reply().startswith("452 4.3.1")
        line = sidecar.event("message")
        assert (line["outcome"], line["code"]) == ("deferred", 452)
    assert emulator.messages() == []


def test_a_probe_that_sends_nothing_is_no_message(sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        app.begin()
        assert app.ask("RSET").startswith("250")
        app.begin()
        assert app.ask("QUIT").startswith("221")
    assert sidecar.stop() == 0
    assert sidecar.events("message") == []
