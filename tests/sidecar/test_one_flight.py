"""Several commands in one write: what may leave before the envelope is answered, and what a refusal then means."""

import base64
import threading
from collections.abc import Callable

import pytest
from support.emulator_client import EmulatorClient
from support.scratch_submission import Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

TEXT = b"Subject: x\r\n\r\nbody\r\n..dots\r\n"
EHLO = b"250-host\r\n250-AUTH XOAUTH2\r\n%b250 SIZE 100000000\r\n"
LARGE = b"Subject: x\r\n\r\n" + b".x" * 35 + b"\r\n" + (b"y" * 70 + b"\r\n") * 1000


def mail(sidecar: Sidecar, content: bytes = TEXT, *recipients: str) -> str:
    """One message, and its final reply. `content` is as the app writes it, dots stuffed."""
    with Wire(sidecar.port) as app:
        app.begin("noreply@contoso.com", *recipients)
        return app.deliver(content)


def opening(peer: Peer, *extensions: bytes) -> None:
    """All that comes before the second message: these extensions, and a first message by DATA."""
    peer.start()
    peer.line()
    peer.say(EHLO % b"".join(b"250-%b\r\n" % word for word in extensions))
    peer.line()
    peer.say(b"235 2.7.0 ok\r\n")
    steps = ((b"MAIL", b"250 ok\r\n"), (b"RCPT", b"250 ok\r\n"), (b"DATA", b"354 go\r\n"))
    if b"PIPELINING" in extensions:
        assert [peer.line()[:4] for _ in steps] == [verb for verb, _ in steps], "all before the first reply"
        assert not peer.unread, "and nothing of the message"
        peer.say(b"".join(reply for _, reply in steps))
    else:
        for verb, reply in steps:
            assert peer.line().startswith(verb)
            assert not peer.unread, "each command when the one before was answered"
            peer.say(reply)
    peer.message()
    peer.say(b"250 2.6.0 first\r\n")


def envelope(peer: Peer, answers: bytes = b"250 ok\r\n250 ok\r\n354 go\r\n") -> None:
    """MAIL, one RCPT and DATA in one write, of the message not a byte; then these replies."""
    assert [peer.line()[:4] for _ in range(3)] == [b"MAIL", b"RCPT", b"DATA"]
    assert not peer.unread, "the message waits for its 354"
    peer.say(answers)


def two_mails(
    directory: MailerDirectory, script: Callable[[Peer], object], content: bytes = TEXT, *recipients: str
) -> str:
    """What the second of two messages on one connection is answered."""
    with ScratchHost(script) as host, host.described(directory), running(directory.path) as sidecar:
        assert mail(sidecar).startswith("250 2.6.0 ")
        return mail(sidecar, content, *recipients)


def first(peer: Peer, answers: bytes) -> None:
    """All that comes before a first message, and these replies to its MAIL, RCPT and DATA."""
    peer.start()
    peer.line()
    peer.say(EHLO % b"250-PIPELINING\r\n250-CHUNKING\r\n")
    peer.line()
    peer.say(b"235 2.7.0 ok\r\n")
    envelope(peer, answers)


@pytest.mark.promise("accepted-means-kept", "exchange-connection")
@pytest.mark.parametrize(
    ("answers", "told"),
    [(b"250 ok\r\n250 ok\r\n250 ok\r\n", "451 4.4.2 The connection to Office 365 broke (it spoke out of turn);"),
     (b"250 no\r\n250 ok\r\n250 ok\r\n354 go\r\n", "451 4.4.2 The connection to Office 365 broke (it spoke out of"),
     (b"250 ok\r\n250 ok\r\n354 go\r\n250 so soon\r\n", "451 4.4.2 The connection to Office 365 broke (it spoke out"),
     (b"250 ok\r\n354 go\r\n", "451 4.4.2 The connection to Office 365 broke (connection closed); nothing was sent"),
     (b"250 ok\r\n250 ok\r\n", "451 4.4.2 The connection to Office 365 broke (connection closed); nothing was sent"),
     (b"", "451 4.4.2 The connection to Office 365 broke (connection closed); nothing was sent"),
     (b"250 ok\r\n550 5.1.1 nobody\r\n354 go\r\n", "550 5.1.1 <a@example.com>: nobody ["),
     (b"550 5.7.1 no\r\n250 ok\r\n354 go\r\n", "550 5.7.1 no ["),
     (b"421 4.3.2 bye\r\n", "451 4.3.2 Office 365 said 421 4.3.2 bye; try again later ["),
     (b"550 5.7.1 no\r\n", "550 5.7.1 no [")],
)  # fmt: skip
def test_a_first_message_leaves_only_after_its_own_354(directory: MailerDirectory, answers: bytes, told: str) -> None:
    def host(peer: Peer) -> None:
        first(peer, answers)
        if answers.count(b"\r\n") > 2:  # otherwise it hangs up
            peer.line()

    with ScratchHost(host, opening) as scratch, scratch.described(directory), running(directory.path) as sidecar:
        assert mail(sidecar).startswith(told)
        assert scratch.peers[0].heard.endswith(b"DATA\r\n"), "not a word more"
        assert mail(sidecar).startswith("250"), "over a connection of its own"
        assert len(scratch.peers) == 2


