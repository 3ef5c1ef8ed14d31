"""What an app is told at the relay's end, and what is on disk then, say the same."""

import shutil
import signal
from pathlib import Path

import pytest
from support.completeness import lacking
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Wire
from support.spooling import begin_data, nowhere, number, queued, spooling, submit

SLOW = ("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=1200000")
"""A disk that takes more than a second for an fsync."""


@pytest.mark.promise("all-recipients-or-none", "shutdown-keeps-mail")
def test_a_message_that_is_on_disk_when_the_grace_is_over_is_not_the_apps_any_more(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery={"confirmWithin": "30s"})
    emulator.script("rcpt", match="b@*", reply="450 4.2.1 Try later")
    emulator.script("data", stall=True)
    arguments = ("--grace", "1s")
    with spooling(directory, tmp_path, stays=True, arguments=arguments) as sidecar, Wire(sidecar.port) as app:
        begin_data(app, "a@example.com", "b@example.com")
        emulator.events("stalled", atleast=1, wait=10)
        (kept,) = queued(tmp_path)
        sidecar.process.send_signal(signal.SIGTERM)
        reply = app.reply()
        assert reply.startswith("250 2.0.0 Queued here"), "told to come again, it would be sent twice"
        assert number(reply) == kept
        sidecar.ended()
    emulator.reset()
    directory.write_for(emulator)
    with spooling(directory, tmp_path):
        (message,) = emulator.messages(atleast=1, wait=20)
    assert message["recipients"] == ["a@example.com", "b@example.com"]


@pytest.mark.promise("all-recipients-or-none", "shutdown-keeps-mail")
def test_a_verdict_that_has_come_is_written_down_though_the_grace_is_over(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    if not shutil.which("strace"):
        lacking("a slow disk needs strace", "make setup-node")
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        submit(sidecar, "a@example.com", "b@example.com", "c@example.com")
    emulator.script("rcpt", match="b@*", reply="550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found")
    emulator.script("rcpt", match="c@*", reply="450 4.2.1 Try later")
    directory.write_for(emulator, delivery={"notify": "sender"})
    with spooling(directory, tmp_path, stays=True, prefix=SLOW, arguments=("--grace", "1s")):
        emulator.messages(atleast=1, wait=30)
    with spooling(directory, tmp_path):
        emulator.messages(atleast=3, wait=30)
    to = [address for message in emulator.messages() for address in message["recipients"]]
    assert sorted(to) == ["a@example.com", "c@example.com", "noreply@contoso.com"]
