"""The last round's end: what has not begun by then does not begin any more."""

import shutil
import sys
from pathlib import Path

import pytest
from support.completeness import lacking
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory
from support.spooling import nowhere, spooling, submit

SLOW = ("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=1200000")
"""A disk that takes more than a second for an fsync."""


@pytest.mark.promise("shutdown-keeps-mail")
def test_no_message_begins_when_the_grace_is_over(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    if not shutil.which("strace"):
        lacking("a slow disk needs strace", "make setup-node")
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        submit(sidecar, "a@example.com", "b@example.com", "c@example.com")
        for _ in range(8):
            submit(sidecar, "d@example.com")
    emulator.script("rcpt", match="b@*", reply="550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found")
    emulator.script("rcpt", match="c@*", reply="450 4.2.1 Try later", times=None)
    emulator.script("body", delay=0.5, times=None)
    directory.write_for(emulator, delivery={"notify": "sender"}, limits={"connections": 2})
    with spooling(directory, tmp_path, stays=True, prefix=SLOW, arguments=("--grace", "1s")) as sidecar:
        emulator.messages(atleast=1, wait=30)
    assert sidecar.event("stopped")["left_in_spool"] >= 5, "the end of the first takes seconds to be written down"
    assert sidecar.events("scheduler_failed") == []


TOLD_AT_THE_END = """
import asyncio, os, signal, sys
from o365mailer_sidecar.main import main
from o365mailer_sidecar.queue.service import QueueService

end = QueueService.end

async def told(service):
    left = await end(service)
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.sleep(0.1)
    return left

QueueService.end = told
sys.exit(main(sys.argv[4:]))
"""


@pytest.mark.promise("shutdown-keeps-mail")
def test_sighup_after_the_spool_is_closed_changes_nothing_in_it(directory: MailerDirectory, tmp_path: Path) -> None:
    nowhere(directory)
    program = tmp_path / "told_at_the_end.py"
    program.write_text(TOLD_AT_THE_END)
    with spooling(directory, tmp_path, stays=True, prefix=(sys.executable, str(program))) as sidecar:
        submit(sidecar)
    assert sidecar.event("stopped")["left_in_spool"] == 1
    assert sidecar.events("spool_reread") == sidecar.events("asyncio_failed") == []
