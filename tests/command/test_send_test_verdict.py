"""What `o365mailer send-test` makes of Exchange's answers: its program sends through a real relay to the emulator."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar

from o365mailer_cli.errors import WrongInput
from o365mailer_cli.send_test.job import PROGRAM, TestMail, address, manifest
from o365mailer_cli.send_test.verdict import Verdict, attempts_in, record_in, verdict_of


@pytest.fixture
def relay(emulator: EmulatorClient, tmp_path: Path) -> Iterator[Sidecar]:
    """A relay whose mail goes to the emulator."""
    directory = MailerDirectory(tmp_path / "mailer")
    directory.write_for(emulator)
    with Sidecar(directory.path) as process:
        yield process


def sent(port: int, sender: str, *, seconds: float = 0) -> str:
    """The log of the program after it has sent one mail with the Job's environment, the port replaced."""
    mail = TestMail(
        mailer="noreply", namespace="shop", sender=sender, recipient="you@example.com", image="x", seconds=seconds
    )
    (container,) = manifest(mail)["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]} | {"SEND_PORT": str(port)}
    command = [sys.executable, *container["command"][1:]]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=50
    ).stdout


def verdict(relay: Sidecar, sender: str, *, seconds: float = 0) -> Verdict:
    """What became of a mail through this relay."""
    last = attempts_in(sent(relay.port, sender, seconds=seconds))[-1]
    relay.event("message")
    return verdict_of(last, record_in("\n".join(relay.errors)))


@pytest.mark.promise("send-test-tells-the-verdict")
def test_an_accepted_mail_has_its_queue_id_and_exchanges(relay: Sidecar, emulator: EmulatorClient) -> None:
    found = verdict(relay, emulator.mailbox)

    assert (found.outcome, found.code) == ("accepted", 250)
    (mail,) = emulator.messages(emulator.mailbox, atleast=1, wait=10)
    headers = dict(mail["headers"])
    assert headers["Subject"] == "Test mail of O365 Mailer"
    assert found.document()["queueId"] in headers["Received"]
    assert found.document()["exchangeId"]


@pytest.mark.promise("send-test-tells-the-verdict")
@pytest.mark.parametrize(
    ("step", "reply", "outcome", "reason", "remedy"),
    [
        ("auth", "535 5.7.3 Authentication unsuccessful", "unauthorized", "token", "up to two hours"),
        (
            *("auth", "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant."),
            *("unauthorized", "smtp-auth-disabled", "Set-CASMailbox -SmtpClientAuthenticationDisabled $false."),
        ),
        ("rcpt", "550 5.1.10 RESOLVER.ADR.RecipientNotFound", "refused", "recipient", ""),
        ("body", "550 5.1.8 Access denied, bad outbound sender", "locked", "bad-sender", "Restricted entities"),
    ],
)
def test_a_refusal_has_its_reason_and_remedy(
    relay: Sidecar, emulator: EmulatorClient, step: str, reply: str, outcome: str, reason: str, remedy: str
) -> None:
    emulator.script(step, reply=reply, times=None)

    found = verdict(relay, emulator.mailbox)

    assert (found.outcome, found.reason) == (outcome, reason)
    assert remedy in found.remedy
    assert found.link.startswith("https://")


def test_a_mail_that_the_relay_refuses_names_the_relays_page(relay: Sidecar) -> None:
    found = verdict(relay, "other@contoso.com")

    assert (found.outcome, found.reason, found.code) == ("refused", "policy", 553)
    assert "sidecar.md#replies-of-the-relay-and-what-to-do" in found.link


def test_a_busy_server_is_asked_again(relay: Sidecar, emulator: EmulatorClient) -> None:
    emulator.script("mail", reply="451 4.7.500 Server busy", times=1)

    attempts = attempts_in(sent(relay.port, emulator.mailbox, seconds=20))

    assert [(each["code"], each["last"]) for each in attempts] == [(451, False), (250, True)]


def test_a_relay_that_does_not_listen() -> None:
    found = verdict_of(attempts_in(sent(1, "noreply@contoso.com"))[-1], {})

    assert (found.outcome, found.reason) == ("not-sent", "relay-away")


@pytest.mark.parametrize("text", ["", "you", "@example.com", "you@", "a b@c.d", "a@b\nc", "<a@b>", "ä@b.c", "a@b,c@d"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(WrongInput, match=r"is not an address such as you@example\.com\."):
        address(text)

    assert address("you@example.com") == "you@example.com"


def test_the_program_stands_alone() -> None:
    """It runs in an image that has nothing of ours."""
    command = [sys.executable, "-I", "-S", "-c", PROGRAM.read_text()]
    environment = {"SEND_PORT": "1", "SEND_SECONDS": "0", "SEND_FROM": "a@b", "SEND_TO": "a@b", "SEND_MESSAGE": "x"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert told.returncode == 0
    assert attempts_in(told.stdout)[-1]["code"] == 0
