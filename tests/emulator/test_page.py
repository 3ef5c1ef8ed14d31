"""The page: everything visible without scripts, and nothing of a message taken for HTML."""

import html.parser
import urllib.error
import urllib.request

import pytest
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import authenticated

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
CONTENT = (
    f"From: noreply@contoso.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= {EVIL}\r\n"
    f"Content-Type: text/plain; charset=utf-8\r\n\r\nHello {EVIL}\r\n"
)


class Tags(html.parser.HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def look(emulator: EmulatorClient, path: str) -> Tags:
    with urllib.request.urlopen(emulator.control_url + path, timeout=10) as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        tags = Tags()
        tags.feed(answer.read().decode())
    return tags


def send(emulator: EmulatorClient, content: str = CONTENT) -> None:
    with authenticated(emulator) as dialogue:
        dialogue.ask(f"MAIL FROM:<{emulator.mailbox}>")
        dialogue.ask("RCPT TO:<someone@b.example>")
        dialogue.ask("DATA")
        dialogue.send_bytes(content.encode() + b".\r\n")
        assert dialogue.reply().startswith("250 ")


@pytest.mark.parametrize("path", ["/", "/message/1"])
def test_what_a_message_brings_is_text_and_never_html(emulator: EmulatorClient, path: str) -> None:
    send(emulator)
    page = look(emulator, path)
    assert f"Grüße {EVIL}" in page.text
    assert not {"script", "img", "iframe", "object"} & set(page.names)
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_the_overview_shows_mailboxes_messages_tokens_and_what_is_simulated(emulator: EmulatorClient) -> None:
    send(emulator)
    assert "everything behaves as Office 365 does" in look(emulator, "/").text
    emulator.script("rcpt", reply="550 5.1.10 no such recipient", times=None)
    emulator.settings(tokenLifetime=90)
    page = look(emulator, "/")
    for expected in (
        *(emulator.mailbox, "someone@b.example", emulator.tokens()[0]["uti"], "550 5.1.10 no such recipient"),
        *("always", "tokenLifetime", f"{emulator.authority}/{emulator.tenant}", f"port: {emulator.smtp_port}"),
        *("kind: O365Mailer", "1 accepted, 0 refused, 0 with an expired token"),
    ):
        assert expected in page.text, expected
    assert ("href", "/message/1") in page.attributes


def test_the_overview_shows_the_profile_and_every_axis_of_what_is_unknown(emulator: EmulatorClient) -> None:
    assert "Profile: default" in look(emulator, "/").text
    emulator.settings(profile="harsh", expiredSession="kept")
    page = look(emulator, "/")
    assert "Profile: harsh" in page.text
    for axis in emulator.control("GET", "/behaviour")["behaviour"]:
        assert axis in page.text, axis
    assert "expiredSessionkeptkeptcut" in page.text


def test_the_page_refreshes_itself_unless_told_not_to(emulator: EmulatorClient) -> None:
    assert ("http-equiv", "refresh") in look(emulator, "/").attributes
    assert ("http-equiv", "refresh") not in look(emulator, "/?refresh=off").attributes


def test_a_message_can_be_read_and_saved(emulator: EmulatorClient) -> None:
    send(emulator)
    page = look(emulator, "/message/1")
    assert f"Hello {EVIL}" in page.text
    assert "someone@b.example" in page.text
    with urllib.request.urlopen(f"{emulator.control_url}/message/1.eml", timeout=10) as answer:
        assert answer.headers["Content-Type"] == "message/rfc822"
        assert answer.read() == CONTENT.encode()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no header at all\r\n",
        "Subject: =?nonsense?q?x?=\r\nContent-Type: text/plain; charset=nonsense\r\n\r\nx\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\nnever begun\r\n",
        "Content-Transfer-Encoding: base64\r\n\r\n!!!\r\n",
        "Subject: \udcff\r\n\r\n\udcff\r\n".encode("utf-8", "surrogateescape").decode("latin-1"),
    ],
)
def test_a_broken_message_has_a_page_too(emulator: EmulatorClient, content: str) -> None:
    send(emulator, content)
    assert "Envelope" in look(emulator, "/message/1").text
    assert "Messages" in look(emulator, "/").text


