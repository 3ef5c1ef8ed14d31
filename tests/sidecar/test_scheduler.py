"""How spooled mail leaves: by due time, a few at once, and no message blocks another."""

import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory
from support.spooling import TEXT, history, nowhere, number, queued, spooling, submit
from support.waiting import eventually

from o365mailer_sidecar.queue.service import write_termination_message

ALLOWED = {"allowed": ["@contoso.com"]}


@pytest.mark.promise("spool-retries")
def test_a_message_that_breaks_every_connection_blocks_no_other(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory, senders=ALLOWED)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        poison = number(submit(sidecar, sender="poison@contoso.com"))
        for _ in range(4):
            submit(sidecar)
    emulator.script("mail", match="poison@*", close=True, times=None)
    directory.write_for(emulator, senders=ALLOWED, limits={"connections": 1})
    with spooling(directory, tmp_path, stays=True):
        emulator.messages(atleast=4, wait=20)
        eventually(lambda: queued(tmp_path) == [poison])
    assert history(tmp_path, poison)[-1]["reason"] == "connection-lost"


@pytest.mark.promise("spool-retries")
def test_an_outage_is_no_attempt_of_any_message(directory: MailerDirectory, tmp_path: Path) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        replies = [submit(sidecar) for _ in range(3)]
        eventually(lambda: sidecar.metric('o365mailer_upstream_connections_total{result="away"}') >= 3, within=30)
        for reply in replies:
            assert [line for line in history(tmp_path, number(reply)) if line["event"] == "attempt"] == []


