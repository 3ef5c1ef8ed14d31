"""A mail from MAIL to the verdict: DATA, BDAT, pipelining, limits, who may send, three connections a mailbox."""

import base64
import contextlib
import re

import pytest
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import Dialogue, authenticated

HEADER = "From: noreply@contoso.com\r\nSubject: a test\r\nMessage-ID: <one@contoso.com>\r\n\r\n"
ACCEPTED = r"250 2\.0\.0 OK <one@contoso\.com> \[Hostname=\S+\.prod\.outlook\.com\]"
CONCURRENT = (
    r"432 4\.3\.2 Concurrent connections limit exceeded\. Visit https://aka\.ms/concurrent_sending "
    r"for more information\. \[Hostname=\S+\]"
)


def begin(dialogue: Dialogue, *, sender: str = "noreply@contoso.com", recipient: str = "a@b.example") -> None:
    assert dialogue.ask(f"MAIL FROM:<{sender}>") == "250 2.1.0 Sender OK"
    assert dialogue.ask(f"RCPT TO:<{recipient}>") == "250 2.1.5 Recipient OK"


def send(dialogue: Dialogue, content: str = HEADER + "hello\r\n", *, sender: str = "noreply@contoso.com") -> str:
    begin(dialogue, sender=sender)
    assert dialogue.ask("DATA") == "354 Start mail input; end with <CRLF>.<CRLF>"
    dialogue.send_bytes(content.encode() + b".\r\n")
    return dialogue.reply()


def contents(emulator: EmulatorClient) -> list[bytes]:
    return [base64.b64decode(message["content"]) for message in emulator.messages()]


def test_an_accepted_mail_is_in_the_mailbox_with_its_envelope(emulator: EmulatorClient) -> None:
    with authenticated(emulator) as dialogue:
        assert re.fullmatch(ACCEPTED, send(dialogue))
    (message,) = emulator.messages(atleast=1)
    assert message["mailbox"] == emulator.mailbox
    assert message["reversePath"] == "noreply@contoso.com"
    assert message["recipients"] == ["a@b.example"]
    assert message["headers"][1] == ["Subject", "a test"]
    assert message["tls"].startswith("TLSv1.")
    assert message["token"] in [token["uti"] for token in emulator.tokens()]
    assert not message["chunked"]


def test_dots_are_unstuffed(emulator: EmulatorClient) -> None:
    """One at the beginning of a line goes, which a client forgot to double (RFC 5321 §4.5.2)."""
    with authenticated(emulator) as dialogue:
        send(dialogue, HEADER + "..\r\n..leading\r\n.forgotten\r\nin.side..\r\n")
    assert contents(emulator) == [(HEADER + ".\r\n.leading\r\nforgotten\r\nin.side..\r\n").encode()]


def test_only_crlf_dot_crlf_ends_the_data(emulator: EmulatorClient) -> None:
    with authenticated(emulator) as dialogue:
        begin(dialogue)
        dialogue.ask("DATA")
        dialogue.send_bytes(HEADER.encode() + b"a\n.\nMAIL FROM:<x@y.example>\r.\r\r\n.\r\n")
        assert dialogue.reply().startswith("550 5.6.11 ")
        assert dialogue.ask("NOOP") == "250 2.0.0 OK"


@pytest.mark.parametrize("line_end", ["\n", "\r"])
def test_a_lone_line_end_is_refused(emulator: EmulatorClient, line_end: str) -> None:
    with authenticated(emulator) as dialogue:
        assert send(dialogue, f"{HEADER}a{line_end}b\r\n") == "550 5.6.11 Invalid characters"
        assert re.fullmatch(ACCEPTED, send(dialogue))


def test_commands_in_one_write_are_answered_in_order(emulator: EmulatorClient) -> None:
    with authenticated(emulator) as dialogue:
        dialogue.send("MAIL FROM:<noreply@contoso.com>", "RCPT TO:<a@b.example>", "RCPT TO:<c@d.example>", "DATA")
        assert [dialogue.reply()[:3] for _ in range(4)] == ["250", "250", "250", "354"]
        dialogue.send_bytes(f"{HEADER}.\r\nRSET\r\n".encode())
        assert [dialogue.reply()[:9] for _ in range(2)] == ["250 2.0.0", "250 2.0.0"]
    assert emulator.messages()[0]["recipients"] == ["a@b.example", "c@d.example"]


def test_chunks_make_one_message(emulator: EmulatorClient) -> None:
    content = (HEADER + ".\r\n..\r\n").encode()
    with authenticated(emulator) as dialogue:
        begin(dialogue)
        dialogue.send_bytes(b"BDAT 10\r\n" + content[:10])
        assert dialogue.reply() == "250 2.6.0 CHUNK received OK, 10 octets"
        dialogue.send_bytes(b"BDAT %d LAST\r\n" % len(content[10:]) + content[10:])
        assert re.fullmatch(ACCEPTED, dialogue.reply())
    assert contents(emulator) == [content]
    assert emulator.messages()[0]["chunked"]


def test_mail_rcpt_and_bdat_fit_in_one_flight(emulator: EmulatorClient) -> None:
    content = (HEADER + "hello\r\n").encode()
    flight = b"MAIL FROM:<noreply@contoso.com>\r\nRCPT TO:<a@b.example>\r\nBDAT %d LAST\r\n" % len(content) + content
    with authenticated(emulator) as dialogue:
        dialogue.send_bytes(flight * 3)
        assert [dialogue.reply()[:9] for _ in range(9)] == ["250 2.1.0", "250 2.1.5", "250 2.0.0"] * 3
    assert contents(emulator) == [content] * 3


