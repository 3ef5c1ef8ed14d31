"""Spooled mail that fails for good: what the relay keeps of it, and who gets a notice.

SIGTERM tries everything once more: these tests wait for no schedule.
"""

import base64
from pathlib import Path
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire
from support.spooling import TEXT, dead, history, number, queued, spooling, submit

BUSY = "451 4.7.0 Temporary server error"
REFUSED = "554 5.6.11 Invalid characters"


def fail(
    emulator: EmulatorClient,
    sidecar: Sidecar,
    *,
    content: bytes = TEXT,
    sender: str = "noreply@contoso.com",
    notify: str = "",
) -> str:
    """Queue a message that is deferred now and refused the next time; its queue id."""
    emulator.script("body", reply=BUSY)
    emulator.script("body", reply=REFUSED, match="*")
    with Wire(sidecar.port) as app:
        for command in ("EHLO x", f"MAIL FROM:<{sender}>", f"RCPT TO:<a@example.com>{notify}"):
            assert app.ask(command).startswith("250")
        reply = app.deliver(content)
    assert reply.startswith("250 2.0.0 Queued"), reply
    return number(reply)


def text(message: dict[str, Any]) -> str:
    """The bytes that the mailbox got, as text."""
    return base64.b64decode(message["content"]).decode()


@pytest.mark.promise("failed-mail-is-reported")
def test_a_spooled_message_that_is_refused_is_a_dead_letter_a_metric_and_a_record(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    with spooling(directory, tmp_path) as sidecar:
        failed = fail(emulator, sidecar)
    (record,) = sidecar.events("message")
    assert (record["queue_id"], record["outcome"], record["undelivered"]) == (failed, "dead", 1)
    assert (record["code"], record["enhanced"], record["reason"]) == (554, "5.6.11", "malformed")
    assert dead(tmp_path) == [failed]
    assert history(tmp_path, failed)[-1]["refused"] == {"a@example.com": REFUSED}
    assert (queued(tmp_path), emulator.messages()) == ([], [])


@pytest.mark.promise("spool-expiry")
def test_a_message_expires_after_an_attempt_that_failed_not_by_age_alone(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery={"spool": {"maxAge": "1ms"}})
    emulator.script("body", reply=BUSY)
    with spooling(directory, tmp_path) as sidecar:
        reply = submit(sidecar)
        record = sidecar.event("message", queue_id=number(reply))
        assert (record["outcome"], record["reason"]) == ("dead", "expired")
    assert dead(tmp_path) == [number(reply)]


@pytest.mark.promise("spool-expiry")
def test_what_has_grown_old_while_nothing_ran_is_tried_before_it_expires(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    with spooling(directory, tmp_path, stays=True) as sidecar:
        submit(sidecar)
    directory.write_for(emulator, delivery={"spool": {"maxAge": "1ms"}})
    with spooling(directory, tmp_path):
        emulator.messages(atleast=1, wait=20)
    assert (queued(tmp_path), dead(tmp_path)) == ([], [])


@pytest.mark.promise("failed-mail-is-reported")
def test_the_sender_is_told_where_the_mailer_says_so(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery={"notify": "sender"})
    with spooling(directory, tmp_path) as sidecar:
        content = b"Subject: Invoice 7\r\nTo: a@example.com\r\nMessage-ID: <7@app.example>\r\n\r\nsecret-body\r\n"
        failed = fail(emulator, sidecar, content=content)
    (notice,) = emulator.messages()
    headers = dict(notice["headers"])
    assert notice["recipients"] == ["noreply@contoso.com"]
    assert notice["reversePath"] == "noreply@contoso.com"
    assert headers["Auto-Submitted"] == "auto-replied"
    assert headers["Subject"] == "Undelivered: Invoice 7"
    assert headers["References"] == "<7@app.example>"
    said = text(notice)
    for expected in (failed, "Invoice 7", "<7@app.example>", f"<a@example.com>: {REFUSED}"):
        assert expected in said
    assert "secret-body" not in said
    assert dead(tmp_path) == [failed]


@pytest.mark.promise("failed-mail-is-reported")
def test_an_address_is_told_and_a_notice_that_fails_is_not_told_about(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery={"notify": "postmaster@contoso.com"})
    emulator.script("rcpt", match="postmaster@*", reply="550 5.1.10 Recipient not found", times=None)
    with spooling(directory, tmp_path) as sidecar:
        fail(emulator, sidecar)
    assert emulator.messages() == []
    assert len(dead(tmp_path)) == 2
    assert len(sidecar.events("message", outcome="dead")) == 2


@pytest.mark.promise("failed-mail-is-reported")
def test_a_notice_reaches_an_address_that_is_not_ascii(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    address = "\xf8ps@contoso.com"
    directory.write_for(emulator, delivery={"notify": address})
    with spooling(directory, tmp_path) as sidecar:
        fail(emulator, sidecar)
    (notice,) = emulator.messages()
    assert notice["recipients"] == [address]
    assert "SMTPUTF8" in notice["parameters"]
    assert f"To: <{address}>\r\n" in text(notice)


@pytest.mark.promise("failed-mail-is-reported")
@pytest.mark.parametrize(
    ("sender", "notify", "content"),
    [("", "", TEXT),
     ("noreply@contoso.com", " NOTIFY=NEVER", TEXT),
     ("noreply@contoso.com", "", b"Auto-Submitted: auto-generated\r\n" + TEXT),
     ("noreply@contoso.com", "", b"Content-Type: multipart/report;\r\n report-type=delivery-status\r\n" + TEXT)],
    ids=["null-reverse-path", "never", "auto-submitted", "report"],
)  # fmt: skip
def test_there_is_no_notice_that_no_person_waits_for(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path, sender: str, notify: str, content: bytes
) -> None:
    directory.write_for(emulator, delivery={"notify": "sender"})
    with spooling(directory, tmp_path) as sidecar:
        failed = fail(emulator, sidecar, sender=sender, notify=notify, content=content)
    assert sidecar.events("message", queue_id=failed, outcome="dead")
    assert (emulator.messages(), dead(tmp_path)) == ([], [failed])


def test_dead_letters_go_when_their_time_is_over(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    with spooling(directory, tmp_path) as sidecar:
        failed = fail(emulator, sidecar)
    assert dead(tmp_path) == [failed]
    directory.write_for(emulator, delivery={"spool": {"keepDead": "1ms"}})
    with spooling(directory, tmp_path) as sidecar:
        sidecar.event("dead_letters_removed")
    assert dead(tmp_path) == []