@pytest.mark.promise("exchange-connection")
@pytest.mark.parametrize(
    ("answers", "told"),
    [(b"550 5.7.1 no\r\n503 5.5.1 no\r\n503 5.5.1 no\r\n", "550 5.7.1 no ["),
     (b"250 ok\r\n550 5.1.1 nobody\r\n554 5.5.1 no\r\n", "550 5.1.1 <a@example.com>: nobody ["),
     (b"250 ok\r\n250 ok\r\n452 4.3.1 later\r\n", "451 4.3.1 Office 365 said 452 4.3.1 later")],
)  # fmt: skip
def test_a_first_message_that_is_refused_leaves_the_connection_usable(
    directory: MailerDirectory, answers: bytes, told: str
) -> None:
    def host(peer: Peer) -> None:
        first(peer, answers)
        assert peer.line() == b"RSET\r\n"
        peer.say(b"250 ok\r\n")
        envelope(peer)
        peer.message()
        peer.say(b"250 2.6.0 second\r\n")

    with ScratchHost(host) as scratch, scratch.described(directory), running(directory.path) as sidecar:
        assert mail(sidecar).startswith(told)
        assert mail(sidecar).startswith("250 2.6.0 Office 365 has it: second [")
        assert len(scratch.peers) == 1


@pytest.mark.promise("exchange-connection")
def test_a_later_message_is_pipelined_as_the_first_and_never_goes_by_bdat(directory: MailerDirectory) -> None:
    def host(peer: Peer) -> None:
        opening(peer, b"PIPELINING", b"CHUNKING")
        envelope(peer)
        assert peer.message().endswith(b"\r\nbody\r\n..dots\r\n"), "dots are stuffed"
        peer.say(b"250 2.6.0 second\r\n")

    assert two_mails(directory, host).startswith("250 2.6.0 Office 365 has it: second [")


ENDS = {
    "at once": b"",
    "after MAIL's reply": b"250 ok\r\n",
    "after RCPT's reply": b"250 ok\r\n250 ok\r\n",
    "within a reply": b"250 ok\r\n250 o",
    "421 to MAIL": b"421 4.4.1 Connection timed out\r\n",
    "421 to RCPT": b"250 ok\r\n421 4.4.1 Connection timed out\r\n",
    "421 to DATA": b"250 ok\r\n250 ok\r\n421 4.3.2 bye\r\n",
    "out of turn": b"250 ok\r\n250 ok\r\n250 ok\r\n",
    "no SMTP": b"hello\r\n",
}
"""How a host may end a connection that was idle, before it says 354."""


