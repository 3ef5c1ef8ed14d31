"""A token that changes, expires or is refused."""

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

TEXT = b"Subject: x\r\n\r\nbody\r\n"


def send(sidecar: Sidecar) -> str:
    """One message in a session of its own; the final reply."""
    with Wire(sidecar.port) as app:
        app.begin()
        return app.deliver(TEXT)


@pytest.mark.promise("changes-without-restart")
def test_a_changed_token_serves_new_connections_without_a_restart(
    emulator: EmulatorClient, directory: MailerDirectory, sidecar: Sidecar
) -> None:
    assert send(sidecar).startswith("250")
    emulator.disconnect()
    directory.write_for(emulator)
    assert send(sidecar).startswith("250")
    first, second = emulator.messages()
    assert first["token"] != second["token"]
    assert sidecar.process.poll() is None


@pytest.mark.promise("outage-is-answered-at-once")
def test_a_refused_token_is_not_offered_again_and_the_answer_is_immediate(
    emulator: EmulatorClient, directory: MailerDirectory, sidecar: Sidecar
) -> None:
    directory.write_for(emulator, token=emulator.issue_token(foreign=True))
    for _ in range(5):
        reply = send(sidecar)
        assert reply.startswith("451 4.7.8 Office 365 refuses the mailer's token for noreply@contoso.com: 535 5.7.3 ")
        assert "give the app its right on the mailbox" in reply
    assert emulator.counters()["authFailed"] == 1
    sidecar.event("message", nth=5)
    assert len(sidecar.events("upstream_token_refused")) == 1
    directory.write_for(emulator)
    assert send(sidecar).startswith("250"), "another token is offered at once"


@pytest.mark.promise("outage-is-answered-at-once")
def test_535_reads_the_directory_again_and_offers_a_token_that_differs(
    emulator: EmulatorClient, directory: MailerDirectory, sidecar: Sidecar
) -> None:
    directory.write_for(emulator, token=emulator.issue_token(foreign=True))
    emulator.script("auth", delay=1.5)
    with Wire(sidecar.port) as app:
        app.begin()
        assert app.ask("DATA").startswith("354")
        app.send(TEXT + b".\r\n")
        emulator.events("scripted", atleast=1, wait=10)
        directory.write_for(emulator)
        assert app.reply().startswith("250")
    assert emulator.counters()["authFailed"] == 1
    assert emulator.counters()["authOk"] == 1


@pytest.mark.promise("outage-is-answered-at-once")
def test_an_expired_token_is_not_offered_at_all(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    directory.write_for(emulator, expiresAt="2026-01-01T00:00:00Z")
    with running(directory.path) as sidecar:
        reply = send(sidecar)
        assert "the token expired at 2026-01-01T00:00:00Z and no newer one has come" in reply
        assert emulator.counters()["connections"] == 0
        directory.write_for(emulator)
        assert send(sidecar).startswith("250")


def test_smtp_auth_that_is_switched_off_says_so(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("auth", named="smtp-auth-disabled-tenant", times=None)
    assert "SmtpClientAuthentication is disabled for the Tenant" in send(sidecar)


def test_a_token_that_is_refused_for_the_moment_only_is_offered_again(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    emulator.script("auth", reply="451 4.7.0 Temporary server error. Please try again later. PRX2")
    assert send(sidecar).startswith("451 4.4.1 Office 365 cannot be reached: 451 4.7.0 Temporary server error.")
    sidecar.event("upstream_away")
    with Wire(sidecar.port) as app:
        app.begin()
        while not (reply := app.deliver(TEXT)).startswith("250"):
            assert reply.startswith("451 4.4.1")
            app.begin()
    assert sidecar.event("upstream_back")
