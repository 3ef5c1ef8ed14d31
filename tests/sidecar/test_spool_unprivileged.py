"""`spool …` next to a sidecar, both as in the image: not root, and with processes that cannot look into each other."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import unprivileged
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory
from support.spooling import nowhere, number, queued, spooling, submit
from support.waiting import eventually

PREFIX = (sys.executable, unprivileged.__file__)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that this user can reach and write to."""
    with tempfile.TemporaryDirectory(prefix="spool-") as path:
        os.chown(path, unprivileged.UID, -1)
        yield Path(path)


def spool(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command, as that user."""
    command = [*PREFIX, sys.executable, "-m", "o365mailer_sidecar.main", "spool", *words]
    return subprocess.run([*command, "--spool-dir", f"{folder}/spool"], capture_output=True, text=True)


def uids(pid: int) -> set[int]:
    """Whose process it is."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("Uid:")]
    return {int(word) for word in line.split()[1:]}


@pytest.mark.promise("spool-commands")
def test_every_verb_works_and_reaches_the_process_that_has_the_spool(emulator: EmulatorClient, folder: Path) -> None:
    directory = MailerDirectory(folder / "mailer")
    nowhere(directory)
    with spooling(directory, folder, prefix=PREFIX) as sidecar:
        pid = sidecar.process.pid
        assert uids(pid) == {unprivileged.UID}
        assert unprivileged.UID != 0
        look = subprocess.run([*PREFIX, "look", str(pid)], capture_output=True, text=True)
        assert "PermissionError" in look.stderr, "that user cannot see what the process has open"
        owner = json.loads((folder / "spool" / "0" / "lock").read_text())
        assert (owner["pid"], owner["namespace"]) == (pid, str(Path("/proc/self/ns/pid").readlink()))

        first, second, third = (number(submit(sidecar)) for _ in range(3))
        assert spool(folder, "ls").stdout.count("queued  ") == 3
        assert first in spool(folder, "show", first).stdout
        for turn, (words, done) in enumerate(
            [
                (("hold", first), "on hold"),
                (("release", first), "released, and will be tried now"),
                (("hold", second), "on hold"),
                (("drop", third), "deleted"),
                (("retry", first), "will be tried now"),
            ],
            1,
        ):
            ran = spool(folder, *words)
            assert (ran.returncode, ran.stderr) == (0, "")
            assert ran.stdout == f"{words[1]}: {done}\nprocess {pid} was told\n"
            sidecar.event("spool_reread", nth=turn)
        assert spool(folder, "flush").stdout.endswith(f"process {pid} was told\n")
        directory.write_for(emulator)
        (message,) = emulator.messages(atleast=1, wait=20)
        assert f"id {first};" in dict(message["headers"])["Received"]
        eventually(lambda: queued(folder) == [second])
        spool(folder, "drop", second)
    assert spool(folder, "ls").stdout == "nothing\n"


@pytest.mark.promise("spool-commands")
def test_a_process_that_has_ended_is_not_told_though_its_parent_has_not_collected_it(folder: Path) -> None:
    directory = MailerDirectory(folder / "mailer")
    nowhere(directory)
    with spooling(directory, folder, prefix=PREFIX) as sidecar:
        queue_id = number(submit(sidecar))
        sidecar.process.kill()
        os.waitid(os.P_PID, sidecar.process.pid, os.WEXITED | os.WNOWAIT)
        assert spool(folder, "hold", queue_id).stdout == (
            f"{queue_id}: on hold\nno process has partition 0: the next that starts on it sees the change\n"
        )
        sidecar.ended()


@pytest.mark.promise("spool-commands")
def test_a_process_of_a_version_that_did_not_say_when_it_started_is_named(folder: Path) -> None:
    directory = MailerDirectory(folder / "mailer")
    nowhere(directory)
    with spooling(directory, folder, stays=True, prefix=PREFIX) as sidecar:
        queue_id = number(submit(sidecar))
        lock = folder / "spool" / "0" / "lock"
        lock.write_text(json.dumps({**json.loads(lock.read_text()), "started": 0}))
        said = spool(folder, "hold", queue_id).stdout
        assert f"partition 0 belonged last to process {sidecar.process.pid} of " in said
        assert "which cannot be told from here" in said