@pytest.mark.parametrize(
    ("content", "subject"),
    [
        ("Subject: =?utf-8?b?a?=\r\n\r\nx\r\n", "=?utf-8?b?a?="),
        ("Subject: =?utf-8?q?a?= =?nonsense?q?b?=\r\n\r\nx\r\n", "=?utf-8?q?a?= =?nonsense?q?b?="),
        ("Subject: =?utf-7?q?a+2AA-b?=\r\n\r\nx\r\n", "a?b"),  # a lone surrogate, which UTF-8 cannot say
        ("Subject: =?utf-7?b?KzJB?=\r\n\r\nx\r\n", "=?utf-7?b?KzJB?="),
        ("Subject: one\r\nContent-Type: multipart/related; boundary=b\r\n\r\nno part\r\n", "one"),
        ("Subject: two\r\nContent-Type: multipart/related; boundary=b; start=\r\n\r\n--b--\r\n", "two"),
        ("Subject: three\r\nContent-Type: =?utf-8?q?a?=\r\nFrom: <\r\nTo: :;,@\r\n\r\nx\r\n", "three"),
        ("Subject: four\r\nContent-Disposition: attachment; filename*0*=x''%\r\n\r\nx\r\n", "four"),
        ("Subject: five\r\nContent-Type: text/plain; charset=utf-16\r\n\r\nodd\r\n", "five"),
    ],
)
def test_one_malformed_message_takes_no_page_from_the_others(
    emulator: EmulatorClient, content: str, subject: str
) -> None:
    send(emulator)
    send(emulator, content)
    assert subject in look(emulator, "/message/2").text
    overview = look(emulator, "/").text
    assert subject in overview
    assert f"Grüße {EVIL}" in overview
    assert len(emulator.messages()) == 2


def test_a_header_in_raw_utf_8_is_shown_and_told_as_it_was_sent(emulator: EmulatorClient) -> None:
    send(emulator, "From: Jörg <jörg@contoso.com>\r\nSender: noreply@contoso.com\r\nSubject: Rechnung 5 €\r\n\r\nx\r\n")
    assert "Rechnung 5 €" in look(emulator, "/").text
    assert "Jörg <jörg@contoso.com>" in look(emulator, "/message/1").text
    (message,) = emulator.messages()
    assert ["From", "Jörg <jörg@contoso.com>"] in message["headers"]


def test_attachments_are_named(emulator: EmulatorClient) -> None:
    part = "--b\r\nContent-Disposition: attachment; filename=bill.pdf\r\n\r\nx\r\n--b--\r\n"
    send(emulator, f"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n{part}")
    assert "Attached: bill.pdf" in look(emulator, "/message/1").text


def test_a_message_that_is_not_there_is_404(emulator: EmulatorClient) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        look(emulator, "/message/7")
    assert refused.value.code == 404
    assert refused.value.read() == b"There is no message 7; it may have been forgotten by a reset."


def test_the_page_shows_locks_rights_and_credentials(emulator: EmulatorClient) -> None:
    emulator.settings(lockAfter={"errors": 1})
    trusted = [{"issuer": "https://issuer.example", "subject": "system:serviceaccount:shop:mailer"}]
    emulator.control("PATCH", f"/applications/{emulator.client_id}", {"federatedCredentials": trusted})
    with authenticated(emulator) as dialogue:
        for command in (f"MAIL FROM:<{emulator.mailbox}>", "RCPT TO:<a@b.example>", "DATA"):
            dialogue.ask(command)
        assert dialogue.ask("From: boss@contoso.com\r\n\r\nHello\r\n.").startswith("554 5.2.252 ")
    page = look(emulator, "/").text
    assert f"itself only{emulator.client_id}throttled-send-as until 20" in page
    assert "system:serviceaccount:shop:mailer of https://issuer.example" in page
