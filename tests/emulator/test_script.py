"""The script: any reply, delay or outage at any step, for the next n commands, and the text of a wrong rule."""

import time
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import Dialogue, authenticated, greeted, secured, xoauth2

from o365mailer_emulator.client import ControlRefused

HEADER = "From: noreply@contoso.com\r\n\r\n"
BUSY = "451 4.7.500 Server busy. Please try again later from [127.0.0.1]."


def begin(dialogue: Dialogue) -> None:
    assert dialogue.ask("MAIL FROM:<noreply@contoso.com>").startswith("250 ")
    assert dialogue.ask("RCPT TO:<a@b.example>").startswith("250 ")
    assert dialogue.ask("DATA").startswith("354 ")
    dialogue.send_bytes(f"{HEADER}hello\r\n.\r\n".encode())


def submit(emulator: EmulatorClient, token: str) -> str:
    with authenticated(emulator, token=token) as dialogue:
        begin(dialogue)
        return dialogue.reply()


def test_a_reply_stands_for_the_next_n_commands_only(emulator: EmulatorClient) -> None:
    emulator.script("mail", reply="421 4.7.0 later", times=1, match="other@*")
    emulator.script("mail", reply=BUSY, times=2)
    with authenticated(emulator) as dialogue:
        replies = [dialogue.ask("MAIL FROM:<noreply@contoso.com>") for _ in range(3)]
    assert replies == [BUSY, BUSY, "250 2.1.0 Sender OK"]
    assert [rule["match"] for rule in emulator.control("GET", "/script")["rules"]] == ["other@*"]


def test_a_reply_can_be_kept_back_for_some_commands(emulator: EmulatorClient) -> None:
    emulator.script("noop", reply="421 4.3.2 Service not available", after=2)
    with greeted(emulator) as dialogue:
        assert [dialogue.ask("NOOP")[:3] for _ in range(3)] == ["250", "250", "421"]
        assert dialogue.closed()


def test_one_recipient_is_refused_and_the_others_taken(emulator: EmulatorClient) -> None:
    emulator.script("rcpt", match="gone@*", named="recipient-unknown", times=None)
    with authenticated(emulator) as dialogue:
        dialogue.ask("MAIL FROM:<noreply@contoso.com>")
        replies = [dialogue.ask(f"RCPT TO:<{name}@b.example>") for name in ("here", "Gone", "gone", "there")]
        assert [reply[:9] for reply in replies] == ["250 2.1.5", "550 5.1.1", "550 5.1.1", "250 2.1.5"]
        dialogue.ask("DATA")
        dialogue.send_bytes(f"{HEADER}.\r\n".encode())
        assert dialogue.reply().startswith("250 ")
    assert emulator.messages()[0]["recipients"] == ["here@b.example", "there@b.example"]


def test_every_documented_reply_can_be_named(emulator: EmulatorClient) -> None:
    named = emulator.control("GET", "/replies")["replies"]
    assert len(named) > 20
    for name in named:
        emulator.script("vrfy", named=name)
    for known in named.values():
        with greeted(emulator) as dialogue:
            text = dialogue.ask("VRFY x")
        assert text.startswith(known["text"].partition("{")[0])
        assert "{" not in text


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("step", ["connect", "ehlo", "starttls", "tls", "auth", "mail", "rcpt", "data", "body"])
def test_the_connection_can_be_cut_at_every_step(emulator: EmulatorClient, step: str, ending: str) -> None:
    token = emulator.issue_token()
    emulator.script(step, **{ending: True})
    with pytest.raises((EOFError, OSError)):
        submit(emulator, token)
    assert emulator.messages() == []
    assert submit(emulator, token).startswith("250 ")


def test_a_mail_can_be_accepted_and_its_reply_lost(emulator: EmulatorClient) -> None:
    emulator.script("body", close=True, record=True)
    with authenticated(emulator) as dialogue:
        begin(dialogue)
        assert dialogue.closed()
    assert len(emulator.messages(atleast=1)) == 1


def test_a_reply_and_an_end_can_be_had_together(emulator: EmulatorClient) -> None:
    emulator.script("connect", reply="421 4.3.2 Service not available", close=True)
    dialogue = Dialogue(emulator.smtp_host, emulator.smtp_port)
    assert dialogue.reply() == "421 4.3.2 Service not available"
    assert dialogue.closed()


