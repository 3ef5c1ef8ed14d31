"""Policy on the wire: what the app reads, and what Exchange gets."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

REST = b"To: a@example.com\r\nSubject: caf\xc3\xa9\r\nDate: Mon, 23 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@app>\r\n"
BODY = b"\r\n..\xe4 body\r\n"
ARRIVED = b"\r\n.\xe4 body\r\n"


@contextmanager
def obeying(emulator: EmulatorClient, directory: MailerDirectory, **settings: Any) -> Iterator[Sidecar]:
    """A sidecar whose mailer says this from the start."""
    directory.write_for(emulator, **settings)
    with running(directory.path) as sidecar:
        yield sidecar


def content(emulator: EmulatorClient) -> bytes:
    """The one message that arrived, after our Received line."""
    (message,) = emulator.messages()
    _, _, rest = base64.b64decode(message["content"]).partition(b" +0000\r\n")
    return rest


@pytest.mark.promise("senders-restricted")
def test_a_sender_that_is_not_allowed_is_refused_at_mail(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        app.ask("EHLO x")
        assert app.ask("MAIL FROM:<boss@contoso.com>") == (
            "553 5.7.1 <boss@contoso.com> may not send here, only noreply@contoso.com: send from that, or add the "
            "address to the mailer's spec.senders.allowed"
        )
        app.begin()
        answer = app.deliver(b"From: boss@contoso.com\r\n" + REST + BODY)
        assert answer.startswith("550 5.7.1 From names <boss@contoso.com>, who may not send here: write noreply@")
        assert emulator.counters()["connections"] == 0
        app.begin()
        assert app.deliver(b"From: noreply@contoso.com\r\n" + REST + BODY).startswith("250")
    assert content(emulator) == b"From: noreply@contoso.com\r\n" + REST + ARRIVED


@pytest.mark.promise("senders-restricted")
def test_an_allowed_domain_sends_without_a_restart(
    emulator: EmulatorClient, directory: MailerDirectory, sidecar: Sidecar
) -> None:
    senders = {"allowed": ["@contoso.com"]}
    directory.write_for(emulator, revision=2, senders=senders, requires=["senders.allowed"])
    sidecar.event("mailer_read", revision=2)
    with Wire(sidecar.port) as app:
        app.begin("boss@contoso.com")
        answer = app.deliver(b"From: Boss <boss@contoso.com>\r\n" + REST + BODY)
    # Exchange has the last word: this mailbox was never given the right to send as the boss.
    assert answer.startswith("554 5.2.252 SendAsDenied; noreply@contoso.com not allowed to send as boss@contoso.com")


@pytest.mark.promise("rewrite-sends-as-the-mailbox")
def test_rewriting_changes_the_author_and_not_one_byte_more(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    with obeying(emulator, directory, senders={"onMismatch": "Rewrite"}) as sidecar, Wire(sidecar.port) as app:
        app.begin("boss@fabrikam.com")
        answer = app.deliver(b"From: Boss <boss@fabrikam.com>\r\n" + REST + b"\r\n" + b"..x\r\n" * 40_000)
        assert answer.startswith("250"), answer
    (message,) = emulator.messages()
    assert message["reversePath"] == "noreply@contoso.com"
    assert content(emulator) == (
        b"From: Boss <noreply@contoso.com>\r\nReply-To: Boss <boss@fabrikam.com>\r\n"
        + REST + b"\r\n" + b".x\r\n" * 40_000
    )  # fmt: skip
    assert f"SIZE={len(base64.b64decode(message['content']))}" in message["parameters"]


@pytest.mark.promise("rewrite-sends-as-the-mailbox")
@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "in-a-file"])
def test_rewriting_is_the_same_on_a_connections_later_messages(
    emulator: EmulatorClient, directory: MailerDirectory, size: int
) -> None:
    body = b"\r\n" + b"0123456789\r\n" * (size // 10)
    with obeying(emulator, directory, senders={"onMismatch": "Rewrite"}) as sidecar, Wire(sidecar.port) as app:
        for _ in range(2):
            app.begin("boss@contoso.com")
            assert app.deliver(b"From: The Boss <boss@contoso.com>\r\n" + REST + body).startswith("250")
    assert emulator.counters()["connections"] == 1
    assert len(emulator.messages()) == 2
    head = b"From: The Boss <noreply@contoso.com>\r\nReply-To: The Boss <boss@contoso.com>\r\n"
    for message in emulator.messages():
        arrived = base64.b64decode(message["content"])
        assert arrived.partition(b" +0000\r\n")[2] == head + REST + body


@pytest.mark.promise("recipients-restricted")
def test_a_recipient_of_another_domain_is_refused_at_rcpt(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    recipients = {"allowedDomains": ["example.com"], "maxPerMessage": 2}
    with (
        obeying(emulator, directory, recipients=recipients, requires=["recipients.allowedDomains"]) as sidecar,
        Wire(sidecar.port) as app,
    ):
        app.begin("noreply@contoso.com", "a@example.com")
        assert app.ask("RCPT TO:<b@fabrikam.com>") == (
            "550 5.7.1 Mail may not go to <b@fabrikam.com>: add its domain to the mailer's "
            "spec.recipients.allowedDomains"
        )
        assert app.ask("RCPT TO:<c@EXAMPLE.com>").startswith("250")
        assert app.ask("RCPT TO:<d@example.com>").startswith("452 4.5.3 Too many recipients: send the message again")
        assert app.deliver(REST + BODY).startswith("250")
    (message,) = emulator.messages()
    assert message["recipients"] == ["a@example.com", "c@EXAMPLE.com"]


@pytest.mark.promise("redirect-replaces-every-recipient")
def test_a_staging_cluster_mails_no_customer_bcc_included(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    recipients = {"redirectTo": "staging@contoso.com"}
    with (
        obeying(emulator, directory, recipients=recipients, requires=["recipients.redirectTo"]) as sidecar,
        Wire(sidecar.port) as app,
    ):
        app.begin("noreply@contoso.com", "a@example.com", "blind@example.com")
        assert app.deliver(REST + BODY).startswith("250")
    (message,) = emulator.messages()
    assert message["recipients"] == ["staging@contoso.com"]
    assert content(emulator) == (
        b"From: noreply@contoso.com\r\nX-Original-To: <a@example.com>,\r\n <blind@example.com>\r\n" + REST + ARRIVED
    )


@pytest.mark.promise("redirect-replaces-every-recipient")
def test_a_refusal_of_the_redirected_message_names_who_refused(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    emulator.script("rcpt", match="staging@*", reply="550 5.1.10 Recipient not found", times=None)
    with (
        obeying(emulator, directory, recipients={"redirectTo": "staging@contoso.com"}) as sidecar,
        Wire(sidecar.port) as app,
    ):
        app.begin("noreply@contoso.com", "a@example.com", "b@example.com")
        assert app.deliver(REST + BODY).startswith("550 5.1.10 <staging@contoso.com>: Recipient not found")


@pytest.mark.promise("redirect-replaces-every-recipient")
def test_a_message_without_headers_keeps_its_body_when_redirected(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    with (
        obeying(emulator, directory, recipients={"redirectTo": "staging@contoso.com"}) as sidecar,
        Wire(sidecar.port) as app,
    ):
        app.begin()
        assert app.deliver(b"only a body\r\n").startswith("250")
    (message,) = emulator.messages()
    assert "X-Original-To" in dict(message["headers"])
    assert base64.b64decode(message["content"]).endswith(b"<a@example.com>\r\n\r\nonly a body\r\n")


@pytest.mark.promise("senders-restricted")
@pytest.mark.parametrize(("word", "reverse_path"), [("Mailbox", "noreply@contoso.com"), ("Keep", "")])
def test_an_empty_reverse_path_is_taken_and_sent_as_the_setting_says(
    emulator: EmulatorClient, directory: MailerDirectory, word: str, reverse_path: str
) -> None:
    emulator.settings(nullSender="taken")
    with obeying(emulator, directory, senders={"nullReversePath": word}) as sidecar, Wire(sidecar.port) as app:
        app.begin("")
        answer = app.deliver(REST + BODY)
    assert answer.startswith("250"), answer
    (message,) = emulator.messages()
    assert message["reversePath"] == reverse_path


@pytest.mark.promise("smtp-conformance")
def test_a_message_that_goes_round_is_stopped(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    hop = b"Received: by a; Mon, 23 Nov 2026 20:00:00 +0000\r\n"
    with Wire(sidecar.port) as app:
        app.begin()
        assert app.deliver(hop * 51 + REST + BODY).startswith(
            "554 5.4.6 More than 50 Received headers: the message goes round in a loop ["
        )
        app.begin()
        assert app.deliver(hop * 50 + REST + BODY).startswith("250")
    assert len(emulator.messages()) == 1


@pytest.mark.promise("senders-restricted")
def test_a_mailer_that_comes_after_mail_was_said_is_obeyed(
    emulator: EmulatorClient, directory: MailerDirectory, idle_sidecar: Sidecar
) -> None:
    with Wire(idle_sidecar.port) as app:
        app.begin("boss@contoso.com")
        directory.write_for(emulator)
        idle_sidecar.event("mailer_read")
        assert app.deliver(REST + BODY).startswith("553 5.7.1 <boss@contoso.com> may not send here")
    assert emulator.messages() == []


ADDED = b"From: noreply@contoso.com\r\n"
CRON = b"From: root (Cron Daemon)\r\n"


@pytest.mark.promise("message-unchanged")
@pytest.mark.parametrize(
    ("senders", "sent", "arrived"),
    [pytest.param({}, REST, ADDED + REST, id="from-is-absent"),
     pytest.param({}, ADDED + b"Bcc: v@w.x,\r\n v@w.y\r\n" + REST, ADDED + REST, id="bcc"),
     pytest.param({}, b"From root@h Mon Jan  1 00:00:00 2024\r\n" + ADDED + REST, ADDED + REST, id="mbox"),
     pytest.param({}, b"\xef\xbb\xbf" + ADDED + REST, ADDED + REST, id="bom"),
     pytest.param({"onMismatch": "Rewrite"}, CRON + REST, b'From: "Cron Daemon" <noreply@contoso.com>\r\n' + REST,
                  id="rewrite-a-comment")],
)  # fmt: skip
@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "in-a-file"])
def test_the_header_is_changed_by_the_table_and_the_body_not_at_all(
    emulator: EmulatorClient,
    directory: MailerDirectory,
    senders: dict[str, Any],
    sent: bytes,
    arrived: bytes,
    size: int,
) -> None:
    body = b"\r\nBcc: body\r\n" + b"0123456789\r\n" * (size // 10)
    with obeying(emulator, directory, senders=senders) as sidecar, Wire(sidecar.port) as app:
        app.begin()
        answer = app.deliver(sent + body)
    assert answer.startswith("250"), answer
    assert content(emulator) == arrived + body


@pytest.mark.promise("senders-restricted")
@pytest.mark.parametrize(
    "author",
    [b"From: boss@contoso.com <noreply@contoso.com>", b"From: boss@contoso.com: noreply@contoso.com;",
     b"X: y\r\nFrom\x0b: boss@contoso.com", b"From: Shop, Inc <noreply@contoso.com>"],
    ids=["name", "group", "vertical-tab", "comma"],
)  # fmt: skip
def test_an_author_that_only_some_readers_find_is_refused_with_the_fix(
    emulator: EmulatorClient, sidecar: Sidecar, author: bytes
) -> None:
    with Wire(sidecar.port) as app:
        app.begin()
        answer = app.deliver(author + b"\r\n" + REST + BODY)
        assert answer.startswith("554 5.6.0 "), answer
        assert "From" in answer and "user@example.com" in answer  # noqa: PT018  # both tell the fix
        assert emulator.counters()["connections"] == 0
        app.begin()
        assert app.deliver(b'From: "boss@contoso.com, Inc" <noreply@contoso.com>\r\n' + REST + BODY).startswith("250")
