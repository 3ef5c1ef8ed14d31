"""A policy that has become narrower since a message was queued."""

from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory
from support.spooling import dead, history, nowhere, number, queued, spooling, submit
from support.waiting import eventually


@pytest.mark.promise("all-recipients-or-none")
def test_a_recipient_who_may_get_no_mail_any_more_keeps_it_from_no_other(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        waits = number(submit(sidecar, "a@example.com", "b@elsewhere.example", "c@example.com"))
    directory.write_for(emulator, recipients={"allowedDomains": ["example.com"]})
    with spooling(directory, tmp_path) as sidecar:
        (message,) = emulator.messages(atleast=1, wait=30)
        assert message["recipients"] == ["a@example.com", "c@example.com"]
        eventually(lambda: dead(tmp_path) == [waits])
        record = sidecar.event("message", queue_id=waits)
        assert (record["outcome"], record["undelivered"]) == ("dead", 1)
    assert queued(tmp_path) == []
    refused = {address for event in history(tmp_path, waits) for address in event.get("refused", {})}
    assert refused == {"b@elsewhere.example"}


@pytest.mark.promise("all-recipients-or-none")
def test_when_none_of_them_may_it_is_a_dead_letter_at_once(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    nowhere(directory)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        waits = number(submit(sidecar, "a@elsewhere.example", "b@elsewhere.example"))
    directory.write_for(emulator, recipients={"allowedDomains": ["example.com"]})
    with spooling(directory, tmp_path) as sidecar:
        assert sidecar.event("message", queue_id=waits)["undelivered"] == 2
        eventually(lambda: dead(tmp_path) == [waits])
    assert emulator.messages() == []
