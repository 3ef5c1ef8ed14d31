"""Bad input from an app: the session or the message is refused, the process lives, no other session notices."""

import signal
from collections.abc import Iterator

import pytest
from support.sidecar_process import Sidecar, Wire, running
from support.waiting import eventually


@pytest.fixture(scope="module")
def idle_sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One for all of these tests: it must survive them."""
    with running(tmp_path_factory.mktemp("mailer")) as sidecar:
        yield sidecar


@pytest.fixture
def bystander(idle_sidecar: Sidecar) -> Iterator[Wire]:
    """Another app's session, in the middle of a message; afterwards it must be where it was."""
    with Wire(idle_sidecar.port) as app:
        app.begin()
        yield app
        assert app.ask("DATA").startswith("354"), "another session noticed"
        app.send(b"x\r\n.\r\n")
        assert app.reply().startswith("451 4.3.5")
        assert idle_sidecar.process.poll() is None


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.parametrize(
    ("data", "reply"),
    [(b"NOOP\n", "500 5.5.2 A command ends with CRLF, this one ended with a lone LF; closing"),
     (b"NO\rOP\r\n", "500 5.5.2 A command holds a lone CR; closing"),
     (b"NO\0OP\r\n", "500 5.5.2 A command holds a NUL; closing"),
     (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "421 4.7.0 This is SMTP, not HTTP; closing"),
     (b"POST / HTTP/1.1\r\n\r\nMAIL FROM:<a@b.c>\r\n", "421 4.7.0 This is SMTP, not HTTP; closing"),
     (b"\x16\x03\x01\x02\x00\x01", "421 4.7.0 No TLS on loopback: use plain SMTP to this host; closing"),
     (b"x" * 12288, "500 5.5.2 Command line too long"),
     (b"QUIT\r\n", "221 2.0.0 Bye")],
)  # fmt: skip
def test_a_session_that_cannot_be_trusted_is_closed(
    bystander: Wire, idle_sidecar: Sidecar, data: bytes, reply: str
) -> None:
    with Wire(idle_sidecar.port) as app:
        app.send(data)
        assert app.reply() == reply
        assert app.closed()


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.parametrize(
    ("commands", "reply"),
    [(["MAIL FROM:<a@b.c>"], "503 5.5.1 Send EHLO first"),
     (["EHLO x", "RCPT TO:<a@b.c>"], "503 5.5.1 Send MAIL first"),
     (["EHLO x", "DATA"], "503 5.5.1 Send MAIL first"),
     (["EHLO x", "MAIL FROM:<a@b.c>", "DATA"], "503 5.5.1 Send RCPT first: the message has no recipient"),
     (["EHLO x", "MAIL FROM:<a@b.c>", "MAIL FROM:<a@b.c>"],
      "503 5.5.1 MAIL was sent already: finish that message, or send RSET"),
     (["RSET x"], "501 5.5.4 The command takes no argument"),
     (["QUIT x"], "501 5.5.4 The command takes no argument"),
     (["EHLO x", "MAIL FROM:<a@b.c>", "RCPT TO:<a@b.c>", "DATA x"], "501 5.5.4 The command takes no argument"),
     (["FROBNICATE"], "500 5.5.2 Command not recognized"),
     ([""], "500 5.5.2 Command not recognized"),
     (["\u00e4"], "500 5.5.2 Command not recognized"),
     (["STARTTLS"], "502 5.5.1 No TLS on loopback: turn STARTTLS off in the app for this host"),
     (["EXPN x"], "502 5.5.1 Command not implemented"),
     (["NOOP " + "x" * 2045], "500 5.5.2 Command line too long"),
     (["EHLO x", "AUTH CRAM-MD5"], "504 5.5.4 AUTH takes PLAIN or LOGIN"),
     (["AUTH PLAIN AAA="], "503 5.5.1 Send EHLO first"),
     (["EHLO x", "AUTH PLAIN AAA=", "AUTH PLAIN AAA="], "503 5.5.1 Already authenticated"),
     (["EHLO x", "AUTH LOGIN", "*"], "501 5.7.0 Authentication cancelled")],
)  # fmt: skip
def test_a_wrong_command_is_refused_and_the_session_goes_on(
    bystander: Wire, idle_sidecar: Sidecar, commands: list[str], reply: str
) -> None:
    with Wire(idle_sidecar.port) as app:
        for command in commands[:-1]:
            assert app.ask(command)[0] in "23"
        assert app.ask(commands[-1]) == reply
        assert app.ask("NOOP") == "250 2.0.0 OK"


def test_what_is_not_judged_is_taken(idle_sidecar: Sidecar) -> None:
    with Wire(idle_sidecar.port) as app:
        assert app.ask("EHLO [not a name at all").startswith("250-localhost\n")
        assert app.ask("HELO \xfc").startswith("250 localhost")
        for greeting in ("EHLO", "HELO", "ehlo ", "HELO  "):
            assert app.ask(greeting).startswith("250")
            assert app.ask("MAIL FROM:<noreply@contoso.com>").startswith("250")
        assert app.ask("NOOP " + "x" * 2041) == "250 2.0.0 OK"
        assert app.ask("NOOP x y").startswith("250")
        assert app.ask("VRFY postmaster").startswith("252")
        assert app.ask("HELP").startswith("214")


