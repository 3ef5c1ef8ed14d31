"""A message that one task delivers belongs to no other, whatever a person does to its file meanwhile."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.completeness import lacking
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Wire
from support.spooling import begin_data, spooling

SLOW = ("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=1000000")
"""A disk that takes a second for an fsync."""


@pytest.mark.promise("all-recipients-or-none")
def test_a_flush_while_an_attempts_end_is_written_down_sends_nothing_twice(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    if not shutil.which("strace"):
        lacking("a slow disk needs strace", "make setup-node")
    directory.write_for(emulator, delivery={"notify": "sender", "confirmWithin": "60s"})
    emulator.script("rcpt", match="b@*", reply="550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found")
    emulator.script("rcpt", match="c@*", reply="450 4.2.1 Try later")
    with spooling(directory, tmp_path, prefix=SLOW) as sidecar, Wire(sidecar.port) as app:
        begin_data(app, "a@example.com", "b@example.com", "c@example.com")
        emulator.messages(atleast=1, wait=30)
        flush = [sys.executable, "-m", "o365mailer_sidecar.main", "spool", "flush", "--spool-dir", f"{tmp_path}/spool"]
        said = subprocess.run(flush, check=True, capture_output=True, text=True).stdout
        assert "was told" in said, said
        assert app.reply().startswith("250 2.0.0 Office 365 has it for 1 of 3 recipients")
        emulator.messages(atleast=3, wait=30)
    to = [address for message in emulator.messages() for address in message["recipients"]]
    assert to.count("a@example.com") == 1
