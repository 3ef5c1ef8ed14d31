"""`o365mailer run` relays mail, and keeps its token fresh, with nothing but files or variables."""

import os
import signal
import smtplib
import threading
from pathlib import Path
from typing import Any

import pytest
from support.emulator_client import EmulatorClient


@pytest.mark.promise("run-without-kubernetes")
def test_a_mail_reaches_the_mailbox_before_and_after_the_token_is_replaced(
    emulator: EmulatorClient, files: Any, start: Any, mail: Any
) -> None:
    emulator.settings(tokenLifetime=6)
    run = start(*files.arguments())
    port = run.port()

    for subject in ("first", "second"):
        run.next("token ")
        mail(port, subject)

    messages = emulator.messages(atleast=2)
    assert [dict(message["headers"])["Subject"] for message in messages] == ["first", "second"]
    assert len({message["token"] for message in messages}) == 2
    assert emulator.counters()["authFailed"] == 0


@pytest.mark.promise("run-without-kubernetes")
def test_secrets_may_come_from_the_environment(emulator: EmulatorClient, files: Any, start: Any, mail: Any) -> None:
    run = start(
        "-f",
        str(files.mailer),
        "--listen",
        "127.0.0.1:0",
        environment={
            "O365MAILER_SECRET_NOREPLY_SECRET": emulator.client_secret,
            "O365MAILER_SECRET_EMULATOR_CA_CRT": Path(emulator.ca_file).read_text(),
        },
    )
    port = run.port()
    run.next("token obtained with the Secret noreply/secret, valid until ")

    mail(port)

    assert len(emulator.messages(atleast=1)) == 1


def test_the_document_may_come_from_standard_input_as_yaml(files: Any, start: Any) -> None:
    yaml = f"# a comment\n{files.mailer.read_text()}\n---\n"
    run = start("-f", "-", "--secrets-dir", str(files.secrets), "--listen", "127.0.0.1:0", stdin=yaml)

    run.next("token obtained")


def test_it_tells_who_where_and_until_when(emulator: EmulatorClient, files: Any, start: Any) -> None:
    run = start(*files.arguments("--listen", "127.0.0.1:0"))
    run.next("token obtained")
    run.process.send_signal(signal.SIGTERM)
    run.ended()

    said = run.said
    assert said[0] == f"noreply: mail goes as {emulator.mailbox} through {emulator.smtp_host}:{emulator.smtp_port}"
    assert said[1].startswith("mail that Office 365 does not take yet waits in ")
    assert sum(line.startswith("health and metrics on http://127.0.0.1:") for line in said) == 1
    assert sum(line.startswith("listening on 127.0.0.1:") for line in said) == 2
    assert sum(line.startswith("token obtained with the Secret noreply/secret, valid until 20") for line in said) == 1


def test_the_relays_log_is_passed_on(files: Any, start: Any, mail: Any) -> None:
    run = start(*files.arguments())
    port = run.port()
    run.next("token obtained")
    mail(port)
    run.process.send_signal(signal.SIGTERM)
    run.ended()

    assert [event["outcome"] for event in run.log if event["event"] == "message"] == ["accepted"]


def test_a_kept_directory_counts_its_revisions_on(files: Any, start: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for revision in (1, 2):
        run = start(*files.arguments("--directory", str(kept)))
        run.next("token obtained")
        run.process.send_signal(signal.SIGTERM)
        assert run.ended() == 0
        assert f'"revision": {revision}' in (kept / "mailer.json").read_text()


@pytest.mark.promise("run-without-kubernetes")
def test_only_its_owner_can_read_the_directory(files: Any, start: Any, tmp_path: Path) -> None:
    run = start(*files.arguments())
    run.next("token obtained")

    (directory,) = tmp_path.glob("o365mailer-*")
    assert directory.stat().st_mode & 0o777 == 0o700
    everything = [path for path in directory.rglob("*") if not path.is_symlink()]
    assert {path.stat().st_mode & 0o777 for path in everything if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in everything if path.is_dir()} == {0o700}


@pytest.mark.promise("run-stops-cleanly")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(files: Any, start: Any, tmp_path: Path, number: signal.Signals) -> None:
    run = start(*files.arguments())
    run.next("token obtained")
    relay = run.relay_process()

    run.process.send_signal(number)

    assert run.ended() == 0
    assert run.said[-1] == "stopped: 0 mails relayed"
    assert list(tmp_path.glob("o365mailer-*")) == []
    with pytest.raises(ProcessLookupError):
        os.kill(relay, 0)
    assert run.log[-1]["event"] == "stopped"


@pytest.mark.promise("run-stops-cleanly")
def test_a_mail_in_flight_is_finished_first(emulator: EmulatorClient, files: Any, start: Any) -> None:
    run = start(*files.arguments())
    port = run.port()
    run.next("token obtained")
    emulator.script("body", delay=1)
    accepted: list[bool] = []

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as smtp:
            smtp.sendmail(emulator.mailbox, ["you@example.com"], "Subject: in flight\r\n\r\nHello\r\n")
            accepted.append(True)
            smtp.close()  # the relay has already said goodbye

    app = threading.Thread(target=send)
    app.start()
    emulator.events("scripted")
    run.process.send_signal(signal.SIGINT)
    app.join()

    assert accepted == [True]
    assert run.ended() == 0
    assert run.said[-1] == "stopped: 1 mail relayed"
    assert len(emulator.messages()) == 1


@pytest.mark.promise("run-stops-cleanly")
def test_a_second_signal_ends_it_at_once(emulator: EmulatorClient, files: Any, start: Any, mail: Any) -> None:
    run = start(*files.arguments())
    port = run.port()
    run.next("token obtained")
    emulator.script("body", stall=True)
    lost: list[BaseException] = []

    def send() -> None:
        try:
            mail(port)
        except (smtplib.SMTPException, OSError) as error:
            lost.append(error)

    app = threading.Thread(target=send)
    app.start()
    emulator.events("stalled")
    run.process.send_signal(signal.SIGINT)
    run.next("stopping")
    run.process.send_signal(signal.SIGINT)

    assert run.ended() == 0
    app.join()
    assert len(lost) == 1
    emulator.release()


def test_a_relay_that_is_killed_ends_it_with_a_message(files: Any, start: Any) -> None:
    run = start(*files.arguments())
    run.next("token obtained")
    os.kill(run.relay_process(), signal.SIGKILL)

    assert run.ended() == 1
    told = run.stderr().splitlines()[-1]
    assert told.startswith(
        "o365mailer: the relay was killed by SIGKILL; unless you did that, see whether memory ran out"
    )
    assert "Start it again" in told
