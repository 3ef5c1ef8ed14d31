"""Clients that people have, each sending a mail through the emulator: smtplib, aiosmtplib, swaks."""

import asyncio
import shutil
import smtplib
import ssl
import subprocess
from email.message import EmailMessage

import aiosmtplib
import pytest
from support.completeness import lacking
from support.emulator_client import EmulatorClient


def mail(emulator: EmulatorClient, *, size: int = 10) -> EmailMessage:
    message = EmailMessage()
    message["From"] = emulator.mailbox
    message["To"] = "someone@b.example"
    message["Subject"] = "Grüße"
    message.set_content(".begins with a dot\n" + "x" * size)
    return message


@pytest.fixture
def swaks() -> str:
    """The path of swaks, a Debian package of the same name."""
    found = shutil.which("swaks")
    if found is None:
        lacking("swaks is not installed", "as root on Debian: apt-get install swaks")
    return found


def test_smtplib(emulator: EmulatorClient) -> None:
    token = emulator.issue_token()
    with smtplib.SMTP(emulator.smtp_host, emulator.smtp_port, timeout=10) as client:
        client.starttls(context=ssl.create_default_context(cafile=emulator.ca_file))
        client.ehlo()
        client.auth("XOAUTH2", lambda _challenge=None: f"user={emulator.mailbox}\x01auth=Bearer {token}\x01\x01")
        client.send_message(mail(emulator))
    (message,) = emulator.messages(atleast=1)
    assert ["Subject", "Grüße"] in message["headers"]


async def test_aiosmtplib(emulator: EmulatorClient) -> None:
    client = aiosmtplib.SMTP(
        hostname=emulator.smtp_host,
        port=emulator.smtp_port,
        start_tls=True,
        tls_context=ssl.create_default_context(cafile=emulator.ca_file),
        timeout=10,
    )
    async with client:
        await client.auth_xoauth2(emulator.mailbox, emulator.issue_token())
        await client.send_message(mail(emulator, size=100_000))
    (message,) = await asyncio.to_thread(emulator.messages, atleast=1)
    assert message["size"] > 100_000


async def test_aiosmtplib_tells_a_refused_token(emulator: EmulatorClient) -> None:
    client = aiosmtplib.SMTP(
        hostname=emulator.smtp_host,
        port=emulator.smtp_port,
        start_tls=True,
        tls_context=ssl.create_default_context(cafile=emulator.ca_file),
        timeout=10,
    )
    async with client:
        with pytest.raises(aiosmtplib.SMTPAuthenticationError) as refused:
            await client.auth_xoauth2(emulator.mailbox, emulator.issue_token(lifetime=1, started=-60))
    assert refused.value.code == 535
    assert refused.value.message.startswith("5.7.3 Authentication unsuccessful [")


def test_swaks(emulator: EmulatorClient, swaks: str) -> None:
    """swaks knows no XOAUTH2; its LOGIN under that name sends the initial response where LOGIN has the user.

    It then takes the 235, which LOGIN gives only after the password, for a failure; --auth-optional makes it go on.
    """
    response = f"user={emulator.mailbox}\x01auth=Bearer {emulator.issue_token()}\x01\x01"
    login = ["--auth-optional", "XOAUTH2", "--auth-map", "XOAUTH2=LOGIN", "--auth-user", response]
    ended = run_swaks(emulator, swaks, *login, "--auth-password", "unused")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(emulator.messages(atleast=1)) == 1


def test_swaks_is_told_that_passwords_are_no_longer_taken(emulator: EmulatorClient, swaks: str) -> None:
    login = ["--auth", "LOGIN", "--auth-user", emulator.mailbox, "--auth-password", "not-a-secret"]
    ended = run_swaks(emulator, swaks, *login)
    assert ended.returncode == 28  # swaks' status for a login that failed
    assert "535 5.7.139 Authentication unsuccessful, basic authentication is disabled." in ended.stdout


def run_swaks(emulator: EmulatorClient, swaks: str, *login: str) -> subprocess.CompletedProcess[str]:
    """One mail over STARTTLS with the emulator's CA."""
    server = f"{emulator.smtp_host}:{emulator.smtp_port}"
    command = [swaks, "--server", server, "--tls", "--tls-verify", "--tls-ca-path", emulator.ca_file]
    command += ["--from", emulator.mailbox, "--to", "someone@b.example", "--header", f"From: {emulator.mailbox}"]
    return subprocess.run([*command, *login], capture_output=True, text=True, timeout=30)
