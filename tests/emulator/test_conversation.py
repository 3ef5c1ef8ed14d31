"""Exchange's side of the conversation before a mail: greeting, capabilities, order of commands, odd lines."""

import re

import pytest
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import Dialogue, authenticated, greeted, secured

BEFORE_TLS = "SIZE 157286400,PIPELINING,DSN,ENHANCEDSTATUSCODES,STARTTLS,8BITMIME,BINARYMIME,CHUNKING,SMTPUTF8"
AFTER_TLS = BEFORE_TLS.replace("STARTTLS", "AUTH LOGIN XOAUTH2")
GREETING = (
    r"220 [A-Z0-9]+\.outlook\.office365\.com Microsoft ESMTP MAIL Service ready at "
    r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000 \[[0-9A-F]{16}\]"
)


def keywords(reply: str) -> str:
    return ",".join(line[4:] for line in reply.split("\n")[1:])


def test_the_greeting_has_exchanges_form(emulator: EmulatorClient) -> None:
    dialogue = Dialogue(emulator.smtp_host, emulator.smtp_port)
    assert re.fullmatch(GREETING, dialogue.reply())
    dialogue.close()


def test_ehlo_offers_starttls_before_tls_and_auth_only_after_it(emulator: EmulatorClient) -> None:
    with greeted(emulator) as dialogue:
        assert keywords(dialogue.ask("EHLO test.example")) == BEFORE_TLS
    with secured(emulator) as dialogue:
        assert keywords(dialogue.ask("EHLO test.example")) == AFTER_TLS


def test_mail_needs_authentication(emulator: EmulatorClient) -> None:
    with secured(emulator) as dialogue:
        reply = dialogue.ask(f"MAIL FROM:<{emulator.mailbox}>")
    assert re.fullmatch(r"530 5\.7\.57 Client not authenticated to send mail\. \[\S+ \S+Z [0-9A-F]{16}\]", reply)


def test_auth_is_refused_in_clear(emulator: EmulatorClient) -> None:
    with greeted(emulator) as dialogue:
        dialogue.ask("EHLO test.example")
        assert dialogue.ask("AUTH XOAUTH2 bm90LWEtdG9rZW4=").startswith("504 5.7.4 Unrecognized authentication type")
    assert emulator.counters()["authFailed"] == 0


def test_what_was_sent_in_clear_after_starttls_is_thrown_away(emulator: EmulatorClient) -> None:
    with greeted(emulator) as dialogue:
        dialogue.ask("EHLO test.example")
        dialogue.send("STARTTLS", "NOOP", "VRFY smuggled")
        assert dialogue.reply().startswith("220 ")
        dialogue.secure(emulator.ca_file)
        assert dialogue.ask("EHLO test.example").startswith("250-")
    assert not {"NOOP", "VRFY"} & set(emulator.counters()["commands"])


def test_the_session_starts_over_after_tls(emulator: EmulatorClient) -> None:
    with greeted(emulator) as dialogue:
        dialogue.ask("EHLO test.example")
        dialogue.ask("STARTTLS")
        dialogue.secure(emulator.ca_file)
        assert dialogue.ask(f"MAIL FROM:<{emulator.mailbox}>").startswith("503 5.5.2 ")


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("NOOP", "250 2.0.0 OK"),
        ("RSET", "250 2.0.0 Resetting"),
        ("VRFY someone", "252 2.1.5 Cannot VRFY user"),
        ("HELP", "214 HELO EHLO STARTTLS RCPT DATA RSET MAIL QUIT HELP AUTH BDAT"),
        ("RCPT TO:<a@b.example>", "503 5.5.2 Need mail command"),
        ("DATA", "503 5.5.2 Need mail command"),
        ("STARTTLS", "503 5.5.2 Bad sequence of commands"),
        ("FROB", "500 5.3.3 Unrecognized command 'FROB'"),
        ("EHLO", "501 5.5.4 Invalid arguments"),
        ("MAIL FROM:noreply@contoso.com", "501 5.5.4 Invalid arguments"),
        ("MAIL FROM:<noreply@contoso.com> SIZE=many", "501 5.5.4 Invalid arguments"),
        ("MAIL FROM:<noreply@contoso.com> SIZE=999999999999", "552 5.3.4 Message size exceeds fixed maximum"),
        ("NOOP " + "x" * 2100, "500 5.3.3 Line too long"),
        ("NOOP " + "x" * 30_000, "500 5.3.3 Line too long"),
        ("GET / HTTP/1.1", "500 5.3.3 Unrecognized command 'GET'"),
    ],
)
def test_a_command_is_answered_and_the_session_goes_on(emulator: EmulatorClient, command: str, reply: str) -> None:
    with authenticated(emulator) as dialogue:
        assert reply in dialogue.ask(command)
        assert dialogue.ask("NOOP") == "250 2.0.0 OK"


def test_a_lone_line_feed_does_not_end_a_command(emulator: EmulatorClient) -> None:
    with authenticated(emulator) as dialogue:
        dialogue.send_bytes(b"NOOP\nVRFY x\r\n")
        assert dialogue.reply().startswith("500 5.3.3 ")
        assert dialogue.ask("NOOP") == "250 2.0.0 OK"
    assert emulator.counters()["commands"]["NOOP"] == 1


def test_quit_closes_the_connection(emulator: EmulatorClient) -> None:
    with greeted(emulator) as dialogue:
        assert dialogue.ask("QUIT") == "221 2.0.0 Service closing transmission channel"
        assert dialogue.closed()


def test_an_idle_session_is_ended_with_its_duration(emulator: EmulatorClient) -> None:
    emulator.settings(idleTimeout=0.2)
    with greeted(emulator) as dialogue:
        assert re.fullmatch(r"421 4\.4\.1 Connection timed out\. Total session duration: 00:00:0\d", dialogue.reply())
        assert dialogue.closed()