@pytest.mark.promise("spool-retries")
def test_mail_of_apps_is_served_while_a_backlog_drains(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    backlog = 20
    with spooling(directory, tmp_path, stays=True) as sidecar:
        for _ in range(backlog):
            submit(sidecar)
    emulator.script("body", delay=0.3, times=None)
    directory.write_for(emulator)
    with spooling(directory, tmp_path) as sidecar:
        emulator.messages(atleast=2, wait=20)
        fresh = submit(sidecar)
        assert fresh.startswith("250 2.0.0 Office 365 has it")
        arrived = emulator.messages(atleast=backlog + 1, wait=30)
    places = [f"id {number(fresh)};" in dict(message["headers"])["Received"] for message in arrived]
    assert places.index(True) < backlog - 3


@pytest.mark.promise("spool-retries")
def test_a_backlog_uses_the_connections_that_the_mailer_allows(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        for _ in range(8):
            submit(sidecar)
    emulator.script("body", delay=0.3, times=None)
    directory.write_for(emulator, limits={"connections": 2})
    with spooling(directory, tmp_path):
        emulator.messages(atleast=8, wait=30)
    assert emulator.counters()["authenticatedPeak"] == 2


@pytest.mark.promise("spool-retries")
def test_a_token_that_comes_is_used_without_waiting_for_a_schedule(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("body", reply="451 4.7.0 Temporary server error")
    with spooling(directory, tmp_path) as sidecar:
        submit(sidecar)
        emulator.script("auth", reply="535 5.7.3 Authentication unsuccessful")
        emulator.disconnect()
        sidecar.event("upstream_token_refused", within=30)
        assert emulator.messages() == []
        directory.write_for(emulator, revision=2)
        emulator.messages(atleast=1, wait=20)


@pytest.mark.promise("spool-retries")
def test_two_processes_share_a_spool_and_what_a_dead_one_left_is_found(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path) as first:
        with spooling(directory, tmp_path) as second:
            left = [number(submit(first)), number(submit(second))]
            first.process.kill()
            first.ended()
            second.process.kill()
            second.ended()
        assert len(list((tmp_path / "spool").glob("*/queue"))) == 2
        assert queued(tmp_path) == sorted(left)
    directory.write_for(emulator)
    with spooling(directory, tmp_path), spooling(directory, tmp_path):
        emulator.messages(atleast=2, wait=20)
    assert queued(tmp_path) == []


@pytest.mark.promise("spool-retries")
def test_what_is_changed_by_hand_is_obeyed_at_a_hang_up(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("body", reply="451 4.7.0 Temporary server error", times=2)
    with spooling(directory, tmp_path) as sidecar:
        dropped, kept = number(submit(sidecar)), number(submit(sidecar))
        (file,) = tmp_path.glob(f"spool/*/queue/{dropped}")
        file.unlink()
        with next(tmp_path.glob(f"spool/*/queue/{kept}")).open("ab") as lines:
            lines.write(b'{"at":"2026-11-25T12:00:00Z","event":"retry"}\n')
        sidecar.process.send_signal(signal.SIGHUP)
        assert sidecar.event("spool_reread")["gone"] == 1
        (message,) = emulator.messages(atleast=1, wait=5)
        assert f"id {kept};" in dict(message["headers"])["Received"]


@pytest.mark.promise("spool-retries")
def test_a_damaged_file_is_set_aside_and_stops_nothing(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        torn, whole = number(submit(sidecar)), number(submit(sidecar))
    (file,) = tmp_path.glob(f"spool/*/queue/{torn}")
    file.write_bytes(file.read_bytes().replace(b"body", b"b0dy"))
    directory.write_for(emulator)
    with spooling(directory, tmp_path) as sidecar:
        (message,) = emulator.messages(atleast=1, wait=20)
        assert f"id {whole};" in dict(message["headers"])["Received"]
        sidecar.event("spool_damaged", queue_id=torn)
        assert sidecar.metric("o365mailer_spool_damaged_messages") == 1


@pytest.mark.promise("shutdown-keeps-mail")
def test_sigterm_tries_everything_once_more_whatever_its_schedule(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("body", reply="451 4.7.0 Temporary server error", times=4)
    with spooling(directory, tmp_path) as sidecar:
        for _ in range(4):
            assert submit(sidecar).startswith("250 2.0.0 Queued")
    assert len(emulator.messages()) == 4
    assert sidecar.event("stopped")["left_in_spool"] == 0


@pytest.mark.promise("shutdown-keeps-mail")
def test_what_sigterm_leaves_is_one_line_a_message_and_an_exit_status(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    emulator.script("body", reply="451 4.7.0 Temporary server error", times=None)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        left = sorted(number(submit(sidecar)) for _ in range(2))
    lines = sidecar.events("left_in_spool")
    assert sorted(line["queue_id"] for line in lines) == left
    assert [line["attempts"] for line in lines] == [2, 2]
    assert sidecar.event("stopped")["left_in_spool"] == 2
    assert queued(tmp_path) == left


@pytest.mark.promise("shutdown-keeps-mail")
def test_sigterm_while_exchange_stalls_ends_with_the_grace_and_keeps_the_message(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery={"confirmWithin": "300ms"})
    emulator.script("data", stall=True, times=None)
    with spooling(directory, tmp_path, stays=True, arguments=("--grace", "1s")) as sidecar:
        kept = number(submit(sidecar))
    assert sidecar.event("stopped")["left_in_spool"] == 1
    emulator.reset()
    directory.write_for(emulator)
    with spooling(directory, tmp_path):
        (message,) = emulator.messages(atleast=1, wait=20)
    assert f"id {kept};" in dict(message["headers"])["Received"]


@pytest.mark.promise("audit-and-metrics")
def test_an_outage_is_a_few_lines_not_one_a_message(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path) as sidecar:
        before = len(sidecar.log)
        threads = [threading.Thread(target=submit, args=(sidecar,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(queued(tmp_path)) == 20
        assert len(sidecar.log) - before < 5
        directory.write_for(emulator)
        sidecar.event("message", nth=20, outcome="accepted", within=30)
    assert len(emulator.messages()) == 20


@pytest.mark.promise("audit-and-metrics")
def test_the_record_of_a_spooled_message_says_what_became_of_it(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, logAddresses=True)
    emulator.script("body", reply="451 4.7.0 Temporary server error")
    emulator.script("body", delay=0.1)
    with spooling(directory, tmp_path) as sidecar:
        reply = submit(sidecar, "a@example.com", content=b"Message-ID: <1@app.example>\r\n" + TEXT)
    (record,) = sidecar.events("message")
    assert record["queue_id"] == number(reply)
    assert (record["outcome"], record["code"], record["attempts"], record["recipients"]) == ("accepted", 250, 2, 1)
    assert (record["sender"], record["to"]) == ("noreply@contoso.com", "a@example.com")
    assert record["exchange_id"] == "1@app.example"
    assert record["exchange_host"]
    assert 0 < record["upstream_seconds"] <= record["seconds"] < 60


@pytest.mark.promise("spool-survives-crash")
def test_a_message_has_the_date_and_message_id_of_its_first_attempt(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        reply = submit(sidecar)
        taken = datetime.now(UTC)
    time.sleep(2)  # Date and Message-ID have seconds: those of a second attempt would differ now
    directory.write_for(emulator)
    with spooling(directory, tmp_path):
        (message,) = emulator.messages(atleast=1, wait=20)
    headers = dict(message["headers"])
    assert parsedate_to_datetime(headers["Date"]) <= taken
    stamp = headers["Message-ID"].partition("@")[0].removeprefix(f"<{number(reply)}.")
    assert stamp <= f"{taken:%Y%m%d%H%M%S}"


@pytest.mark.promise("spool-retries")
def test_a_message_on_hold_stays_until_it_is_released(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    def by_hand(*words: str) -> None:
        command = [sys.executable, "-m", "o365mailer_sidecar.main", "spool", words[0]]
        subprocess.run([*command, "--spool-dir", str(tmp_path / "spool"), *words[1:]], check=True, capture_output=True)

    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        held, other = number(submit(sidecar)), number(submit(sidecar))
        by_hand("hold", held)
        sidecar.event("spool_reread", changed=1)
    directory.write_for(emulator)
    with spooling(directory, tmp_path) as sidecar:
        (message,) = emulator.messages(atleast=1, wait=20)
        assert f"id {other};" in dict(message["headers"])["Received"]
        eventually(lambda: queued(tmp_path) == [held])
        by_hand("release", held)
        emulator.messages(atleast=2, wait=20)


def test_the_pods_termination_message_names_what_is_left(tmp_path: Path) -> None:
    there = tmp_path / "termination-log"
    there.touch()
    write_termination_message(["A1", "B2"], path=there)
    assert there.read_text() == "2 messages stay in the spool: A1 B2"
    write_termination_message((f"{count:012}" for count in range(1000)), path=there)
    assert len(there.read_bytes()) == 4096
    write_termination_message(["A1"], path=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.promise("spool-retries")
def test_what_is_not_due_at_exchange_yet_is_not_asked_about_again_and_again(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, limits={"messagesPerMinute": 1})
    with spooling(directory, tmp_path, stays=True, arguments=("--log-level", "debug")) as sidecar:
        assert submit(sidecar).startswith("250 2.0.0 Office 365 has it")
        for _ in range(4):
            assert submit(sidecar).startswith("250 2.0.0 Queued here, not with Office 365 yet: ")
        time.sleep(2)  # what is not done has no event
        assert len(sidecar.events("attempt")) <= 4
    assert len(emulator.messages()) == 1
    assert len(queued(tmp_path)) == 4
