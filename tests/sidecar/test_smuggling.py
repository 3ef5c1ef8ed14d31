"""SMTP smuggling: what one side takes for the end of a message must not be a line of it for the other.

The corpus is that of https://www.postfix.org/smtp-smuggling.html and of the tools written for it: every end of data
that some server has taken, with a second message after it.
"""

import base64

import pytest
from support.emulator_client import EmulatorClient
from support.postfix_sink import sinking
from support.sidecar_process import MailerDirectory, Wire, running

ENDS = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "LF.CR": b"\n.\r",
    "CR.CR": b"\r.\r",
    "CR.LF": b"\r.\n",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CRLF.CR": b"\r\n.\r",
    "CRCRLF.CRLF": b"\r\r\n.\r\n",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "NULLF.LF": b"\0\n.\n",
    "CRLFNUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NULCRLF": b"\r\n.\0\r\n",
    "LFLF.LF": b"\n\n.\n",
    "CRLFCR.CRLF": b"\r\n\r.\r\n",
}
SMUGGLED = (
    b"MAIL FROM:<boss@contoso.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
)


@pytest.mark.promise("no-smuggling")
@pytest.mark.parametrize("endings", ["Normalize", "Reject"])
@pytest.mark.parametrize("name", ENDS)
def test_there_is_one_message_or_a_refusal(
    emulator: EmulatorClient, directory: MailerDirectory, name: str, endings: str
) -> None:
    directory.write_for(emulator, delivery={"lineEndings": endings}, senders={"allowed": ["@contoso.com"]})
    with running(directory.path) as sidecar, Wire(sidecar.port) as app:
        app.begin()
        assert app.ask("DATA").startswith("354")
        app.send(b"Subject: outer\r\n\r\nbody" + ENDS[name])
        app.send(SMUGGLED)
        first = app.reply()
        assert first.startswith(("250 2.0.0 Office 365 has it", "554 5.6.0 "))
        assert app.ask("NOOP").startswith(("250", "503", "500")), "the bytes were read as a message, not as commands"
    messages = emulator.messages()
    assert len(messages) <= 1
    for message in messages:
        content = base64.b64decode(message["content"])
        assert message["recipients"] == ["a@example.com"]
        assert content.count(b"\n") == content.count(b"\r") == content.count(b"\r\n")
        assert b"Subject: smuggled" in content, "what looked like a second message is text of the first"
    assert emulator.counters()["commands"].get("MAIL", 0) <= 1


def test_the_corpus_would_be_noticed(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    """The control: after a true end of data the same bytes are a second message."""
    directory.write_for(emulator)
    with running(directory.path) as sidecar, Wire(sidecar.port) as app:
        app.begin()
        assert app.ask("DATA").startswith("354")
        app.send(b"Subject: outer\r\n\r\nbody\r\n.\r\n")
        assert app.reply().startswith("250")
        for command in (b"MAIL FROM:<noreply@contoso.com>", b"RCPT TO:<victim@example.com>"):
            assert app.ask(command).startswith("250")
        assert app.deliver(b"Subject: smuggled\r\n\r\nx\r\n").startswith("250")
    assert len(emulator.messages()) == 2


@pytest.mark.promise("no-smuggling")
@pytest.mark.parametrize("name", ENDS)
def test_postfix_reads_the_same_one_message(directory: MailerDirectory, name: str) -> None:
    with sinking() as (sink, host):
        host.describe(directory, senders={"allowed": ["@contoso.com"]})
        with running(directory.path) as sidecar, Wire(sidecar.port) as app:
            app.begin()
            assert app.ask("DATA").startswith("354")
            app.send(b"Subject: outer\r\n\r\nbody" + ENDS[name])
            app.send(SMUGGLED)
            taken = app.reply().startswith("250 2.0.0 Office 365 has it")
        messages = sink.messages()
        assert len(messages) == taken
        for recipients, text in messages:
            assert recipients == [b"a@example.com"]
            assert b"\r" not in text
            assert b"RCPT TO:<victim@example.com>\nDATA\nSubject: smuggled\n\nx\n" in text


def test_postfix_would_notice_the_corpus(directory: MailerDirectory) -> None:
    """The control: after a true end of data there are two messages, and its dots are unstuffed once."""
    with sinking() as (sink, host):
        host.describe(directory)
        with running(directory.path) as sidecar, Wire(sidecar.port) as app:
            for recipient in ("a@example.com", "victim@example.com"):
                app.begin("noreply@contoso.com", recipient)
                assert app.deliver(b"Subject: outer\r\n\r\n..\r\n...x\r\n").startswith("250")
        found = sorted(sink.messages())
    assert [recipients for recipients, _ in found] == [[b"a@example.com"], [b"victim@example.com"]]
    assert all(text.endswith(b"Subject: outer\n\n.\n..x\n\n") for _, text in found)
