"""What an app was told is taken arrives, over outages and over the end of a run."""

import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.emulator_client import EmulatorClient

from o365mailer_cli.run.spool import WAY_OUT


@pytest.fixture
def memory() -> Iterator[str]:
    """A directory in memory, where no spool may be."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield directory


def subjects(emulator: EmulatorClient, atleast: int) -> list[str]:
    """Waits for Entra's third or fourth turn: the pauses between them grow from 5 s by half."""
    return [dict(message["headers"])["Subject"] for message in emulator.messages(atleast=atleast, wait=30)]


@pytest.mark.promise("run-without-kubernetes")
def test_while_entra_is_away_mail_is_taken_and_sent_when_there_is_a_token(
    emulator: EmulatorClient, files: Any, start: Any, mail: Any
) -> None:
    emulator.script("token", status=503, times=None)
    run = start(*files.arguments())
    port = run.port()
    run.next("no token (EntraUnreachable): ")
    run.next("mail waits in the spool until there is one")

    mail(port, "taken")
    assert emulator.messages() == []
    emulator.control("DELETE", "/script")

    assert subjects(emulator, 1) == ["taken"]


@pytest.mark.promise("run-without-kubernetes")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_left_at_the_end_is_sent_by_the_next_run(
    emulator: EmulatorClient, files: Any, start: Any, mail: Any, number: signal.Signals
) -> None:
    emulator.script("token", status=503, times=None)
    first = start(*files.arguments("--grace", "0s"))
    port = first.port()
    for subject in ("one", "two"):
        mail(port, subject)
    first.process.send_signal(number)
    assert first.ended() == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    if number is signal.SIGTERM:
        assert "2 waiting in " in first.said[-1]
        assert first.said[-1].endswith(" for the next run")
    emulator.control("DELETE", "/script")

    second = start(*files.arguments())
    if number is signal.SIGTERM:
        second.next("2 mails from before are there: sent as soon as Office 365 takes them")

    assert sorted(subjects(emulator, 2)) == ["one", "two"]


@pytest.mark.promise("run-without-kubernetes")
def test_on_a_terminal_the_line_that_changes_counts_what_waits(
    emulator: EmulatorClient, files: Any, mail: Any, tmp_path: Path
) -> None:
    emulator.script("token", status=503, times=None)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "o365mailer_cli.main", "run", *files.arguments()],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")},
    )
    os.close(theirs)
    try:
        said = shown(ours, "listening on ", ": send mail there")
        assert "waiting" not in said
        mail(int(said.rpartition(": send mail there")[0].rpartition(":")[2]))
        shown(ours, "1 mail waiting")
    finally:
        process.terminate()
        process.wait(timeout=30)
        os.close(ours)


def shown(terminal: int, *texts: str) -> str:
    """What the terminal has shown when each of the texts is in it."""
    said = ""
    while not all(text in said for text in texts):
        assert select.select([terminal], [], [], 30)[0], f"nothing more than {said!r}"
        said += os.read(terminal, 4096).decode()
    return said


def test_two_runs_share_a_spool(emulator: EmulatorClient, files: Any, start: Any, mail: Any) -> None:
    for subject in ("one", "two"):
        run = start(*files.arguments())
        port = run.port()
        run.next("token obtained")
        mail(port, subject)

    assert sorted(subjects(emulator, 2)) == ["one", "two"]


@pytest.mark.promise("run-explains-bad-input")
def test_a_spool_in_memory_is_told_with_the_way_out(files: Any, start: Any, memory: str) -> None:
    named = start(*files.arguments("--spool-dir", memory))
    assert named.ended() == 2
    refusal = f"o365mailer: --spool-dir: '{memory}' is in memory (tmpfs), and a spool must outlive the machine"
    assert named.stderr().splitlines()[-1].startswith(refusal)

    usual = start(*files.arguments(), environment={"XDG_STATE_HOME": memory})
    assert usual.ended() == 2
    assert " is in memory (tmpfs), and a spool must outlive the machine" in usual.stderr()
    assert usual.stderr().rstrip().endswith(WAY_OUT)
    assert files.emulator.counters()["tokensIssued"] == 0
    assert list(Path(memory).glob("*/*/*/*/*")) == []
