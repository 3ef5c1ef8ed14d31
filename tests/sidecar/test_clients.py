"""Clients that apps have, with their own defaults."""

import email.message
import shutil
import smtplib
import subprocess

import aiosmtplib
import pytest
from support.completeness import lacking
from support.emulator_client import EmulatorClient
from support.sidecar_process import Sidecar


def letter() -> email.message.EmailMessage:
    """A small one, of more than ASCII."""
    message = email.message.EmailMessage()
    message["From"] = "noreply@contoso.com"
    message["To"] = "Zoë <a@example.com>"
    message["Subject"] = "Grüße"
    message.set_content(".\nÄpfel\n")
    message.add_attachment(bytes(range(256)), maintype="application", subtype="octet-stream", filename="all")
    return message


def test_smtplib(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with smtplib.SMTP("127.0.0.1", sidecar.port) as client:
        assert client.send_message(letter()) == {}
        client.login("user", "not-a-secret")
        assert client.send_message(letter()) == {}
    assert len(emulator.messages()) == 2


async def test_aiosmtplib(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    errors, text = await aiosmtplib.send(
        letter(), hostname="127.0.0.1", port=sidecar.port, username="user", password="not-a-secret"
    )
    assert errors == {}
    assert text.startswith("2.0.0 Office 365 has it")
    assert len(emulator.messages()) == 1


@pytest.mark.parametrize("options", [[], ["--auth", "PLAIN", "-au", "u", "-ap", "p"], ["--pipeline"]])
def test_swaks(emulator: EmulatorClient, sidecar: Sidecar, options: list[str]) -> None:
    swaks = shutil.which("swaks") or lacking("swaks is not installed", "make setup-node")
    command = [swaks, "--server", f"127.0.0.1:{sidecar.port}", "--from", "noreply@contoso.com", "--to", "a@example.com"]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, timeout=50)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "<-  250 2.0.0 Office 365 has it" in ended.stdout
    assert len(emulator.messages()) == 1
