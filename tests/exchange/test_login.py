"""The login attempt against real peers: how far it comes, and what it says."""

import base64
import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.emulator_client import EmulatorClient
from support.faulty_host import dropping, refusing, speaking, valid_between

from o365mailer_contract.replies import Outcome
from o365mailer_operator.exchange import login
from o365mailer_operator.exchange.login import Credentials, Target, try_login
from o365mailer_operator.exchange.result import Fault, LoginResult, Stage
from o365mailer_operator.token.wire import trust_in

GREETING = b"220 ready\r\n"
OFFERS_TLS = b"250-hello\r\n250 STARTTLS\r\n"
GO_AHEAD = b"220 go ahead\r\n"


def trusted(emulator: EmulatorClient) -> ssl.SSLContext:
    return trust_in(Path(emulator.ca_file).read_text(encoding="ascii"))


async def attempt(emulator: EmulatorClient, **members: Any) -> LoginResult:
    target = Target(emulator.smtp_host, emulator.smtp_port, trusted(emulator), private=True)
    token = members.pop("token", None) or emulator.issue_token()
    return await try_login(target, Credentials(emulator.mailbox, token), **members)


async def test_a_login_goes_through_every_stage_over_one_connection(emulator: EmulatorClient) -> None:
    result = await attempt(emulator)
    assert (result.ok, result.stage, result.reason) == (True, Stage.DONE, "accepted")
    assert result.addresses == ("127.0.0.1",)
    assert result.peer
    assert (result.peer.authority, result.peer.public) == ("O365 Mailer emulator CA", False)
    counters = emulator.counters()
    assert (counters["connections"], counters["authOk"], counters["messages"]) == (1, 1, 0)
    assert counters["commands"] == {"EHLO": 2, "STARTTLS": 1, "AUTH": 1, "QUIT": 1}


async def test_without_credentials_it_ends_before_auth(emulator: EmulatorClient) -> None:
    result = await try_login(Target(emulator.smtp_host, emulator.smtp_port, trusted(emulator)), None)
    assert result.ok
    assert emulator.counters()["commands"] == {"EHLO": 2, "STARTTLS": 1, "QUIT": 1}


@pytest.mark.parametrize(
    ("named", "reason", "refused"),
    [
        ("auth-unsuccessful", "token", True),
        ("smtp-auth-disabled-tenant", "smtp-auth-disabled", True),
        ("smtp-auth-disabled-mailbox", "smtp-auth-disabled", True),
        ("security-defaults", "blocked-by-policy", True),
        ("conditional-access", "blocked-by-policy", True),
        ("hve-token-expired", "token-expired", True),
        ("hve-application", "app-not-allowed", True),
        ("concurrent", "concurrency", False),
        ("temporary", "temporary", False),
        ("server-busy", "server-busy", False),
        ("not-available", "session-ended", False),
    ],
)
async def test_a_reply_to_auth_gets_its_rule(emulator: EmulatorClient, named: str, reason: str, refused: bool) -> None:
    emulator.script("auth", named=named)
    result = await attempt(emulator)
    assert (result.stage, result.reason, result.refused, result.busy) == (Stage.AUTH, reason, refused, not refused)
    assert result.rule
    assert (result.rule.outcome is Outcome.UNAUTHORIZED) == refused


@pytest.mark.parametrize(
    ("step", "members", "stage", "fault"),
    [
        ("connect", {"close": True}, Stage.EHLO, Fault.CLOSED),
        ("ehlo", {"reply": "250 nothing"}, Stage.STARTTLS, Fault.NO_STARTTLS),
        ("starttls", {"extra": "250 injected\r\n"}, Stage.STARTTLS, Fault.INJECTED),
        ("starttls", {"extra": "x"}, Stage.STARTTLS, Fault.INJECTED),
        ("tls", {"reset": True}, Stage.TLS, Fault.CLOSED),
        ("ehlo", {"after": 1, "reply": "250 nothing"}, Stage.EHLO_IN_TLS, Fault.NO_XOAUTH2),
        ("auth", {"reset": True}, Stage.AUTH, Fault.CLOSED),
    ],
)
async def test_a_host_that_misbehaves_ends_it_at_that_stage(
    emulator: EmulatorClient, step: str, members: dict[str, Any], stage: Stage, fault: Fault
) -> None:
    emulator.script(step, **members)
    result = await attempt(emulator)
    assert (result.stage, result.fault, result.reply) == (stage, fault, None)
    if fault is not Fault.CLOSED:
        assert emulator.counters()["commands"].get("AUTH", 0) == 0
    assert (await attempt(emulator)).ok


@pytest.mark.parametrize(
    ("step", "reply", "stage"),
    [
        ("connect", "554 5.7.1 no", Stage.GREETING),
        ("connect", "421 4.3.2 Service not available", Stage.GREETING),
        ("starttls", "454 4.7.0 TLS not available", Stage.STARTTLS),
    ],
)
async def test_a_reply_before_auth_is_kept(emulator: EmulatorClient, step: str, reply: str, stage: Stage) -> None:
    emulator.script(step, reply=reply)
    result = await attempt(emulator)
    assert (result.stage, str(result.reply), result.fault) == (stage, reply, None)


@pytest.mark.parametrize("step", ["connect", "ehlo", "starttls", "tls", "auth"])
async def test_silence_ends_it_at_the_deadline(emulator: EmulatorClient, step: str) -> None:
    emulator.script(step, stall=True)
    result = await attempt(emulator, deadline=0.5)
    emulator.release()
    assert result.fault is Fault.SILENT
    assert result.seconds < 2


