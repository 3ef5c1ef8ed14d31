"""Standard output and standard error that take nothing more: mail goes on, and the end is an orderly one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from support.emulator_client import EmulatorClient


@contextmanager
def running(files: Any, folder: Path, *, stdout: IO[bytes] | int) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """The run after its first token, the port that it listens on, and where the rest of its log can be read."""
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "o365mailer_cli.main", "run", *files.arguments("--no-spool")]
    run = subprocess.Popen(command, stdout=writer if stdout == subprocess.PIPE else stdout, stderr=writer, cwd=folder)
    os.close(writer)
    try:
        said = b""
        while b'"mailer_read"' not in said:
            more = os.read(reader, 4096)
            assert more, said
            said += more
        events = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
        (port,) = (event["port"] for event in events if event.get("protocol") == "smtp")
        yield run, port, reader
    finally:
        run.kill()
        run.wait()


@pytest.mark.promise("run-stops-cleanly")
def test_a_run_goes_on_when_standard_output_is_full(
    emulator: EmulatorClient, files: Any, mail: Any, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb") as full, running(files, tmp_path, stdout=full) as (run, port, reader):
        mail(port)
        assert len(emulator.messages(atleast=1)) == 1
        run.send_signal(signal.SIGTERM)
        left = b"".join(iter(lambda: os.read(reader, 4096), b""))
        assert run.wait(30) == 0
    assert b'"stopped"' in left, "the control: the log came to its end"
    assert b"Traceback" not in left
    os.close(reader)


@pytest.mark.promise("run-stops-cleanly")
def test_a_run_goes_on_when_those_who_read_it_have_gone(
    emulator: EmulatorClient, files: Any, mail: Any, tmp_path: Path
) -> None:
    with running(files, tmp_path, stdout=subprocess.PIPE) as (run, port, reader):
        os.close(reader)
        for _ in range(2):
            mail(port)
        assert len(emulator.messages(atleast=2)) == 2
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 0
