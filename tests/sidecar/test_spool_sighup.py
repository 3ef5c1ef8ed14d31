"""What a person has changed by hand is seen at SIGHUP, whatever the process does at that moment."""

import asyncio
from pathlib import Path

import pytest
from support.spooled import RECEIVED, body, envelope, spool_in

from o365mailer_sidecar.message.message import Message

MESSAGES = 1500


@pytest.mark.promise("replies-name-the-remedy")
async def test_mail_that_leaves_meanwhile_hides_no_change(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        stored = [await spool.store(Message(envelope(f"A{n}"), body(), RECEIVED)) for n in range(MESSAGES)]
        leaving = [asyncio.ensure_future(spool.remove(each)) for each in stored[1:]]
        while not all(task.done() for task in leaving):
            await asyncio.sleep(0)
            spool.reread()
        await asyncio.gather(*leaving)
        assert list(spool.messages) == ["A0"]