async def test_a_late_reply_to_quit_changes_nothing(emulator: EmulatorClient) -> None:
    emulator.script("quit", stall=True)
    assert (await attempt(emulator, deadline=0.5)).ok
    emulator.release()


async def test_an_authority_that_is_not_public_is_named(emulator: EmulatorClient) -> None:
    """As a proxy that inspects TLS shows one. The token does not leave, and the second look sends nothing."""
    target = Target("localhost", emulator.smtp_port, trust_in(None))
    result = await try_login(target, Credentials(emulator.mailbox, emulator.issue_token()))
    assert (result.stage, result.fault) == (Stage.TLS, Fault.UNTRUSTED)
    assert result.peer
    assert (result.peer.authority, result.peer.public) == ("O365 Mailer emulator CA", False)
    assert emulator.counters()["commands"].get("AUTH", 0) == 0


async def test_the_certificate_must_have_the_hosts_name(emulator: EmulatorClient) -> None:
    context = trusted(emulator)
    result = await try_login(Target("127.0.0.2", emulator.smtp_port, context), None)
    assert result.stage is Stage.CONNECT  # the emulator listens on 127.0.0.1 alone
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("smtp.example.com").configure_cert(server)
    async with speaking(GREETING, OFFERS_TLS, GO_AHEAD, secured_by=server) as port:
        result = await try_login(Target("127.0.0.1", port, trust_in(ca.cert_pem.bytes().decode())), None)
    assert (result.stage, result.fault) == (Stage.TLS, Fault.WRONG_NAME)


@pytest.mark.parametrize(
    ("begins", "ends", "fault"), [(-9, -1, Fault.EXPIRED), (1, 9, Fault.NOT_YET_VALID), (-1, 9, Fault.NO_XOAUTH2)]
)
async def test_the_certificates_dates_are_verified(begins: int, ends: int, fault: Fault) -> None:
    ca = trustme.CA()
    server = valid_between(ca, datetime.timedelta(days=begins), datetime.timedelta(days=ends))
    async with speaking(GREETING, OFFERS_TLS, GO_AHEAD, secured_by=server) as port:
        target = Target("127.0.0.1", port, trust_in(ca.cert_pem.bytes().decode()))
        result = await try_login(target, None, deadline=1)
    assert result.fault is (fault if fault is not Fault.NO_XOAUTH2 else Fault.SILENT)
    assert result.stage is (Stage.TLS if fault is not Fault.NO_XOAUTH2 else Stage.EHLO_IN_TLS)


@pytest.mark.parametrize("line", [b"HTTP/1.1 400 Bad Request\r\n", b"\x16\x03\x01\x00\r\n", b"SSH-2.0-OpenSSH\r\n"])
async def test_what_is_no_smtp_is_told(line: bytes) -> None:
    async with speaking(line) as port:
        result = await try_login(Target("127.0.0.1", port, trust_in(None)), None)
    assert (result.stage, result.fault) == (Stage.GREETING, Fault.NO_SMTP)


async def test_a_port_where_nothing_listens_refuses() -> None:
    with refusing() as port:
        result = await try_login(Target("127.0.0.1", port, trust_in(None)), None)
    assert (result.stage, result.fault, result.detail) == (Stage.CONNECT, Fault.REFUSED, "Connection refused")


async def test_a_firewall_that_drops_packets_ends_it_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "ADDRESS_LIMIT", 0.3)
    with dropping() as port:
        result = await try_login(Target("127.0.0.1", port, trust_in(None)), None)
    assert (result.stage, result.fault) == (Stage.CONNECT, Fault.SILENT)
    assert result.seconds < 3


async def test_a_host_that_dns_does_not_know() -> None:
    """The name servers say so, or do not answer where there are none: `.invalid` exists nowhere (RFC 6761 §6.4)."""
    result = await try_login(Target("smtp.invalid", 587, trust_in(None)), None)
    assert result.stage is Stage.DNS
    assert result.fault in {Fault.UNKNOWN_HOST, Fault.DNS_SILENT}


async def test_a_name_that_is_none_is_unknown() -> None:
    result = await try_login(Target(f"{'x' * 64}.example.com", 587, trust_in(None)), None)
    assert (result.stage, result.fault) == (Stage.DNS, Fault.UNKNOWN_HOST)


@pytest.mark.promise("secrets-stay-secret")
@pytest.mark.parametrize("encoded", [False, True])
async def test_no_token_is_in_what_is_shown(emulator: EmulatorClient, encoded: bool) -> None:
    """Also if the host repeats it."""
    token = emulator.issue_token()
    said = base64.b64encode(f"user={emulator.mailbox}\1auth=Bearer {token}\1\1".encode()).decode() if encoded else token
    emulator.script("auth", reply=f"535 5.7.3 no ({said[:700]}) or {said[-300:]}")
    shown = repr(Credentials(emulator.mailbox, token)) + repr(Target("h", 1, trusted(emulator)))
    assert token[:20] not in shown
    result = await attempt(emulator, token=token)
    assert result.refused
    assert result.reply
    assert result.reply.text == f"no ({'*' * 700}) or {'*' * 300}"
    emulator.script("auth", reply=f"535 5.7.3 no {token[:16]} 08DE2A6028D26C22")
    plain = await attempt(emulator, token=token)
    assert plain.reply
    assert plain.reply.text == f"no {token[:16]} 08DE2A6028D26C22"
