"""What spooled mail waits for, and that it leaves when that has come, however it came."""

import json
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, document
from support.spooling import nowhere, number, queued, spooling, submit
from support.waiting import eventually


@pytest.mark.promise("spool-retries")
def test_mail_leaves_when_the_settings_that_forbade_it_are_what_they_were_before(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    token = emulator.issue_token()
    directory.write_for(emulator, token=token)
    with spooling(directory, tmp_path) as sidecar:
        assert submit(sidecar).startswith("250 2.0.0 Office 365 has it")
        strange = document(emulator.smtp_host, emulator.smtp_port, emulator.mailbox) | {"requires": ["moonlight"]}
        directory.write(access_token=token, mailer_json=json.dumps(strange), ca_crt=Path(emulator.ca_file).read_text())
        reply = submit(sidecar)
        assert reply.startswith("250 2.0.0 Queued here"), reply
        directory.write_for(emulator, token=token)
        emulator.messages(atleast=2, wait=20)
        eventually(lambda: not queued(tmp_path))
        assert sidecar.event("message", queue_id=number(reply))["outcome"] == "accepted"


@pytest.mark.promise("spool-retries")
def test_a_certificate_that_is_not_text_is_named_and_mail_leaves_when_it_is_set_right(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    settings = json.dumps(document(emulator.smtp_host, emulator.smtp_port, emulator.mailbox))
    directory.write(access_token=emulator.issue_token(), mailer_json=settings, ca_crt=b"\x30\x82\xff\xfe")
    with spooling(directory, tmp_path) as sidecar:
        assert "ca.crt holds no certificate in PEM form" in sidecar.event("mailer_directory_problem")["problem"]
        assert submit(sidecar).startswith("250 2.0.0 Queued here")
        directory.write_for(emulator)
        emulator.messages(atleast=1, wait=20)


@pytest.mark.promise("spool-retries")
def test_dead_letters_that_are_kept_for_ever_hold_nothing_up(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory, delivery={"spool": {"keepDead": "99999999h"}})
    with spooling(directory, tmp_path, stays=True) as sidecar:
        for _ in range(60):
            submit(sidecar)
        assert sidecar.events("queue_failed") == []
    directory.write_for(emulator, delivery={"spool": {"keepDead": "99999999h"}})
    with spooling(directory, tmp_path) as sidecar:
        assert sidecar.event("spool_recovered", within=3)["messages"] == 60
        assert sidecar.events("queue_failed") == []


@pytest.mark.promise("spool-retries")
def test_a_line_that_a_person_wrote_without_a_time_zone_holds_up_no_message(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        waits = [number(submit(sidecar)) for _ in range(2)]
    line = b'{"at":"2026-11-25T12:00:00","event":"note","due":"2026-11-25T12:00:00"}\n'
    for file in tmp_path.glob("spool/*/queue/[!.]*"):
        file.write_bytes(file.read_bytes() + line)
    directory.write_for(emulator)
    with spooling(directory, tmp_path) as sidecar:
        emulator.messages(atleast=2, wait=20)
        for queue_id in waits:
            assert sidecar.event("message", queue_id=queue_id)["outcome"] == "accepted"
        assert sidecar.events("queue_failed") == []