@pytest.mark.promise("exchange-connection")
@pytest.mark.parametrize("answers", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("recipients", [("a@example.com",), ("a@example.com", "b@example.com")], ids=["one", "two"])
def test_a_host_that_ends_an_idle_connection_before_354_gets_the_message_over_another(
    directory: MailerDirectory, answers: bytes, recipients: tuple[str, ...]
) -> None:
    def host(peer: Peer) -> None:
        opening(peer, b"PIPELINING", b"CHUNKING")
        assert peer.line().startswith(b"MAIL")
        if len(recipients) > 1 and answers.startswith(b"250 ok\r\n250 ok\r\n"):
            peer.say(b"250 ok\r\n")  # to the second RCPT
        peer.say(answers)
        if b"421" in answers:  # it lingers
            while command := peer.line():
                assert command[:4] in (b"RCPT", b"DATA"), "nothing is said to it any more"

    def another(peer: Peer) -> None:
        peer.authenticate()
        for verb in (b"MAIL", *(b"RCPT" for _ in recipients)):
            assert peer.line().startswith(verb)
            peer.say(b"250 ok\r\n")
        assert peer.line() == b"DATA\r\n"
        peer.say(b"354 go\r\n")
        peer.message()
        peer.say(b"250 2.6.0 second\r\n")

    with ScratchHost(host, another) as scratch, scratch.described(directory), running(directory.path) as sidecar:
        assert mail(sidecar).startswith("250 2.6.0 Office 365 has it: first [")
        assert mail(sidecar, TEXT, *recipients).startswith("250 2.6.0 Office 365 has it: second [")
        assert len(scratch.peers) == 2
        assert scratch.peers[0].heard.count(b"\r\nbody\r\n") == 1, "of the second message it got nothing"


@pytest.mark.promise("accepted-means-kept")
@pytest.mark.parametrize(
    ("answers", "told"),
    [(b"451 4.7.500 busy\r\n503 5.5.1 no\r\n503 5.5.1 no\r\n", "451 4.7.500 Office 365 said 451 4.7.500 busy"),
     (b"550 5.7.1 no\r\n503 5.5.1 no\r\n503 5.5.1 no\r\n", "550 5.7.1 no ["),
     (b"250 ok\r\n550 5.1.1 nobody\r\n503 5.5.1 no\r\n", "550 5.1.1 <a@example.com>: nobody ["),
     (b"250 ok\r\n250 ok\r\n554 5.6.0 unreadable\r\n", "554 5.6.0 unreadable ["),
     (b"250 ok\r\n250 ok\r\n452 4.3.1 later\r\n", "451 4.3.1 Office 365 said 452 4.3.1 later")],
)  # fmt: skip
def test_a_refusal_of_a_pipelined_message_is_told_and_the_next_goes_over_the_same_connection(
    directory: MailerDirectory, answers: bytes, told: str
) -> None:
    def host(peer: Peer) -> None:
        opening(peer, b"PIPELINING", b"CHUNKING")
        envelope(peer, answers)
        assert peer.line() == b"RSET\r\n"
        peer.say(b"250 ok\r\n")
        envelope(peer)
        peer.message()
        peer.say(b"250 2.6.0 third\r\n")

    with ScratchHost(host) as scratch, scratch.described(directory), running(directory.path) as sidecar:
        assert mail(sidecar).startswith("250")
        assert mail(sidecar).startswith(told)
        assert mail(sidecar).startswith("250 2.6.0 Office 365 has it: third")
        assert len(scratch.peers) == 1


@pytest.mark.promise("accepted-means-kept")
@pytest.mark.parametrize(
    ("answer", "told"),
    [(b"", "451 4.4.2 No verdict from Office 365 (connection closed); it may have taken the message"),
     (b"250 2.1.5 ok\r\n", "451 4.4.2 No verdict from Office 365 (it spoke out of turn); it may have taken"),
     (b"354 go\r\n", "451 4.3.0 Office 365 said 354"),
     (b"251 ok\r\n", "451 4.3.0 Office 365 said 251"),
     (b"hello\r\n", "451 4.4.2 No verdict from Office 365 (it spoke no SMTP); it may have taken the message"),
     (b"421 4.3.2 bye\r\n", "451 4.3.2 Office 365 said 421 4.3.2 bye; try again later [")],
)  # fmt: skip
def test_what_is_no_verdict_on_a_message_is_never_a_250_and_ends_the_connection(
    directory: MailerDirectory, answer: bytes, told: str
) -> None:
    def host(peer: Peer) -> None:
        opening(peer, b"PIPELINING", b"CHUNKING")
        envelope(peer)
        peer.message()
        peer.say(answer)
        if answer:  # otherwise it hangs up
            assert peer.line() == b"", "nothing more is said on it"

    with ScratchHost(host, opening) as scratch, scratch.described(directory), running(directory.path) as sidecar:
        assert mail(sidecar).startswith("250")
        assert mail(sidecar).startswith(told)
        assert mail(sidecar).startswith("250"), "over a connection of its own"
        assert len(scratch.peers) == 2


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_a_421_that_follows_a_verdict_leaves_the_verdict_as_it_is(directory: MailerDirectory) -> None:
    def host(peer: Peer) -> None:
        opening(peer, b"PIPELINING", b"CHUNKING")
        envelope(peer)
        peer.message()
        peer.say(b"250 2.6.0 second\r\n421 4.3.2 bye\r\n")

    assert two_mails(directory, host).startswith("250 2.6.0 Office 365 has it: second [")


def test_an_app_that_goes_while_an_old_connection_is_told_goodbye_leaves_none_open(directory: MailerDirectory) -> None:
    asked, closed = threading.Event(), threading.Event()

    def host(peer: Peer) -> None:
        opening(peer)
        assert peer.line() == b"QUIT\r\n"
        asked.set()  # and no reply
        assert peer.line() == b""
        closed.set()

    with ScratchHost(host, opening) as scratch, scratch.described(directory), running(directory.path) as sidecar:
        assert mail(sidecar).startswith("250")
        scratch.describe(directory, mailbox="other@contoso.com", senders={"allowed": ["noreply@contoso.com"]})
        with Wire(sidecar.port) as app:
            app.begin()
            assert app.ask("DATA").startswith("354")
            app.send(TEXT + b".\r\n")
            assert asked.wait(10)
        assert closed.wait(10)
        assert sidecar.event("message", outcome="dropped"), "it had gone before the host had answered"


def test_a_421_to_mail_on_a_kept_connection_is_no_verdict(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    assert mail(sidecar).startswith("250")
    emulator.script("mail", reply="421 4.4.1 Connection timed out", close=True)
    assert mail(sidecar).startswith("250")
    assert len(emulator.messages()) == 2


@pytest.mark.promise("all-recipients-or-none")
@pytest.mark.parametrize("extensions", [(b"PIPELINING", b"CHUNKING"), (b"PIPELINING",), (b"CHUNKING",), ()])
@pytest.mark.parametrize("content", [TEXT, LARGE], ids=["small", "large"])
def test_the_message_waits_for_its_recipients_where_it_may_not_go_ahead(
    directory: MailerDirectory, extensions: tuple[bytes, ...], content: bytes
) -> None:
    arrived: list[bytes] = []

    def host(peer: Peer) -> None:
        opening(peer, *extensions)
        for verb in (b"MAIL", b"RCPT", b"RCPT"):
            assert peer.line().startswith(verb)
            assert b"DATA" not in peer.unread
            if b"PIPELINING" not in extensions:
                assert not peer.unread
            peer.say(b"250 ok\r\n")
        assert peer.line() == b"DATA\r\n"
        assert not peer.unread
        peer.say(b"354 go\r\n")
        arrived.append(peer.message().replace(b"\r\n.", b"\r\n"))
        peer.say(b"250 2.6.0 second\r\n")

    answer = two_mails(directory, host, content, "a@example.com", "b@example.com")
    assert answer.startswith("250 2.6.0 Office 365 has it: second [")
    assert arrived[0].endswith(content.replace(b"\r\n.", b"\r\n"))


@pytest.mark.promise("all-recipients-or-none")
def test_a_refused_recipient_keeps_the_message_here(directory: MailerDirectory) -> None:
    def host(peer: Peer) -> None:
        opening(peer, b"PIPELINING", b"CHUNKING")
        assert [peer.line()[:4] for _ in range(3)] == [b"MAIL", b"RCPT", b"RCPT"]
        peer.say(b"250 ok\r\n250 ok\r\n550 5.1.1 nobody\r\n")
        assert peer.line() == b"RSET\r\n"
        peer.say(b"250 ok\r\n")
        peer.line()

    answer = two_mails(directory, host, TEXT, "a@example.com", "b@example.com")
    assert answer.startswith("550 5.1.1 <b@example.com>: nobody; nothing was sent to the other 1 [")


def test_a_refused_mail_costs_no_connection(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    assert mail(sidecar).startswith("250")
    emulator.script("mail", reply="550 5.7.1 not you")
    assert mail(sidecar).startswith("550 5.7.1 not you [")
    assert mail(sidecar).startswith("250")
    assert emulator.counters()["connections"] == 1
    assert len(emulator.messages()) == 2


def test_bytes_are_the_same_for_a_connections_first_message_and_for_later_ones(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    for content in (TEXT, TEXT, LARGE):
        assert mail(sidecar, content).startswith("250")
    counters = emulator.counters()
    assert (counters["connections"], counters["commands"]["DATA"]) == (1, 3)
    assert "BDAT" not in counters["commands"]
    for message, sent in zip(emulator.messages(), (TEXT, TEXT, LARGE), strict=True):
        assert base64.b64decode(message["content"]).endswith(sent.replace(b"\r\n.", b"\r\n"))
