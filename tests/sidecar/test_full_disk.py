"""A disk without room: what is on it leaves all the same, which is what makes room."""

import subprocess
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory
from support.spooling import TEXT, number, queued, spooling, submit
from support.waiting import eventually


def fill(sidecar_pid: int) -> None:
    """From now on no file of the process can grow."""
    subprocess.run(["prlimit", "--fsize=0", "--pid", str(sidecar_pid)], check=True)


@pytest.mark.promise("memory-and-disk-are-bounded", "spool-retries")
def test_a_deferral_that_cannot_be_written_down_keeps_no_message_from_its_next_attempt(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery={"confirmWithin": "300ms"})
    emulator.script("body", reply="451 4.7.500 Server busy. Please try again later", stall=True)
    with spooling(directory, tmp_path) as sidecar:
        waits = number(submit(sidecar))
        fill(sidecar.process.pid)
        emulator.events("stalled", atleast=1, wait=10)
        emulator.release()
        emulator.messages(atleast=1, wait=40)
        assert sidecar.event("message", queue_id=waits)["outcome"] == "accepted"
        eventually(lambda: not queued(tmp_path))


@pytest.mark.promise("memory-and-disk-are-bounded")
def test_a_spool_on_a_full_disk_is_opened_and_drained(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    with spooling(directory, tmp_path, stays=True) as sidecar:
        waits = number(submit(sidecar))
    directory.write_for(emulator)
    with spooling(directory, tmp_path, prefix=("prlimit", "--fsize=0")) as sidecar:
        (message,) = emulator.messages(atleast=1, wait=20)
        assert f"id {waits};" in dict(message["headers"])["Received"]
        assert submit(sidecar, content=TEXT).startswith("250 2.0.0 Office 365 has it"), "which needs no disk"
    assert queued(tmp_path) == []
