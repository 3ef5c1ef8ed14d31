"""TLS that fails in the middle, or with a certificate of yesterday: away, no token, nothing arrives.

What comes before it and after it (STARTTLS stripped, bytes injected, another host's certificate) is
`test_upstream_trust`'s.
"""

from datetime import UTC, datetime, timedelta

import pytest
from support.emulator_client import EmulatorClient
from support.scratch_submission import Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

AWAY = "451 4.4.1 Office 365 cannot be reached: "


def mail(sidecar: Sidecar) -> str:
    with Wire(sidecar.port) as app:
        app.begin()
        return app.deliver(b"Subject: x\r\n\r\nbody\r\n")


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize(
    "rule", [{"reset": True}, {"close": True}, {"reply": "454 4.7.0 TLS not available due to temporary reason"}]
)
def test_a_handshake_that_breaks_is_away_and_the_next_connection_is_not(
    emulator: EmulatorClient, directory: MailerDirectory, rule: dict[str, object]
) -> None:
    directory.write_for(emulator)
    emulator.script("tls", **rule)
    with running(directory.path) as sidecar:
        assert mail(sidecar).startswith(AWAY)
        assert emulator.counters()["commands"].get("AUTH", 0) == 0
        while not (reply := mail(sidecar)).startswith("250"):
            assert reply.startswith(AWAY)
    assert len(emulator.messages()) == 1


@pytest.mark.promise("truth-when-exchange-fails")
def test_a_certificate_of_yesterday_gets_no_token(directory: MailerDirectory) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with ScratchHost(lambda peer: peer.authenticate()) as host, running(directory.path) as sidecar:
        expired = host.authority.issue_cert("127.0.0.1", not_after=yesterday)
        expired.configure_cert(host.context)
        host.describe(directory)
        assert "the certificate of 127.0.0.1 is not trusted: certificate has expired" in mail(sidecar)
    assert b"AUTH" not in host.peers[0].heard


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize(
    "data", [b"\x15\x03\x03\x00\x02\x02\x28", b"\x16\x03\x03\x00\x05hello", b"250 ok\r\n", b"\0" * 99]
)
def test_what_is_no_handshake_is_away(directory: MailerDirectory, data: bytes) -> None:
    def host(peer: Peer) -> None:
        peer.say(b"220 host\r\n")
        peer.line()
        peer.say(b"250-host\r\n250 STARTTLS\r\n")
        peer.line()
        peer.say(b"220 go\r\n")
        peer.connection.recv(65536)
        peer.say(data)
        peer.connection.recv(65536)

    with ScratchHost(host) as scratch, running(directory.path) as sidecar:
        scratch.describe(directory)
        assert mail(sidecar).startswith(f"{AWAY}TLS with 127.0.0.1 failed: ")
