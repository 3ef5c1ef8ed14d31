"""`o365mailer run` is killed: nothing of it stays behind."""

import os
import select
import signal
import smtplib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support import hanging_relay
from support.emulator_client import EmulatorClient

PATIENCE = 30.0


@contextmanager
def watched(process: int) -> Iterator[select.poll]:
    """Becomes readable when the process, which is not our child, has ended; it never outlives the test."""
    descriptor = os.pidfd_open(process)
    ends = select.poll()
    ends.register(descriptor, select.POLLIN)
    try:
        yield ends
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


@pytest.mark.promise("run-stops-cleanly")
def test_a_killed_run_leaves_no_relay(files: Any, start: Any) -> None:
    run = start(*files.arguments())
    run.next("token obtained")
    with watched(run.relay_process()) as ends:
        assert not ends.poll(0), "the relay must be running before"
        run.process.send_signal(signal.SIGKILL)

        assert ends.poll(PATIENCE * 1000), "the relay outlived `o365mailer run`"


@pytest.mark.promise("run-stops-cleanly")
def test_a_mail_in_flight_is_finished_even_then(emulator: EmulatorClient, files: Any, start: Any) -> None:
    run = start(*files.arguments())
    port = run.port()
    run.next("token obtained")
    emulator.script("body", delay=1)
    accepted: list[bool] = []

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as smtp:
            smtp.sendmail(emulator.mailbox, ["you@example.com"], "Subject: in flight\r\n\r\nHello\r\n")
            accepted.append(True)
            smtp.close()  # the relay has already said goodbye

    app = threading.Thread(target=send)
    app.start()
    emulator.events("scripted")
    with watched(run.relay_process()) as ends:
        run.process.send_signal(signal.SIGKILL)
        app.join()
        assert ends.poll(PATIENCE * 1000), "the relay outlived `o365mailer run`"

    assert accepted == [True]
    assert len(emulator.messages(atleast=1)) == 1


@pytest.mark.promise("hung-relay-ends")
def test_a_relay_that_hangs_ends_run_with_where_it_hung(files: Any, start: Any, tmp_path: Path) -> None:
    environment = hanging_relay.environment(tmp_path / "site", limit=3, statement="time.sleep(600)")
    run = start(*files.arguments(), environment=environment)
    run.next("token obtained")
    os.kill(run.relay_process(), hanging_relay.HANG)
    assert run.ended() == 1
    (said,) = [line for line in run.stderr().splitlines() if "the relay did nothing for a minute" in line]
    assert "Start it again: what waits in its spool is sent then" in said
    assert "the_hang" in run.stderr().partition("Timeout (0:00:03)!")[2]
