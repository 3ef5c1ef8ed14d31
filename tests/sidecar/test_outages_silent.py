"""A host that falls silent at one step, or is slow at all of them."""

import base64
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.clocked_sidecar import ClockedSidecar, clocked
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Wire, running

TEXT = b"Subject: x\r\nDate: Mon, 23 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n..dots\r\n"
LONGEST = 700.0
"""Seconds: more than RFC 5321 §4.5.3.2 has for any step."""

AWAY = "451 4.4.1 Office 365 cannot be reached: "
BROKE = "451 4.4.2 The connection to Office 365 broke (no answer in time); nothing was sent"
UNKNOWN = "451 4.4.2 No verdict from Office 365 (no answer in time); it may have taken the message"

FIRST = {
    **dict.fromkeys(("connect", "ehlo", "starttls", "tls", "auth"), AWAY),
    **dict.fromkeys(("mail", "rcpt", "data"), BROKE),
    "body": UNKNOWN,
}
LATER = {**dict.fromkeys(("mail", "rcpt", "data"), "250 "), "body": UNKNOWN}
"""On a connection that was in use: before the message has left, another connection takes its place."""


@contextmanager
def patient(emulator: EmulatorClient, directory: MailerDirectory) -> Iterator[tuple[ClockedSidecar, Wire]]:
    """An app that would wait for hours, so that what ends the wait is the step's own timeout."""
    directory.write_for(emulator, delivery={"confirmWithin": "5h"})
    with clocked(directory.path) as clock, Wire(clock.sidecar.port) as app:
        yield clock, app


def begin_data(app: Wire) -> None:
    """A message whose verdict is not read."""
    app.begin()
    assert app.ask("DATA").startswith("354")
    app.send(TEXT + b".\r\n")


def silence(emulator: EmulatorClient, clock: ClockedSidecar, app: Wire, step: str) -> str:
    """The reply to a message at one of whose steps the host said nothing more; afterwards all is well."""
    emulator.script(step, stall=True)
    begin_data(app)
    emulator.events("stalled")
    for _ in range(20):
        # Again, should the relay have begun to wait only after the clock had been put forward.
        clock.skip(LONGEST)
        if select.select([app.socket], [], [], 0.5)[0]:
            break
    reply = app.reply()
    emulator.release()
    clock.skip(LONGEST)
    return reply


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize(("step", "expected"), FIRST.items())
def test_silence_ends_the_wait_and_the_app_is_told_whether_the_message_is_out(
    emulator: EmulatorClient, directory: MailerDirectory, step: str, expected: str
) -> None:
    with patient(emulator, directory) as (clock, app):
        assert silence(emulator, clock, app, step).startswith(expected)
        with Wire(clock.sidecar.port) as another:
            begin_data(another)
            assert another.reply().startswith("250")
    assert len(emulator.messages()) == 1


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize(("step", "expected"), LATER.items())
def test_silence_on_a_kept_connection_is_no_verdict_once_the_message_is_out(
    emulator: EmulatorClient, directory: MailerDirectory, step: str, expected: str
) -> None:
    with patient(emulator, directory) as (clock, app):
        begin_data(app)
        assert app.reply().startswith("250")
        assert silence(emulator, clock, app, step).startswith(expected)
    assert len(emulator.messages()) == 1 + expected.startswith("250")


class Dribble:
    """Stands in front of a host and passes on one byte at a time, in both directions."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sent = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listener.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            try:
                there = socket.create_connection(self.target)
            except OSError:
                here.close()
                continue
            for one, other in ((here, there), (there, here)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while byte := one.recv(1):
                other.sendall(byte)
                self.sent += 1
            other.shutdown(socket.SHUT_WR)
        except OSError:
            one.close()
            other.close()


@pytest.mark.promise("truth-when-exchange-fails")
def test_one_byte_at_a_time_is_slow_and_nothing_else(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    dribble = Dribble(emulator.smtp_host, emulator.smtp_port)
    directory.write_for(emulator, submission={"host": "127.0.0.1", "port": dribble.port})
    with dribble.listener, running(directory.path) as sidecar, Wire(sidecar.port) as app:
        for _ in range(2):
            begin_data(app)
            assert app.reply().startswith("250")
        dribble.listener.shutdown(socket.SHUT_RDWR)  # `close` alone leaves the thread in accept(2), and the port open
    assert dribble.sent > 4000
    assert len(emulator.messages()) == 2
    for message in emulator.messages():
        assert base64.b64decode(message["content"]).endswith(TEXT.replace(b"\r\n..", b"\r\n."))
