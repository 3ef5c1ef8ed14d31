"""Sidecars that share a spool directory: another that runs delivers what one has left."""

import signal
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory
from support.spooling import nowhere, number, queued, spooling, submit


@pytest.mark.promise("spool-survives-crash")
def test_what_a_killed_sidecar_left_is_sent_by_one_that_was_there_before(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path) as old, spooling(directory, tmp_path) as new:
        left = number(submit(new))
        assert list(tmp_path.glob(f"spool/1/queue/{left}"))
        new.process.kill()
        new.ended()
        directory.write_for(emulator)
        old.process.send_signal(signal.SIGHUP)
        assert old.event("spool_taken_over")["messages"] == 1
        (message,) = emulator.messages(atleast=1, wait=20)
        assert f"id {left};" in dict(message["headers"])["Received"]
    assert queued(tmp_path) == []
