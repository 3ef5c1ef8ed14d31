"""While there is no token `o365mailer run` goes on: the relay answers 451, and what heals is noticed."""

import smtplib
from typing import Any

import pytest
from support.emulator_client import EmulatorClient


@pytest.mark.promise("run-without-kubernetes")
def test_without_entra_the_relay_answers_451_and_the_reason_is_said_once(
    emulator: EmulatorClient, files: Any, start: Any, mail: Any
) -> None:
    emulator.script("token", status=503, times=None)
    run = start(*files.arguments("--no-spool"))
    port = run.port()
    line = run.next("no token (EntraUnreachable): ")
    assert "has a fault (HTTP 503). Nothing to do: it is tried again." in line
    run.next("the relay answers 451 until there is one; apps that retry lose nothing")

    with pytest.raises(smtplib.SMTPException) as refused:
        mail(port)

    assert "451" in str(refused.value)
    emulator.control("DELETE", "/script")
    run.next("token obtained")
    mail(port)
    assert len(emulator.messages(atleast=1)) == 1
    assert len([line for line in run.said if line.startswith("no token")]) == 1


@pytest.mark.promise("run-without-kubernetes")
def test_a_corrected_secret_is_used_within_seconds(emulator: EmulatorClient, files: Any, start: Any) -> None:
    files.secret("noreply", "secret", "wrong-not-a-secret")
    run = start(*files.arguments())
    line = run.next("no token (AADSTS7000215): ")
    assert "the client secret is not valid (AADSTS7000215). Create a new client secret in Entra" in line

    files.secret("noreply", "secret", emulator.client_secret)

    run.next("token obtained with the Secret noreply/secret")


@pytest.mark.promise("run-without-kubernetes")
def test_a_secret_that_vanishes_leaves_the_last_token_in_use(
    emulator: EmulatorClient, files: Any, start: Any, mail: Any
) -> None:
    emulator.settings(tokenLifetime=12, refreshIn=1)
    run = start(*files.arguments())
    port = run.port()
    run.next("token obtained")
    (files.secrets / "noreply" / "secret").unlink()

    run.next("no token (SecretKeyMissing): ")
    mail(port)

    assert "the relay answers 451 until there is one; apps that retry lose nothing" not in run.said
    files.secret("noreply", "secret", emulator.client_secret)
    run.next("token refreshed")


def test_the_other_of_two_secrets_is_named_as_a_warning(emulator: EmulatorClient, files: Any, start: Any) -> None:
    refs = [{"name": "old", "key": "secret"}, {"name": "noreply", "key": "secret"}]
    files.write(credential={"clientSecret": {"secretRefs": refs}})
    files.secret("old", "secret", "old-not-a-secret")

    run = start(*files.arguments())

    assert "the secret old/secret: the client secret is not valid" in run.next("warning: ")
    run.next("token obtained with the Secret noreply/secret")
