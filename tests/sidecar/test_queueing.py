"""With a spool: what an app is told, and what a 250 stands on."""

from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Wire, running
from support.spooling import TEXT, begin_data, dead, history, nowhere, number, queued, spooling, submit
from support.waiting import eventually

BUSY = "451 4.7.500 Server busy. Please try again later"
UNKNOWN = "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found"


@pytest.mark.promise("spool-survives-crash", "outage-is-answered-at-once")
def test_while_exchange_is_away_a_message_is_on_disk_before_its_250(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        replies = [submit(sidecar) for _ in range(3)]
        for reply in replies:
            assert reply.startswith("250 2.0.0 Queued here, not with Office 365 yet: Office 365 cannot be reached: ")
            assert "has it" not in reply
            assert "try again" not in reply
        assert queued(tmp_path) == sorted(number(reply) for reply in replies)
        assert sidecar.metric('o365mailer_messages_total{outcome="queued"}') == 3
        assert sidecar.metric("o365mailer_spool_messages") == 3
        assert sidecar.events("message") == [], "a message that waits is not at its end"
    directory.write_for(emulator)
    with spooling(directory, tmp_path) as sidecar:
        arrived = emulator.messages(atleast=3, wait=20)
        for reply in replies:
            assert sidecar.event("message", queue_id=number(reply))["outcome"] == "accepted"
        assert sidecar.metric("o365mailer_message_seconds_count") == 3
        assert sidecar.metric("o365mailer_upstream_seconds_count") == 3
    received = sorted(dict(message["headers"])["Received"] for message in arrived)
    for reply in replies:
        assert any(f"id {number(reply)};" in line for line in received)
    assert queued(tmp_path) == []


@pytest.mark.promise("outage-is-answered-at-once")
def test_a_mailer_that_has_no_token_yet_queues_too(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    with spooling(directory, tmp_path) as sidecar:
        assert submit(sidecar).startswith(
            "250 2.0.0 Queued here, not with Office 365 yet: The relay waits for its mailer"
        )
        directory.write_for(emulator)
        emulator.messages(atleast=1, wait=20)


@pytest.mark.promise("outage-is-answered-at-once")
def test_what_is_not_allowed_is_refused_though_exchange_is_away(directory: MailerDirectory, tmp_path: Path) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        assert submit(sidecar).startswith("250 2.0.0 Queued")
        foreign = b"From: someone@elsewhere.example\r\n" + TEXT
        assert submit(sidecar, content=foreign).startswith("550 5.7.1 From names <someone@elsewhere.example>")
        assert len(queued(tmp_path)) == 1


@pytest.mark.promise("spool-retries")
def test_a_recipient_whose_mailbox_is_full_is_tried_on_its_own_schedule(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("rcpt", match="full@*", reply="552 5.2.2 mailbox full", times=None)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        waits = number(submit(sidecar, "full@example.com"))
        for _ in range(5):  # each would start the next attempt at once, if the mailer's own mailbox was meant
            assert submit(sidecar).startswith("250 2.0.0 Office 365 has it")
        assert [(event["event"], event["reason"]) for event in history(tmp_path, waits)] == [
            ("attempt", "mailbox-full")
        ]


@pytest.mark.promise("spool-survives-crash", "spool-retries")
def test_what_exchange_defers_is_queued_and_tried_again_within_seconds(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("body", reply=BUSY)
    with spooling(directory, tmp_path) as sidecar:
        reply = submit(sidecar)
        assert reply.startswith(
            "250 2.0.0 Queued here, not with Office 365 yet: Office 365 said 451 4.7.500 Server busy"
        )
        (event,) = history(tmp_path, number(reply))
        assert (event["event"], event["outcome"], event["reason"]) == ("attempt", "deferred", "server-busy")
        emulator.messages(atleast=1, wait=30)
        assert sidecar.event("message")["attempts"] == 2
    assert queued(tmp_path) == []


@pytest.mark.promise("spool-retries")
def test_a_refusal_for_good_stays_exchanges_own_and_leaves_nothing(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("rcpt", reply=UNKNOWN)
    with spooling(directory, tmp_path) as sidecar:
        assert submit(sidecar).startswith("550 5.1.10 <a@example.com>: RESOLVER.ADR.RecipientNotFound")
        assert sidecar.event("message")["outcome"] == "refused"
    assert (queued(tmp_path), dead(tmp_path)) == ([], [])


@pytest.mark.promise("spool-retries")
def test_a_verdict_that_was_lost_is_queued_with_the_message_id_that_it_had(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("body", close=True, record=True)
    with spooling(directory, tmp_path) as sidecar:
        assert submit(sidecar).startswith("250 2.0.0 Queued here, not with Office 365 yet: No verdict from Office 365")
    first, again = emulator.messages(atleast=2, wait=1)
    assert first["content"] == again["content"], "the same Date and Message-ID: who reads it sees one mail"


@pytest.mark.promise("spool-survives-crash", "spool-retries")
def test_where_nothing_can_be_stored_the_app_keeps_its_message(directory: MailerDirectory, tmp_path: Path) -> None:
    """A disk that takes no file of that size stands for one that is full: both refuse the write."""
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True, prefix=("prlimit", "--fsize=20000")) as sidecar:
        kept = submit(sidecar)
        assert kept.startswith("250 2.0.0 Queued")
        reply = submit(sidecar, content=b"x" * 70 * 1000 + b"\r\n")
        assert reply.startswith("452 4.3.1 The message cannot be queued: ")
        assert queued(tmp_path) == [number(kept)], "what was accepted is safe"
        assert sidecar.event("message", outcome="deferred")["reason"] == "spool"


@pytest.mark.promise("spool-retries")
def test_a_spool_that_is_full_by_its_limits_says_so(directory: MailerDirectory, tmp_path: Path) -> None:
    nowhere(directory, delivery={"spool": {"maxMessages": 1}})
    with spooling(directory, tmp_path, stays=True) as sidecar:
        assert submit(sidecar).startswith("250 2.0.0 Queued")
        assert submit(sidecar).startswith("452 4.3.1 The message cannot be queued: the spool holds 1 messages")


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_when_the_apps_time_is_over_the_message_is_queued_and_the_running_attempt_decides(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery={"confirmWithin": "300ms"})
    emulator.script("body", stall=True)
    with spooling(directory, tmp_path) as sidecar:
        reply = submit(sidecar)
        assert reply.startswith("250 2.0.0 Queued here, not with Office 365 yet: no verdict within 300ms")
        assert queued(tmp_path) == [number(reply)]
        assert emulator.messages() == []
        emulator.events("stalled", atleast=1, wait=10)
        emulator.release()
        assert sidecar.event("message", queue_id=number(reply))["outcome"] == "accepted"
        eventually(lambda: not queued(tmp_path))
    assert len(emulator.messages()) == 1


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_a_message_that_still_waits_for_its_turn_is_queued_and_sent_once(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery={"confirmWithin": "300ms"}, limits={"connections": 1})
    emulator.script("body", stall=True)
    with spooling(directory, tmp_path) as sidecar:
        replies = [submit(sidecar) for _ in range(4)]
        assert all(reply.startswith("250 2.0.0 Queued") for reply in replies)
        assert queued(tmp_path) == sorted(number(reply) for reply in replies)
        emulator.events("stalled", atleast=1, wait=10)
        emulator.release()
        emulator.messages(atleast=4, wait=20)
        eventually(lambda: not queued(tmp_path))
    assert len(emulator.messages()) == 4


@pytest.mark.promise("failed-mail-is-reported", "app-gets-exchanges-verdict")
def test_a_running_attempt_that_is_refused_makes_a_dead_letter(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery={"confirmWithin": "300ms"})
    emulator.script("body", stall=True, reply="554 5.6.11 Invalid characters")
    with spooling(directory, tmp_path) as sidecar:
        reply = submit(sidecar)
        emulator.events("stalled", atleast=1, wait=10)
        emulator.release()
        record = sidecar.event("message", queue_id=number(reply))
        assert (record["outcome"], record["code"], record["reason"]) == ("dead", 554, "malformed")
        eventually(lambda: dead(tmp_path) == [number(reply)])
        assert sidecar.metric("o365mailer_spool_dead_messages") == 1
        assert sidecar.metric('o365mailer_messages_total{outcome="dead"}') == 1
    assert queued(tmp_path) == []


@pytest.mark.promise("all-recipients-or-none")
def test_a_message_for_some_of_its_recipients_is_on_disk_before_its_body_leaves(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("rcpt", match="b@*", reply="450 4.2.1 Try later")
    emulator.script("body", stall=True)
    with spooling(directory, tmp_path) as sidecar, Wire(sidecar.port) as app:
        begin_data(app, "a@example.com", "b@example.com")
        emulator.events("stalled", atleast=1, wait=10)
        assert len(queued(tmp_path)) == 1
        sidecar.process.kill()
        sidecar.ended()
    emulator.control("DELETE", "/script")
    emulator.reset()
    with spooling(directory, tmp_path):
        arrived = emulator.messages(atleast=1, wait=30)
    assert {to for message in arrived for to in message["recipients"]} == {"a@example.com", "b@example.com"}


@pytest.mark.promise("all-recipients-or-none")
def test_one_reply_counts_what_became_of_each_recipient(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("rcpt", match="b@*", reply="450 4.2.1 Try later")
    emulator.script("rcpt", match="c@*", reply=UNKNOWN, times=None)
    with spooling(directory, tmp_path) as sidecar:
        reply = submit(sidecar, "a@example.com", "b@example.com", "c@example.com")
        assert reply.startswith(
            "250 2.0.0 Office 365 has it for 1 of 3 recipients; 1 queued here, 1 refused: 450 4.2.1"
        )
        (event,) = history(tmp_path, number(reply))
        assert event["accepted"] == ["a@example.com"]
        assert set(event["refused"]) == {"c@example.com"}
    assert [message["recipients"] for message in emulator.messages()] == [["a@example.com"], ["b@example.com"]]
    record = sidecar.event("message", queue_id=number(reply))
    assert (record["outcome"], record["undelivered"]) == ("dead", 1)
    assert (queued(tmp_path), dead(tmp_path)) == ([], [number(reply)])


@pytest.mark.promise("all-recipients-or-none")
def test_without_room_in_the_spool_no_recipient_gets_a_message_that_not_all_would_get(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery={"spool": {"maxSize": "1"}})
    emulator.script("rcpt", match="b@*", reply="450 4.2.1 Try later", times=None)
    with spooling(directory, tmp_path) as sidecar:
        assert submit(sidecar, "a@example.com", "b@example.com").startswith("452 4.3.1 The message cannot be queued: ")
    assert emulator.messages() == []


@pytest.mark.promise("spool-needs-an-open-mailbox")
def test_a_mailbox_that_does_not_let_us_in_is_not_queued_for_until_it_takes_a_message(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("auth", reply="535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled")
    with spooling(directory, tmp_path) as sidecar:
        for _ in range(2):
            assert submit(sidecar).startswith("451 4.7.8 Office 365 refuses the mailer's token for noreply@contoso.com")
        sidecar.event("mailbox_in_doubt")
        assert queued(tmp_path) == []
        directory.write_for(emulator)
        assert submit(sidecar).startswith("250 2.0.0 Office 365 has it")
        sidecar.event("message", outcome="accepted")
        assert len(sidecar.events("mailbox_in_doubt")) == 1
        emulator.script("body", reply=BUSY)
        assert submit(sidecar).startswith("250 2.0.0 Queued")


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_the_verdict_that_an_app_did_not_wait_for_is_not_retried(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("rcpt", match="b@*", reply="450 4.2.1 Try later")
    emulator.script("body", stall=True)
    with spooling(directory, tmp_path) as sidecar:
        app = Wire(sidecar.port)
        begin_data(app, "a@example.com", "b@example.com")
        emulator.events("stalled", atleast=1, wait=10)
        app.socket.close()
        eventually(lambda: sidecar.metric("o365mailer_sessions") == 0)
        emulator.release()
        assert sidecar.event("message", outcome="orphaned")
        eventually(lambda: not queued(tmp_path))
    assert [message["recipients"] for message in emulator.messages()] == [["a@example.com"]]


def test_auth_is_not_offered_where_the_mailer_says_so(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    directory.write_for(emulator, delivery={"offerAuth": False})
    with running(directory.path) as sidecar, Wire(sidecar.port) as app:
        eventually(lambda: "AUTH" not in app.ask("EHLO x"))
        assert app.ask("AUTH PLAIN AGEAYQ==") == "502 5.5.1 AUTH is not offered here (delivery.offerAuth of the mailer)"
        app.begin()
        assert app.deliver(TEXT).startswith("250")
