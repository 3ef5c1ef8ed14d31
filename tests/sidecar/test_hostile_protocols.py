"""Request forgery: a browser, a URL fetcher or a TLS client that can be made to talk to the port sends no mail.

Its payload is a whole SMTP session. A fetcher cannot wait for replies: it writes at once, before the greeting or after
it, so what keeps the mail from going out is that a session waits at the greeting and at 354.
"""

import http.client
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running
from support.waiting import eventually

MAIL = (
    b"EHLO x\r\nMAIL FROM:<noreply@contoso.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\n"
    b"Subject: forged\r\n\r\nx\r\n.\r\nQUIT\r\n"
)
PAYLOADS = {
    "gopher": MAIL,
    "gopher-without-ehlo": MAIL.partition(b"\r\n")[2],
    "http-body": b"POST / HTTP/1.1\r\nHost: 127.0.0.1:25\r\nContent-Length: 200\r\n\r\n" + MAIL,
    "http-path": b"GET /\r\n" + MAIL + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "http-header": b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n" + MAIL + b"\r\n",
    "http-fetch": b"OPTIONS / HTTP/1.1\r\nOrigin: null\r\n\r\n" + MAIL,
    "http-method-of-its-own": b"EHLO / HTTP/1.1\r\nHost: x\r\n\r\n" + MAIL.partition(b"\r\n")[2],
    "http-lone-lf": b"POST / HTTP/1.1\nContent-Length: 9\n\n" + MAIL,
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + MAIL,
    "multipart": b'PUT / HTTP/1.0\r\n\r\n--b\r\nContent-Disposition: form-data; name="\r\n' + MAIL,
    "dict": b"CLIENT libcurl 8.0\r\n" + MAIL,
    "ftp": b"USER anonymous\r\n" + MAIL + b"PASS x\r\n",
    "redis": b"*1\r\n$4\r\nPING\r\n" + MAIL,
    "tls-hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + MAIL,
    "tls-sni": b"\x16\x03\x01\x00\xff\r\n" + MAIL,
    "nul": b"\0" + MAIL,
    "ldap": b"0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00\r\n" + MAIL,
}


@pytest.fixture(scope="module")
def relaying(fresh_emulator: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One for all of these tests: it must survive them, and would relay what it was given."""
    directory = MailerDirectory(tmp_path_factory.mktemp("protocols") / "mailer")
    directory.write_for(fresh_emulator)
    with running(directory.path) as sidecar:
        yield sidecar


def assert_nothing_was_sent(emulator: EmulatorClient, relaying: Sidecar) -> None:
    """And the control: what is sent as it should be arrives."""
    eventually(lambda: relaying.metric("o365mailer_sessions") == 0)
    assert emulator.counters()["commands"].get("MAIL", 0) == 0
    with Wire(relaying.port) as app:
        app.begin("noreply@contoso.com", "a@example.com")
        assert app.deliver(b"Subject: x\r\n\r\n").startswith("250")
    assert [message["recipients"] for message in emulator.messages()] == [["a@example.com"]]


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_what_is_written_before_the_greeting_sends_no_mail(
    emulator: EmulatorClient, relaying: Sidecar, payload: bytes
) -> None:
    relaying.process.send_signal(signal.SIGSTOP)
    try:
        app = Wire(relaying.port, greet=False)
        app.send(payload)
    finally:
        relaying.process.send_signal(signal.SIGCONT)
    with app:
        assert app.reply().startswith("421 4.7.0 ")
        assert app.closed()
    assert_nothing_was_sent(emulator, relaying)


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_what_is_written_right_after_the_greeting_sends_no_mail(
    emulator: EmulatorClient, relaying: Sidecar, payload: bytes
) -> None:
    with Wire(relaying.port) as app:
        app.send(payload)
        replies = list(iter(app.reply, ""))
    assert replies[-1][:3] in {"421", "500", "221"}  # the last to QUIT: without EHLO every command is only refused
    assert not any(reply.startswith("354") for reply in replies[:-2])
    assert_nothing_was_sent(emulator, relaying)


@pytest.mark.promise("hostile-input-ends-its-own-session")
def test_a_real_http_client_sends_no_mail(emulator: EmulatorClient, relaying: Sidecar) -> None:
    client = http.client.HTTPConnection("127.0.0.1", relaying.port, timeout=20)
    client.request("POST", "/", body=MAIL, headers={"Content-Type": "text/plain"})
    with pytest.raises((http.client.HTTPException, OSError)):
        client.getresponse()
    client.close()
    assert_nothing_was_sent(emulator, relaying)


@pytest.mark.promise("hostile-input-ends-its-own-session")
def test_a_real_tls_client_sends_no_mail(emulator: EmulatorClient, relaying: Sidecar) -> None:
    context = ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", relaying.port), 20) as connection, suppress(OSError):
        context.wrap_socket(connection, server_hostname="a.example")
    assert_nothing_was_sent(emulator, relaying)
