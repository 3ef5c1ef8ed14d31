"""An app that names a recipient twice: who has the message is owed nothing more."""

from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory
from support.spooling import dead, number, queued, spooling, submit
from support.waiting import eventually


@pytest.mark.promise("all-recipients-or-none")
@pytest.mark.parametrize("reply", ["450 4.2.1 Try later", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found"])
def test_a_recipient_who_was_taken_once_is_served(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path, reply: str
) -> None:
    directory.write_for(emulator)
    emulator.script("rcpt", match="a@*", reply=reply)
    with spooling(directory, tmp_path) as sidecar:
        sent = number(submit(sidecar, "a@example.com", "a@example.com"))
        assert sidecar.event("message", queue_id=sent, within=30)["outcome"] == "accepted"
        eventually(lambda: not queued(tmp_path))
        assert sidecar.events("relay_failed") == []
    assert dead(tmp_path) == []
    assert [message["recipients"] for message in emulator.messages()] == [["a@example.com"]]
