"""No token before verified TLS, and nothing left over from before it."""

import json
from collections.abc import Callable

import pytest
import trustme
from support.scratch_submission import CLEAR_EHLO, Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Wire, document, running

TOKEN_SEEN = b"AUTH"


def no_starttls(peer: Peer) -> None:
    peer.say(b"220 host\r\n")
    peer.line()
    peer.say(b"250-host\r\n250-AUTH XOAUTH2\r\n250 SIZE 1\r\n")
    peer.line()


def injects_with_220(peer: Peer) -> None:
    peer.say(b"220 host\r\n")
    peer.line()
    peer.say(CLEAR_EHLO)
    peer.line()
    peer.say(b"220 go\r\n250-host\r\n250 AUTH XOAUTH2\r\n")
    peer.line()


def injects_with_ehlo(peer: Peer) -> None:
    peer.say(b"220 host\r\n")
    peer.line()
    peer.say(CLEAR_EHLO + b"220 go\r\n")
    peer.line()


def talks_to_itself(peer: Peer) -> None:
    peer.say(b"220 host\r\n")
    peer.line()
    peer.say(b"250-STARTTLS\n250 host\n")
    peer.line()


def no_xoauth2(peer: Peer) -> None:
    peer.start()
    peer.line()
    peer.say(b"250-host\r\n250 AUTH LOGIN\r\n")
    peer.line()


def refuses_starttls(peer: Peer) -> None:
    peer.say(b"220 host\r\n")
    peer.line()
    peer.say(CLEAR_EHLO)
    peer.line()
    peer.say(b"454 4.7.0 not now\r\n")
    peer.line()


def not_smtp(peer: Peer) -> None:
    peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    peer.line()


def busy(peer: Peer) -> None:
    peer.say(b"421 4.3.2 Service not available\r\n")
    peer.line()


@pytest.mark.promise("token-before-tls-never")
@pytest.mark.parametrize(
    ("script", "reason"),
    [(no_starttls, "127.0.0.1 offers no STARTTLS"),
     (injects_with_220, "the submission host sent more than one answer, or none that is SMTP, before TLS"),
     (injects_with_ehlo, "the submission host sent more than one answer, or none that is SMTP, before TLS"),
     (talks_to_itself, "the submission host sent more than one answer, or none that is SMTP, before TLS"),
     (no_xoauth2, "127.0.0.1 offers no AUTH XOAUTH2"),
     (refuses_starttls, "454 to STARTTLS"),
     (not_smtp, "127.0.0.1 spoke no SMTP instead of a greeting"),
     (busy, "127.0.0.1 answered 421 instead of a greeting")],
)  # fmt: skip
def test_a_host_that_is_not_what_it_should_be_gets_no_token(
    directory: MailerDirectory, script: Callable[[Peer], None], reason: str
) -> None:
    with ScratchHost(script) as host, running(directory.path) as sidecar, Wire(sidecar.port) as app:
        host.describe(directory)
        app.begin()
        reply = app.deliver(b"Subject: x\r\n\r\n")
        assert reply.startswith(
            f"451 4.4.1 Office 365 cannot be reached: {reason}; nothing was sent, try again later ["
        )
        assert TOKEN_SEEN not in host.peers[0].heard


@pytest.mark.promise("token-before-tls-never")
def test_a_certificate_from_another_authority_gets_no_token(directory: MailerDirectory) -> None:
    with ScratchHost(lambda peer: peer.authenticate()) as host, running(directory.path) as sidecar:
        host.authority = trustme.CA()
        host.describe(directory)
        with Wire(sidecar.port) as app:
            app.begin()
            reply = app.deliver(b"Subject: x\r\n\r\n")
    assert "the certificate of 127.0.0.1 is not trusted: unable to get local issuer certificate" in reply
    assert TOKEN_SEEN not in host.peers[0].heard


@pytest.mark.promise("token-before-tls-never")
def test_without_authorities_of_its_own_a_mailer_trusts_the_systems_only(directory: MailerDirectory) -> None:
    with ScratchHost(lambda peer: peer.authenticate()) as host, running(directory.path) as sidecar:
        host.describe(directory, trusted=False)
        with Wire(sidecar.port) as app:
            app.begin()
            assert "the certificate of 127.0.0.1 is not trusted" in app.deliver(b"Subject: x\r\n\r\n")
        assert sidecar.event("upstream_distrusted")


@pytest.mark.promise("token-before-tls-never")
def test_a_certificate_of_another_host_gets_no_token(directory: MailerDirectory) -> None:
    with (
        ScratchHost(lambda peer: peer.authenticate(), names=("127.0.0.2",)) as host,
        running(directory.path) as sidecar,
        Wire(sidecar.port) as app,
    ):
        host.describe(directory)
        app.begin()
        reply = app.deliver(b"Subject: x\r\n\r\n")
        assert "the certificate of 127.0.0.1 is not trusted: IP address mismatch" in reply
        assert TOKEN_SEEN not in host.peers[0].heard


def test_the_same_host_gets_the_token_over_tls(directory: MailerDirectory) -> None:
    """The control: what the tests above look for is there when nothing is wrong."""

    def good(peer: Peer) -> None:
        peer.authenticate()
        peer.line()
        peer.say(b"550 5.7.1 no\r\n")
        peer.line()
        peer.say(b"250 reset\r\n")
        peer.line()

    with ScratchHost(good) as host, running(directory.path) as sidecar, Wire(sidecar.port) as app:
        host.describe(directory)
        app.begin()
        assert app.deliver(b"Subject: x\r\n\r\n").startswith("550 5.7.1 no [")
        assert b"AUTH XOAUTH2 " in host.peers[0].heard


def test_a_name_that_does_not_resolve_is_away(directory: MailerDirectory) -> None:
    directory.write(access_token="token-not-a-secret", mailer_json=json.dumps(document("nowhere.invalid", 587)))
    with running(directory.path) as sidecar, Wire(sidecar.port) as app:
        app.begin()
        reply = app.deliver(b"Subject: x\r\n\r\n")
    assert reply.startswith("451 4.4.1 Office 365 cannot be reached: nowhere.invalid:587: ")
    assert "resolution" in reply or "not known" in reply
