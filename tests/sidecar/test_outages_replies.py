"""Every documented reply of Exchange where it is said: what the app sees, and that nothing arrives, not even later.

The replies are the emulator's (`GET /replies`): each is in the table, or the last test fails.
"""

import select
from collections.abc import Iterator

import pytest
from support.clocked_sidecar import ClockedSidecar, clocked
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Wire

DAYS = 5 * 86_400.0
"""Seconds after which whatever a reply has closed is tried again."""

CONFIGURATION = (
    *("auth-unsuccessful", "smtp-auth-disabled-tenant", "smtp-auth-disabled-mailbox", "basic-disabled"),
    *("security-defaults", "conditional-access", "federated-unreachable", "basic-removed"),
    *("hve-token-expiring", "hve-token-expired", "hve-permissions", "hve-malformed", "hve-application"),
)
MOMENT = ("temporary", "server-busy", "access-denied-later", "concurrent", "not-available", "submission-rate")
AT_THE_END = (
    *("sender-threads", "recipient-threads", "session-too-long", "mailbox-logon", "submission-quota"),
    *("submission-quota-short", "daily-recipients", "tenant-external-recipients", "trial-external-recipients"),
    *("onmicrosoft-external-recipients", "mailbox-full", "throttled-mailbox-full", "throttled-send-as"),
    *("throttled-license", "throttled-too-many", "throttled-recipients", "bad-outbound-sender", "tenant-threshold"),
    *("tenant-spam", "banned-sender", "banned-address", "address-not-accepted", "unregistered-domains"),
    "outbound-spam",
)
HEALS = [
    *((step, name) for step in ("connect", "ehlo") for name in ("tls-too-old", "not-available", "server-busy")),
    *(("auth", name) for name in (*CONFIGURATION, *MOMENT)),
    *(("mail", name) for name in (*MOMENT, "not-authenticated")),
    *(("rcpt", name) for name in (*MOMENT, "too-many-recipients")),
    *(("data", name) for name in MOMENT),
    *(("body", name) for name in (*MOMENT, *AT_THE_END)),
]
"""451: the app keeps the message."""

STAYS = [
    ("mail", "no-permission-to-send-as"),
    *(("rcpt", name) for name in ("recipient-unknown", "recipient-not-allowed", "recipient-access-denied")),
    *(("body", name) for name in ("send-as-denied", "message-too-large", "several-authors", "bare-line-feed")),
    *(("body", name) for name in ("not-compliant", "no-permission-to-send-as", "tenant-blocks-recipient")),
]
"""Handed on: this message will not be taken tomorrow either."""


@pytest.fixture(scope="module")
def clock(fresh_emulator: EmulatorClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClockedSidecar]:
    directory = MailerDirectory(tmp_path_factory.mktemp("replies") / "mailer")
    directory.write_for(fresh_emulator)
    with clocked(directory.path) as clock:
        yield clock


def mail(clock: ClockedSidecar) -> str:
    """The reply to a message; an app that has to wait for it is not waited for."""
    with Wire(clock.sidecar.port) as app:
        app.begin()
        assert app.ask("DATA").startswith("354")
        app.send(b"Subject: x\r\n\r\nbody\r\n.\r\n")
        patience = 1.0
        while not select.select([app.socket], [], [], patience)[0]:
            clock.skip(1)
            patience = 0.1
        return app.reply()


def told(emulator: EmulatorClient, clock: ClockedSidecar, step: str, name: str) -> tuple[str, str]:
    """What the app is told, twice, where Exchange says this; and Exchange's code with its enhanced one."""
    clock.skip(DAYS)
    emulator.script(step, named=name, times=None)
    first, second = mail(clock), mail(clock)
    assert first[:6] == second[:6], "asking again at once changes nothing"
    assert emulator.messages() == []
    assert len(first) < 512 - len("\r\n")
    assert "BeginDiagnosticData" not in first
    text = emulator.control("GET", "/replies")["replies"][name]["text"]
    emulator.control("DELETE", "/script")
    return first, " ".join(text.split()[:2])


@pytest.mark.promise("replies-name-the-remedy")
@pytest.mark.parametrize(("step", "name"), HEALS)
def test_what_time_heals_is_451_with_exchanges_code_and_goes_through_once_it_has(
    emulator: EmulatorClient, clock: ClockedSidecar, step: str, name: str
) -> None:
    reply, code = told(emulator, clock, step, name)
    assert reply.startswith("451 4.")
    assert code.partition(" ")[0] in reply
    clock.skip(DAYS)
    assert mail(clock).startswith("250 ")
    assert len(emulator.messages()) == 1, "and what was deferred came never by itself"


@pytest.mark.promise("replies-name-the-remedy")
@pytest.mark.parametrize(("step", "name"), STAYS)
def test_what_will_not_change_is_handed_on_in_exchanges_words(
    emulator: EmulatorClient, clock: ClockedSidecar, step: str, name: str
) -> None:
    reply, code = told(emulator, clock, step, name)
    assert reply.startswith(code)
    clock.skip(DAYS)
    assert mail(clock).startswith("250 ")
    assert len(emulator.messages()) == 1


@pytest.mark.promise("hostile-input-ends-its-own-session")
def test_a_farewell_in_place_of_a_login_takes_no_session_along(emulator: EmulatorClient, clock: ClockedSidecar) -> None:
    """The connection's descriptor is let go of once, or another session gets the number and is not heard."""
    for _ in range(40):
        clock.skip(DAYS)
        emulator.script("auth", named="not-available")
        assert mail(clock).startswith("451 4.4.1 ")
        assert mail(clock).startswith("451 4.4.1 ")


def test_no_documented_reply_is_missing_here(emulator: EmulatorClient) -> None:
    assert {name for _, name in (*HEALS, *STAYS)} == set(emulator.control("GET", "/replies")["replies"])