def test_a_chunk_after_a_refused_mail_is_read_and_refused(emulator: EmulatorClient) -> None:
    emulator.script("mail", reply="550 5.7.60 SMTP; Client does not have permissions to send as this sender")
    with authenticated(emulator) as dialogue:
        dialogue.send_bytes(b"MAIL FROM:<x@y.example>\r\nRCPT TO:<a@b.example>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
        assert [dialogue.reply()[:3] for _ in range(4)] == ["550", "503", "503", "250"]
    assert emulator.messages() == []
    assert "QUIT" not in emulator.counters()["commands"]


def test_data_after_chunks_is_out_of_order(emulator: EmulatorClient) -> None:
    with authenticated(emulator) as dialogue:
        begin(dialogue)
        dialogue.send_bytes(b"BDAT 2\r\nhi")
        assert dialogue.reply().startswith("250 2.6.0 ")
        assert dialogue.ask("DATA") == "503 5.5.2 Bad sequence of commands"


def test_the_mailboxs_size_limit_is_told_at_the_end_of_data(emulator: EmulatorClient) -> None:
    emulator.settings(messageSize=200)
    with authenticated(emulator) as dialogue:
        reply = send(dialogue, HEADER + "x" * 200 + "\r\n")
        assert reply.startswith("554 5.2.3 STOREDRV.Submission.Exception:MessageSubmissionExceededException")
        assert re.fullmatch(ACCEPTED, send(dialogue))


def test_the_services_size_limit_ends_the_connection(emulator: EmulatorClient) -> None:
    emulator.settings(serviceSize=1000)
    with authenticated(emulator) as dialogue:
        assert send(dialogue, HEADER + "x" * 70_000 + "\r\n").startswith("552 5.3.4 ")
        assert dialogue.closed()


def test_recipients_over_the_limit_are_refused_one_by_one(emulator: EmulatorClient) -> None:
    emulator.settings(recipientsPerMessage=1)
    with authenticated(emulator) as dialogue:
        begin(dialogue)
        assert dialogue.ask("RCPT TO:<second@b.example>") == "452 4.5.3 Too many recipients"


@pytest.mark.parametrize(
    ("sender", "author"),
    [("ceo@contoso.com", "noreply@contoso.com"), ("noreply@contoso.com", "The Chief <ceo@contoso.com>")],
)
def test_sending_as_someone_else_is_denied_after_the_data(emulator: EmulatorClient, sender: str, author: str) -> None:
    content = HEADER.replace("From: noreply@contoso.com", f"From: {author}") + "hello\r\n"
    with authenticated(emulator) as dialogue:
        reply = send(dialogue, content, sender=sender)
        expected = "554 5.2.252 SendAsDenied; noreply@contoso.com not allowed to send as ceo@contoso.com; STOREDRV."
        assert reply.startswith(expected)
        assert "MapiExceptionSendAsDenied; Failed to process message due to a permanent exception" in reply
        assert "[BeginDiagnosticData]" in reply
        emulator.control("PATCH", f"/mailboxes/{emulator.mailbox}", {"sendAs": ["CEO@contoso.com"]})
        assert re.fullmatch(ACCEPTED, send(dialogue, content, sender=sender))


@pytest.mark.parametrize(
    "author",
    ['"Doe, Jane" <noreply@contoso.com>', "=?utf-8?q?J=C3=B6rg?=\r\n <NoReply@Contoso.com>", "(x) noreply@contoso.com"],
)
def test_the_author_may_be_written_in_any_form(emulator: EmulatorClient, author: str) -> None:
    content = HEADER.replace("From: noreply@contoso.com", f"FROM : {author}") + "From: ceo@contoso.com\r\n"
    with authenticated(emulator) as dialogue:
        assert re.fullmatch(ACCEPTED, send(dialogue, content))


def test_the_null_reverse_path_is_taken_and_the_author_still_judged(emulator: EmulatorClient) -> None:
    with authenticated(emulator) as dialogue:
        assert re.fullmatch(ACCEPTED, send(dialogue, sender=""))
        assert send(dialogue, HEADER.replace("noreply", "ceo"), sender="").startswith("554 5.2.252 ")


def test_several_authors_need_a_sender(emulator: EmulatorClient) -> None:
    several = HEADER.replace("From: noreply", "From: a@contoso.com, noreply") + "hello\r\n"
    with authenticated(emulator) as dialogue:
        assert send(dialogue, several).startswith("550 5.1.20 Multiple From addresses")
        assert send(dialogue, "Sender: noreply@contoso.com\r\n" + several).startswith("250 2.0.0 OK")


def test_the_fourth_connection_of_a_mailbox_is_told_432_after_its_data(emulator: EmulatorClient) -> None:
    with contextlib.ExitStack() as stack:
        dialogues = [stack.enter_context(authenticated(emulator)) for _ in range(4)]
        assert [send(dialogue)[:3] for dialogue in dialogues] == ["250", "250", "250", "432"]
        assert re.fullmatch(CONCURRENT, send(dialogues[3]))
        dialogues[0].ask("QUIT")
        emulator.events("closed")
        assert re.fullmatch(ACCEPTED, send(dialogues[3]))
    counters = emulator.counters()
    assert counters["replies"]["432"] == 2
    assert counters["authenticatedPeak"] == 4


def test_another_mailbox_has_three_connections_of_its_own(emulator: EmulatorClient) -> None:
    emulator.settings(connectionsPerMailbox=1)
    emulator.control("PATCH", "/mailboxes/second@contoso.com", {})
    with authenticated(emulator) as first, authenticated(emulator) as surplus:
        assert [send(first)[:3], send(surplus)[:3]] == ["250", "432"]
        emulator.control("PATCH", "/settings", {"connectionsPerMailbox": 2})
        assert send(surplus)[:3] == "250"
