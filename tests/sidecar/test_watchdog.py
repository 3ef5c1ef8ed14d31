"""A relay that hangs says where, and ends. A relay that works, or has nothing to do, does not."""

import subprocess
import time
from pathlib import Path

import pytest
from support import hanging_relay
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

pytestmark = pytest.mark.promise("hung-relay-ends")

TEXT = b"Subject: x\r\n\r\nbody\r\n"


@pytest.mark.parametrize(
    "statement",
    [
        "time.sleep(600)",
        "threading.Lock().acquire() and threading.Event().wait()",
        "while True: pass",
        'while re.match("(a+)+$", "a" * 40 + "b"): pass',  # in C, holding the interpreter's lock
    ],
)
def test_a_loop_that_hangs_ends_the_process_and_its_last_words_say_where(
    emulator: EmulatorClient, directory: MailerDirectory, statement: str, tmp_path: Path
) -> None:
    # From its start on, the relay must have a turn in each such time, also on a busy machine.
    environment = hanging_relay.environment(tmp_path / "site", limit=3, statement=statement)
    token = emulator.issue_token()
    directory.write_for(emulator, token=token)
    with Sidecar(directory.path, environment=environment) as relay, Wire(relay.port) as app:
        app.begin()
        assert app.deliver(b"Subject: x\r\n\r\nthe body of the mail\r\n").startswith("250 ")
        relay.process.send_signal(hanging_relay.HANG)
        assert relay.ended() == 1
    said = relay.stderr()
    assert "Timeout (0:00:03)!" in said
    assert "the_hang" in said.partition("Timeout (")[2]
    assert token not in said
    assert "the body of the mail" not in said


@pytest.mark.serial
def test_a_relay_that_works_is_not_ended_and_neither_is_one_that_waits(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    """The test above is the control: there the same watchdog ends the process."""
    limit = 5.0
    environment = hanging_relay.environment(tmp_path / "site", limit=limit, statement="time.sleep(600)")
    directory.write_for(emulator)
    with running(directory.path, environment=environment) as relay:
        deadline = time.monotonic() + 1.2 * limit
        while time.monotonic() < deadline:
            with Wire(relay.port) as app:
                app.begin()
                assert app.deliver(TEXT).startswith("250 ")
        with pytest.raises(subprocess.TimeoutExpired):
            relay.process.wait(1.2 * limit)
    assert "Timeout (" not in relay.stderr()
