"""Once a minute, and not more often, the log says what is waited for."""

import asyncio
import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from o365mailer_sidecar import app
from o365mailer_sidecar.config import options
from o365mailer_sidecar.telemetry.event_log import EventLog


@pytest.mark.promise("listens-at-once")
async def test_what_is_waited_for_is_repeated_at_its_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert app.REMIND_EVERY == 60
    monkeypatch.setattr(app, "REMIND_EVERY", 0.3)
    monkeypatch.setattr(app, "LOOK_EVERY", 0.01)
    reminded = asyncio.Event()
    reminders: list[float] = []
    loop = asyncio.get_running_loop()

    def write(line: bytes) -> None:
        if json.loads(line)["event"] == "waiting_for_mailer":
            reminders.append(loop.time())
            if len(reminders) == 3:
                reminded.set()

    log = EventLog(write=write, now=lambda: datetime.now(UTC))
    arguments = ["--mailer-dir", str(tmp_path), "--listen", "127.0.0.1:0", "--health", "127.0.0.1:0"]
    relay = app.Service(options(arguments, {}), log=log)
    running = asyncio.ensure_future(relay.run())
    await asyncio.wait_for(reminded.wait(), 20)
    relay.stopping.set()
    await running
    assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(reminders))
