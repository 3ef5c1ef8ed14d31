"""QUIT in the same write as the end of the message, before the app closes its sending side (RFC 5321 §4.1.1.10)."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

TEXT = b"Subject: x\r\n\r\nbody\r\n"


@pytest.fixture(params=["without a spool", "with a spool"])
def relay(
    request: pytest.FixtureRequest, emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> Iterator[Sidecar]:
    """One that reaches the emulator."""
    directory.write_for(emulator)
    spool = ["--spool-dir", str(tmp_path / "spool")] if request.param == "with a spool" else []
    (tmp_path / "spool").mkdir()
    with running(directory.path, arguments=spool) as sidecar:
        yield sidecar


def wanted(relay: Sidecar) -> Wire:
    """An app whose message is wanted now."""
    app = Wire(relay.port)
    app.begin()
    assert app.ask("DATA").startswith("354")
    return app


@pytest.mark.promise("smtp-conformance")
@pytest.mark.parametrize("after", [b"QUIT\r\n", b"quit \r\n", b"NOOP\r\nQUIT\r\n"])
def test_quit_after_the_message_is_an_orderly_end(emulator: EmulatorClient, relay: Sidecar, after: bytes) -> None:
    with wanted(relay) as app:
        app.send(TEXT + b".\r\n" + after)
        app.socket.shutdown(socket.SHUT_WR)
        assert app.reply().startswith("250 2.0.0 Office 365 has it")
        if after.startswith(b"NOOP"):
            assert app.reply().startswith("250")
        assert app.reply().startswith("221")
        assert app.closed()
    assert len(emulator.messages()) == 1
    assert relay.event("message")["outcome"] == "accepted"


@pytest.mark.promise("smtp-conformance")
def test_a_half_close_that_comes_while_office_365_thinks_changes_nothing(
    emulator: EmulatorClient, relay: Sidecar
) -> None:
    emulator.script("body", delay=1.0)
    with wanted(relay) as app:
        app.send(TEXT + b".\r\n")
        emulator.events("scripted", atleast=1, wait=10)
        app.send(b"QUIT\r\n")
        app.socket.shutdown(socket.SHUT_WR)
        assert app.reply().startswith("250 2.0.0 Office 365 has it")
        assert app.reply().startswith("221")
    assert len(emulator.messages()) == 1


@pytest.mark.promise("smtp-conformance")
def test_a_half_close_without_quit_takes_the_message_along(emulator: EmulatorClient, relay: Sidecar) -> None:
    with wanted(relay) as app:
        app.send(TEXT + b".\r\nNOOP\r\nXQUIT\r\n")
        app.socket.shutdown(socket.SHUT_WR)
        assert app.closed()
    assert relay.event("message")["outcome"] == "dropped"
    assert emulator.messages() == []


@pytest.mark.promise("smtp-conformance")
def test_quit_in_the_message_is_no_command(emulator: EmulatorClient, relay: Sidecar) -> None:
    with wanted(relay) as app:
        app.send(b"Subject: x\r\n\r\nQUIT\r\n.\r\n")
        app.socket.shutdown(socket.SHUT_WR)
        assert app.closed()
    assert relay.event("message")["outcome"] == "dropped"
    assert emulator.messages() == []