@pytest.mark.parametrize(
    "dialogue", [["AUTH PLAIN AGEAYg=="], ["AUTH PLAIN", "AGEAYg=="], ["AUTH LOGIN", "YQ==", "Yg=="],
                 ["AUTH LOGIN YQ==", "Yg=="], ["AUTH plain " + "A" * 12000], ["AUTH PLAIN", "not even base64"]],
)  # fmt: skip
def test_any_credentials_are_taken(idle_sidecar: Sidecar, dialogue: list[str]) -> None:
    with Wire(idle_sidecar.port) as app:
        assert "250 AUTH PLAIN LOGIN" in app.ask("EHLO x")
        *before, last = [app.ask(line) for line in dialogue]
        assert all(answer.startswith("334 ") for answer in before)
        assert last == "235 2.7.0 Accepted; this relay asks for no password"
    assert "AGEAYg" not in idle_sidecar.stderr()


@pytest.mark.promise("hostile-input-ends-its-own-session")
def test_too_many_bad_commands_end_the_session(bystander: Wire, idle_sidecar: Sidecar) -> None:
    with Wire(idle_sidecar.port) as app:
        for _ in range(20):
            assert app.ask("X").startswith("500")
        assert app.reply() == "421 4.7.0 Too many bad commands; closing"
        assert app.closed()


@pytest.mark.promise("smtp-conformance")
def test_the_count_of_bad_commands_ends_with_a_command_that_is_taken(idle_sidecar: Sidecar) -> None:
    with Wire(idle_sidecar.port) as app:
        for _ in range(3):
            for _ in range(19):
                assert app.ask("X").startswith("500")
            assert app.ask("NOOP").startswith("250")


@pytest.mark.promise("hostile-input-ends-its-own-session")
def test_a_message_sent_before_its_354_ends_the_session(bystander: Wire, idle_sidecar: Sidecar) -> None:
    with Wire(idle_sidecar.port) as app:
        app.begin()
        app.send(b"DATA\r\nSubject: x\r\n\r\n.\r\n")
        assert app.reply() == "421 4.7.0 Wait for 354 before the message; closing"
        assert app.closed()


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.parametrize(
    ("data", "reply"),
    [(b"EHLO x\r\n", "421 4.7.0 Wait for the greeting before the first command; closing"),
     (b"GET / HTTP/1.1\r\n\r\n", "421 4.7.0 This is SMTP, not HTTP; closing")],
)  # fmt: skip
def test_bytes_before_the_greeting_end_the_session(
    bystander: Wire, idle_sidecar: Sidecar, data: bytes, reply: str
) -> None:
    idle_sidecar.process.send_signal(signal.SIGSTOP)
    with Wire(idle_sidecar.port, greet=False) as app:
        app.send(data)
        idle_sidecar.process.send_signal(signal.SIGCONT)
        assert app.reply() == reply
        assert app.closed()


def test_pipelined_commands_are_answered_in_order(idle_sidecar: Sidecar) -> None:
    with Wire(idle_sidecar.port) as app:
        app.send(b"EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nRCPT TO:<>\r\nDATA\r\n")
        assert [app.reply()[:3] for _ in range(5)] == ["250", "250", "250", "501", "354"]
        app.send(b"x\r\n.\r\nRSET\r\nQUIT\r\n")
        assert [app.reply()[:3] for _ in range(3)] == ["451", "250", "221"]
        assert app.closed()


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.parametrize("step", range(7))
def test_an_app_may_vanish_at_any_step(bystander: Wire, idle_sidecar: Sidecar, step: int) -> None:
    steps = [
        b"EH",
        b"LO x\r\n",
        b"MAIL FROM:<a@b.c>\r\n",
        b"RCPT TO:<a@b.c>\r\n",
        b"DATA\r\n",
        b"Subject: x\r\n\r\n",
        b"\r\n.\r\n",
    ]
    app = Wire(idle_sidecar.port)
    for number, data in enumerate(steps[: step + 1]):
        app.send(data)
        if data.endswith(b"\r\n") and number < 5:
            app.reply()
    app.socket.close()
    eventually(lambda: idle_sidecar.metric("o365mailer_sessions") == 1)
    assert "_failed" not in idle_sidecar.stderr()


def test_more_recipients_than_exchange_can_take_are_deferred(idle_sidecar: Sidecar) -> None:
    with Wire(idle_sidecar.port) as app:
        app.begin()
        app.send(b"RCPT TO:<a@b.c>\r\n" * 1000)
        replies = [app.reply() for _ in range(1000)]
    assert replies[998] == "250 2.1.5 Recipient OK"
    assert replies[999] == "452 4.5.3 Too many recipients: send the message again to the others"


@pytest.mark.promise("hostile-input-ends-its-own-session")
def test_more_sessions_than_the_limit_are_told_so(idle_sidecar: Sidecar) -> None:
    apps = [Wire(idle_sidecar.port) for _ in range(100)]
    with Wire(idle_sidecar.port, greet=False) as one_more:
        assert one_more.reply().startswith("421 4.3.2 Too many sessions at once; close the idle ones")
        assert one_more.closed()
    apps[0].socket.close()
    eventually(lambda: idle_sidecar.metric("o365mailer_sessions") == 99)
    with Wire(idle_sidecar.port) as app:
        assert app.ask("NOOP").startswith("250")
    for app in apps:
        app.socket.close()
