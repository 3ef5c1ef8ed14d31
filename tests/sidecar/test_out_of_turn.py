"""What Exchange says besides its replies is never taken for one."""

import socket
import struct
import time

import pytest
from support.emulator_client import EmulatorClient
from support.scratch_submission import SECURE_EHLO, Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

TEXT = b"Subject: x\r\n\r\nbody\r\n"
LARGE = b"x" * 76 * 200_000 + b"\r\n"


def mail(sidecar: Sidecar, content: bytes = TEXT) -> str:
    """One message, and its final reply."""
    with Wire(sidecar.port) as app:
        app.begin()
        return app.deliver(content)


@pytest.mark.promise("accepted-means-kept")
def test_a_250_that_comes_with_354_is_not_the_messages(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("data", extra="250 2.0.0 not for the message\r\n")
    emulator.script("body", reply="554 5.6.0 refused")
    assert mail(sidecar).startswith(
        "451 4.4.2 The connection to Office 365 broke (it spoke out of turn); nothing was sent, try again later ["
    )
    assert emulator.messages() == []
    assert mail(sidecar).startswith("554 5.6.0 refused ["), "the control: the next connection is asked anew"
    assert mail(sidecar).startswith("250 ")


@pytest.mark.promise("accepted-means-kept")
def test_a_250_in_the_middle_of_the_message_is_not_the_messages(directory: MailerDirectory) -> None:
    def hasty(peer: Peer) -> None:
        peer.authenticate()
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            peer.line()
            peer.say(reply)
        peer.line()
        peer.say(b"250 2.0.0 so soon\r\n")
        peer.message()

    with ScratchHost(hasty) as host, host.described(directory), running(directory.path) as sidecar:
        assert mail(sidecar, LARGE).startswith(
            "451 4.4.2 The connection to Office 365 broke (the message was accepted before it was sent);"
        )


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_a_verdict_counts_though_the_host_hangs_up_after_it(directory: MailerDirectory) -> None:
    def curt(peer: Peer) -> None:
        peer.authenticate()
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            peer.line()
            peer.say(reply)
        peer.line()
        peer.say(b"552 5.3.4 too big\r\n")
        time.sleep(0.3)  # nothing tells that the verdict has arrived, while most of the message has not left
        peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, no FIN

    with ScratchHost(curt) as host, host.described(directory), running(directory.path) as sidecar:
        assert mail(sidecar, LARGE).startswith("552 5.3.4 too big [")


@pytest.mark.promise("token-before-tls-never")
def test_a_host_that_says_more_than_its_greeting_gets_no_token(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("connect", extra="250-host\r\n250 AUTH XOAUTH2\r\n")
    assert "451 4.4.1 Office 365 cannot be reached: the submission host spoke out of turn before TLS;" in mail(sidecar)
    assert "AUTH" not in emulator.counters()["commands"]


@pytest.mark.promise("token-before-tls-never")
def test_a_host_that_answers_ehlo_twice_under_tls_gets_no_token(directory: MailerDirectory) -> None:
    def eager(peer: Peer) -> None:
        peer.start()
        peer.line()
        peer.say(SECURE_EHLO + b"235 2.7.0 taken already\r\n")
        peer.line()

    with ScratchHost(eager) as host, host.described(directory), running(directory.path) as sidecar:
        assert mail(sidecar).startswith("451 4.4.1 Office 365 cannot be reached: 127.0.0.1 spoke out of turn;")
        assert b"AUTH" not in host.peers[0].heard


@pytest.mark.promise("accepted-means-kept")
@pytest.mark.parametrize("step", ["auth", "mail", "rcpt"])
def test_a_second_reply_to_a_command_ends_the_connection(emulator: EmulatorClient, sidecar: Sidecar, step: str) -> None:
    emulator.script(step, extra="250 2.0.0 nobody asked\r\n")
    assert mail(sidecar).startswith("451 4.4.2 The connection to Office 365 broke (it spoke out of turn);")
    assert mail(sidecar).startswith("250 ")
    assert emulator.counters()["connections"] == 2
    assert len(emulator.messages()) == 1


def test_a_farewell_after_the_verdict_does_not_change_the_verdict(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("body", extra="421 4.4.1 Connection timed out\r\n")
    assert mail(sidecar).startswith("250 ")
    assert mail(sidecar).startswith("250 ")
    assert emulator.counters()["connections"] == 2
    assert len(emulator.messages()) == 2


@pytest.mark.promise("accepted-means-kept")
@pytest.mark.parametrize(
    "reply",
    ["150 wait", "999 what", "2500 ok", "550-no\r\n250 yes", "250-yes\r\n550 no", "250 2.0.0 " + "x" * 9000],
)
def test_what_is_no_reply_is_no_verdict(emulator: EmulatorClient, sidecar: Sidecar, reply: str) -> None:
    emulator.script("body", reply=reply)
    assert mail(sidecar).startswith(
        "451 4.4.2 No verdict from Office 365 (it spoke no SMTP); it may have taken the message ["
    )
    assert mail(sidecar).startswith("250 ")
    assert emulator.counters()["connections"] == 2, "whose reply the next one is, nobody can know"


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_a_refusal_is_told_though_the_reset_after_it_hangs(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("rcpt", reply="550 5.1.10 no such recipient")
    emulator.script("rset", stall=True)
    reply = mail(sidecar)
    assert reply.startswith("550 5.1.10 <a@example.com>: no such recipient ["), "not confirmWithin's 451"
    emulator.release()
