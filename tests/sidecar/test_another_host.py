"""The relay's behaviour against aiosmtpd: a submission host that is not ours, with and without PIPELINING."""

import time

import pytest
from support.aiosmtpd_host import aiosmtpd_host
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

TEXT = b"Subject: one\r\nFrom: noreply@contoso.com\r\n\r\nbody\r\n"

pytestmark = pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "one-by-one"])


def mail(sidecar: Sidecar, content: bytes = TEXT, *recipients: str) -> str:
    """One message, and its final reply."""
    with Wire(sidecar.port) as app:
        app.begin("noreply@contoso.com", *recipients)
        return app.deliver(content)


@pytest.mark.promise("accepted-means-kept", "exchange-connection")
def test_mails_arrive_whole_over_one_connection(directory: MailerDirectory, pipelining: bool) -> None:
    with aiosmtpd_host(directory, pipelining=pipelining) as host, running(directory.path) as sidecar:
        replies = [mail(sidecar), mail(sidecar, TEXT, "a@example.com", "b@example.com")]
    assert [reply.partition(" [")[0] for reply in replies] == ["250 2.0.0 Office 365 has it: OK"] * 2
    first, second = host.arrived
    assert (first.sender, first.recipients) == ("noreply@contoso.com", ["a@example.com"])
    assert second.recipients == ["a@example.com", "b@example.com"]
    assert first.content.startswith(b"Received: by o365mailer with ESMTP id ")
    assert first.content.endswith(TEXT)
    assert len(host.sessions) == 1


@pytest.mark.promise("all-recipients-or-none")
def test_a_refused_recipient_keeps_the_message_here(directory: MailerDirectory, pipelining: bool) -> None:
    with aiosmtpd_host(directory, pipelining=pipelining) as host, running(directory.path) as sidecar:
        host.refused["b@example.com"] = "550 5.1.10 no such recipient"
        reply = mail(sidecar, TEXT, "a@example.com", "b@example.com")
        assert reply.startswith("550 5.1.10 <b@example.com>: no such recipient; nothing was sent to the other 1 [")
        assert mail(sidecar, TEXT, "b@example.com").startswith("550 5.1.10 <b@example.com>: no such recipient [")
        assert host.arrived == []
        assert mail(sidecar).startswith("250 "), "over the same connection"
        assert len(host.sessions) == 1


@pytest.mark.promise("app-gets-exchanges-verdict")
def test_a_refusal_at_the_end_of_data_is_the_apps(directory: MailerDirectory, pipelining: bool) -> None:
    with aiosmtpd_host(directory, pipelining=pipelining) as host, running(directory.path) as sidecar:
        host.verdict = "554 5.6.0 malformed"
        assert mail(sidecar).startswith("554 5.6.0 malformed [")
        host.verdict = "451 4.7.0 Temporary server error"
        assert mail(sidecar).startswith("451 4.7.0 Office 365 said 451 4.7.0 Temporary server error; try again later [")
        assert host.arrived == []
        host.verdict = "250 2.0.0 OK"
        assert mail(sidecar).startswith("250 ")
        assert len(host.sessions) == 1


@pytest.mark.promise("message-unchanged")
def test_8_bit_text_and_utf8_addresses_are_announced_and_arrive(directory: MailerDirectory, pipelining: bool) -> None:
    content = "Subject: grün\r\nFrom: noreply@contoso.com\r\n\r\nKäse\r\n".encode()
    with aiosmtpd_host(directory, pipelining=pipelining) as host, running(directory.path) as sidecar:
        with Wire(sidecar.port) as app:
            for command in (
                "EHLO x",
                "MAIL FROM:<noreply@contoso.com> BODY=8BITMIME SMTPUTF8",
                "RCPT TO:<jürgen@ö.example>",
            ):
                assert app.ask(command).startswith("250")
            assert app.deliver(content).startswith("250 ")
        assert mail(sidecar).startswith("250 ")
    international, plain = host.arrived
    assert international.recipients == ["jürgen@ö.example"]
    assert {"BODY=8BITMIME", "SMTPUTF8"} <= set(international.options)
    assert international.content.endswith(content)
    assert not {"BODY=8BITMIME", "SMTPUTF8"} & set(plain.options)


@pytest.mark.promise("message-unchanged")
def test_a_large_message_arrives_byte_for_byte(directory: MailerDirectory, pipelining: bool) -> None:
    lines = b"".join(b"%d." % number * 9 + b"\r\n.\r\n..\r\n" for number in range(10_000))
    with (
        aiosmtpd_host(directory, pipelining=pipelining, data_size_limit=2**25) as host,
        running(directory.path) as sidecar,
    ):
        assert mail(sidecar, TEXT + lines.replace(b"\r\n.", b"\r\n..")).startswith("250 ")
    assert host.arrived[0].content.endswith(TEXT + lines)


@pytest.mark.promise("exchange-connection")
def test_a_connection_that_the_host_closed_costs_no_message(directory: MailerDirectory, pipelining: bool) -> None:
    with aiosmtpd_host(directory, pipelining=pipelining, timeout=1) as host, running(directory.path) as sidecar:
        assert mail(sidecar).startswith("250 ")
        time.sleep(1.5)  # the host's own timeout
        assert mail(sidecar).startswith("250 ")
    assert len(host.arrived) == len(host.sessions) == 2


@pytest.mark.promise("outage-is-answered-at-once")
def test_a_token_that_the_host_refuses_is_told_and_a_newer_one_used(
    directory: MailerDirectory, pipelining: bool
) -> None:
    with aiosmtpd_host(directory, pipelining=pipelining) as host, running(directory.path) as sidecar:
        host.describe(directory, token="of-another-mailbox")
        reply = mail(sidecar)
        assert reply.startswith("451 4.7.8 Office 365 refuses the mailer's token for noreply@contoso.com: 535 5.7.3 ")
        assert host.sessions == []
        host.describe(directory)
        assert mail(sidecar).startswith("250 ")
