"""What looks at the mailer directory goes on after a defect: a spool that waits for a token must not wait for ever."""

import json
import sys
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, document
from support.spooling import number, spooling, submit

BROKEN_ONCE = """
import sys
from o365mailer_sidecar.main import main
from o365mailer_sidecar.queue.service import QueueService

look = QueueService.look

def fail(service):
    QueueService.look = look
    raise RuntimeError("secret words")

QueueService.look = fail
sys.exit(main(sys.argv[4:]))
"""


@pytest.mark.promise("spool-retries")
def test_a_defect_of_a_look_does_not_end_the_looking(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    settings = document(emulator.smtp_host, emulator.smtp_port, emulator.mailbox)
    directory.write(mailer_json=json.dumps(settings))
    program = tmp_path / "broken_once.py"
    program.write_text(BROKEN_ONCE)
    with spooling(directory, tmp_path, prefix=(sys.executable, str(program))) as sidecar:
        assert sidecar.event("watcher_failed")["error"] == "RuntimeError"
        waits = number(submit(sidecar))
        directory.write_for(emulator)
        sidecar.event("message", queue_id=waits, outcome="accepted", within=30)
    assert len(sidecar.events("watcher_failed")) == 1
    assert "secret words" not in sidecar.stderr()
