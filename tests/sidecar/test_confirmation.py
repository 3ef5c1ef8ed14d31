"""How long an app waits, and what is true when it does not wait to the end."""

import time

import pytest
from support.clocked_sidecar import clocked
from support.emulator_client import EmulatorClient
from support.scratch_submission import Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running
from support.waiting import eventually

IDLE_LIMIT = 5.0
"""Seconds that a connection to Office 365 may be idle."""

TEXT = b"Subject: x\r\n\r\nbody\r\n"


def begin_data(app: Wire) -> None:
    """A message whose verdict is not read yet."""
    app.begin()
    assert app.ask("DATA").startswith("354")
    app.send(TEXT + b".\r\n")


@pytest.mark.promise("app-gets-exchanges-verdict")
@pytest.mark.parametrize("step", ["connect", "ehlo", "auth", "mail", "rcpt", "data"])
def test_a_message_that_is_not_out_in_time_is_withdrawn_for_good(
    emulator: EmulatorClient, directory: MailerDirectory, step: str
) -> None:
    directory.write_for(emulator, delivery={"confirmWithin": "500ms"})
    emulator.script(step, stall=True)
    with running(directory.path) as sidecar, Wire(sidecar.port) as app:
        began = time.monotonic()
        begin_data(app)
        assert app.reply().startswith(
            "451 4.4.7 No verdict from Office 365 within 500ms; nothing was sent, try again later ["
        )
        assert time.monotonic() - began > 0.4
        emulator.release()
        directory.write_for(emulator, delivery={"confirmWithin": "30s"})
        begin_data(app)
        assert app.reply().startswith("250")
    assert len(emulator.messages()) == 1


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_a_message_that_is_out_is_waited_for_beyond_the_time(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    directory.write_for(emulator, delivery={"confirmWithin": "30s"})
    emulator.script("body", stall=True)
    with clocked(directory.path) as clock, Wire(clock.sidecar.port) as app:
        begin_data(app)
        emulator.events("stalled", atleast=1, wait=10)
        clock.skip(31)
        emulator.release()
        assert app.reply().startswith("250 2.0.0 Office 365 has it")
    assert len(emulator.messages()) == 1


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_an_app_that_goes_before_its_message_is_out_takes_it_along(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("data", stall=True)
    app = Wire(sidecar.port)
    begin_data(app)
    emulator.events("stalled", atleast=1, wait=10)
    app.socket.close()
    assert sidecar.event("message", outcome="dropped")["code"] == 0
    emulator.release()
    with Wire(sidecar.port) as another:
        begin_data(another)
        assert another.reply().startswith("250")
    assert len(emulator.messages()) == 1
    assert sidecar.metric('o365mailer_messages_total{outcome="dropped"}') == 1


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_an_app_that_goes_after_its_message_is_out_leaves_an_orphan_in_the_audit(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    emulator.script("body", stall=True)
    app = Wire(sidecar.port)
    begin_data(app)
    emulator.events("stalled", atleast=1, wait=10)
    app.socket.close()
    eventually(lambda: sidecar.metric("o365mailer_sessions") == 0)
    emulator.release()
    assert sidecar.event("message", outcome="orphaned")["code"] == 250
    assert len(emulator.messages()) == 1


@pytest.mark.promise("outage-is-answered-at-once")
def test_while_upstream_is_away_the_answer_is_immediate_and_the_log_is_short(directory: MailerDirectory) -> None:
    with ScratchHost(lambda _: None) as host:
        host.describe(directory)
        port = host.port
    with running(directory.path) as sidecar:
        replies = []
        for _ in range(10):
            with Wire(sidecar.port) as app:
                begin_data(app)
                replies.append(app.reply())
        assert {reply.partition(" [")[0] for reply in replies} == {
            (
                f"451 4.4.1 Office 365 cannot be reached: 127.0.0.1:{port}: Connection refused; "
                "nothing was sent, try again later"
            )
        }
        tried = sidecar.metric('o365mailer_upstream_connections_total{result="away"}')
        assert tried < len(replies), "most are answered without asking"
        sidecar.event("message", nth=len(replies))
        assert len(sidecar.events("upstream_away")) == 1
        assert sidecar.metric("o365mailer_upstream_up") == 0


@pytest.mark.promise("outage-is-answered-at-once")
def test_a_host_that_swallows_connections_makes_only_the_first_app_wait(directory: MailerDirectory) -> None:
    with (
        ScratchHost(lambda peer: peer.line()) as host,
        clocked(directory.path) as clock,
        Wire(clock.sidecar.port) as app,
    ):
        host.describe(directory, delivery={"confirmWithin": "4s"})
        begin_data(app)
        eventually(lambda: host.peers)
        clock.skip(4)
        assert app.reply().startswith("451 4.4.7 ")
        begin_data(app)
        assert app.reply().startswith("451 4.4.1 Office 365 cannot be reached: 127.0.0.1 does not answer")


def test_a_connection_that_died_while_idle_is_replaced_unseen(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        begin_data(app)
        assert app.reply().startswith("250")
        emulator.script("mail", close=True)
        begin_data(app)
        assert app.reply().startswith("250")
        emulator.script("mail", reply="421 4.4.1 Connection timed out", close=True)
        begin_data(app)
        assert app.reply().startswith("250")
    assert emulator.counters()["connections"] == 3
    assert len(emulator.messages()) == 3


def test_a_fresh_connection_that_dies_is_not_tried_again(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("mail", close=True, times=None)
    with Wire(sidecar.port) as app:
        begin_data(app)
        assert app.reply().startswith("451 4.4.2 The connection to Office 365 broke (connection closed);")
    assert emulator.counters()["connections"] == 1


def test_a_reply_that_was_lost_is_said_to_be_unknown(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("body", close=True, record=True)
    with Wire(sidecar.port) as app:
        begin_data(app)
        assert app.reply().startswith("451 4.4.2 No verdict from Office 365 (connection closed);")
    assert len(emulator.messages()) == 1


def test_an_idle_connection_is_given_up_soon(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    directory.write_for(emulator)
    with clocked(directory.path) as clock, Wire(clock.sidecar.port) as app:
        begin_data(app)
        assert app.reply().startswith("250")
        assert emulator.counters()["openNow"] == 1
        clock.skip(IDLE_LIMIT)
        eventually(lambda: emulator.counters()["openNow"] == 0)
        assert emulator.counters()["commands"]["QUIT"] == 1


def test_connections_that_a_peak_left_are_given_up_while_others_are_used(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    directory.write_for(emulator)
    emulator.script("body", stall=True, times=3)
    with clocked(directory.path) as clock:
        apps = [Wire(clock.sidecar.port) for _ in range(3)]
        for app in apps:
            begin_data(app)
        emulator.events("stalled", atleast=3, wait=10)
        emulator.release()
        for app in apps:
            assert app.reply().startswith("250")
            app.socket.close()
        assert emulator.counters()["openNow"] == 3
        for _ in range(3):
            clock.skip(0.4 * IDLE_LIMIT)
            with Wire(clock.sidecar.port) as app:
                begin_data(app)
                assert app.reply().startswith("250")
        eventually(lambda: emulator.counters()["openNow"] == 1)
        assert emulator.counters()["connections"] == 3, "the one that is used stays"


def test_a_verdict_before_the_end_of_data_is_taken(directory: MailerDirectory) -> None:
    def impatient(peer: Peer) -> None:
        peer.authenticate()
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            peer.line()
            peer.say(reply)
        peer.line()
        peer.say(b"552 5.3.4 too big\r\n")
        peer.message()

    with ScratchHost(impatient) as host, running(directory.path) as sidecar, Wire(sidecar.port) as app:
        host.describe(directory)
        app.begin()
        assert app.ask("DATA").startswith("354")
        app.send(b"x" * 76 * 200_000 + b"\r\n.\r\n")
        assert app.reply().startswith("552 5.3.4 too big [")