def test_bytes_can_be_injected_after_the_reply_to_starttls(emulator: EmulatorClient) -> None:
    emulator.script("starttls", extra="250 2.0.0 injected\r\n")
    with greeted(emulator) as dialogue:
        dialogue.ask("EHLO test.example")
        assert dialogue.ask("STARTTLS") == "220 2.0.0 SMTP server ready"
        assert dialogue.reply() == "250 2.0.0 injected"


def test_a_positive_reply_changes_only_the_words(emulator: EmulatorClient) -> None:
    emulator.script("mail", reply="250 2.1.0 Welcome", times=None)
    with secured(emulator) as dialogue:
        assert dialogue.ask("MAIL FROM:<noreply@contoso.com>").startswith("530 ")
        dialogue.ask(f"AUTH XOAUTH2 {xoauth2(emulator.mailbox, emulator.issue_token())}")
        assert dialogue.ask("MAIL FROM:<noreply@contoso.com>") == "250 2.1.0 Welcome"
        assert dialogue.ask("RCPT TO:<a@b.example>").startswith("250 ")


def test_a_stalled_step_goes_on_when_it_is_released(emulator: EmulatorClient) -> None:
    emulator.script("body", stall=True)
    with authenticated(emulator) as dialogue:
        begin(dialogue)
        assert emulator.events("stalled")[0]["step"] == "body"
        assert emulator.messages() == []
        emulator.release()
        assert dialogue.reply().startswith("250 ")
    assert len(emulator.messages()) == 1


def test_a_client_that_leaves_a_stalled_step_is_noticed(emulator: EmulatorClient) -> None:
    emulator.script("ehlo", stall=True)
    with greeted(emulator) as dialogue:
        dialogue.send("EHLO test.example")
        emulator.events("stalled")
    assert emulator.events("closed")
    assert emulator.counters()["openNow"] == 0


def test_a_delay_comes_before_the_reply(emulator: EmulatorClient) -> None:
    emulator.script("noop", delay=0.2)
    emulator.script("rset", stall=0.2, reply="250 2.0.0 slow")
    with greeted(emulator) as dialogue:
        began = time.monotonic()
        assert dialogue.ask("NOOP") == "250 2.0.0 OK"
        assert dialogue.ask("RSET") == "250 2.0.0 slow"
        assert time.monotonic() - began >= 0.4


def test_chunks_can_be_refused(emulator: EmulatorClient) -> None:
    emulator.script("bdat", reply="502 5.3.3 Command not implemented")
    with authenticated(emulator) as dialogue:
        dialogue.send_bytes(b"MAIL FROM:<noreply@contoso.com>\r\nRCPT TO:<a@b.example>\r\nBDAT 4 LAST\r\nQUIT")
        assert [dialogue.reply()[:3] for _ in range(3)] == ["250", "250", "502"]
        assert dialogue.ask("NOOP") == "250 2.0.0 OK"


def test_open_connections_can_be_reset(emulator: EmulatorClient) -> None:
    with authenticated(emulator) as dialogue:
        emulator.disconnect()
        assert dialogue.closed()
    assert emulator.counters()["openNow"] == 0


def test_the_script_can_be_cleared(emulator: EmulatorClient) -> None:
    emulator.script("noop", reply=BUSY, times=None)
    with greeted(emulator) as dialogue:
        assert dialogue.ask("NOOP") == BUSY
        emulator.control("DELETE", "/script")
        assert dialogue.ask("NOOP") == "250 2.0.0 OK"


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"step": "hello", "close": True}, "there is no step 'hello'; the steps are auth, bdat, body, connect"),
        ({"step": "mail"}, "the rule does nothing; give it a reply, named, close, reset, delay, stall or extra"),
        ({"step": "mail", "reply": "no"}, "reply: 'no' does not start with a three-digit code"),
        ({"step": "mail", "named": "nonsense"}, "no reply named 'nonsense'; GET /replies lists them"),
        ({"step": "token", "aadsts": 1}, "aadsts: 1 is not in the emulator's table"),
        ({"step": "mail", "close": True, "times": 0}, "times: 0 would never act; use 1 or more, or null for ever"),
        ({"step": "mail", "cloze": True}, "unknown field `cloze`"),
        ({"step": "mail", "times": "two"}, "`$.times`"),
        ({}, "missing required field `step`"),
    ],
)
def test_a_wrong_rule_is_refused_with_what_is_wrong(
    emulator: EmulatorClient, rule: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ControlRefused) as refused:
        emulator.control("POST", "/script", rule)
    assert complaint in str(refused.value)
    assert emulator.control("GET", "/script")["rules"] == []
