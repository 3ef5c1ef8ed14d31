"""MAIL says SMTPUTF8 where the envelope, or a header field that the relay wrote, holds UTF-8 (RFC 6531 §3.4)."""

import base64
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.scratch_submission import Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Wire, running

AUTHOR = "j\xf6rg@contoso.com"
SUBJECT = "Subject: gr\xfc\xdfe\r\n\r\nbody\r\n"
REWRITE = {"senders": {"onMismatch": "Rewrite"}}
REDIRECT = {"recipients": {"redirectTo": "staging@contoso.com"}, "requires": ["recipients.redirectTo"]}
OTHER = "a@example.com"
Case = tuple[dict[str, Any], str, str, str]
CASES: dict[str, Case] = {
    "Reply-To": (REWRITE, f"From: J <{AUTHOR}>\r\n", OTHER, AUTHOR),
    "From": (REWRITE, "From: J\xf6rg <boss@contoso.com>\r\n", OTHER, "J\xf6rg"),
    "X-Original-To": (REDIRECT, "From: noreply@contoso.com\r\n", AUTHOR, AUTHOR),
}
"""The field that the relay writes: the mailer, the From of the app, the recipient, and what the field holds."""


def send(port: int, text: str, to: str) -> str:
    """One message of an app that says neither SMTPUTF8 nor 8BITMIME."""
    with Wire(port) as app:
        app.begin("noreply@contoso.com", to)
        return app.deliver(text.encode())


@pytest.mark.promise("smtp-conformance")
@pytest.mark.parametrize(("field", "case"), CASES.items(), ids=CASES)
def test_a_field_in_utf8_that_the_relay_wrote_is_announced(
    emulator: EmulatorClient, directory: MailerDirectory, field: str, case: Case
) -> None:
    members, author, to, words = case
    directory.write_for(emulator, **members)
    with running(directory.path) as sidecar:
        assert send(sidecar.port, f"{author}Subject: x\r\n\r\nbody\r\n", to).startswith("250 ")
    [message] = emulator.messages()
    lines = base64.b64decode(message["content"]).decode().splitlines()
    assert any(line.startswith(f"{field}:") and words in line for line in lines)
    assert "SMTPUTF8" in message["parameters"]


@pytest.mark.parametrize("members", [{}, REWRITE, REDIRECT], ids=["plain", "rewrite", "redirect"])
def test_what_the_app_wrote_without_asking_for_smtputf8_is_passed_on_without(
    emulator: EmulatorClient, directory: MailerDirectory, members: dict[str, Any]
) -> None:
    directory.write_for(emulator, **members)
    with running(directory.path) as sidecar:
        assert send(sidecar.port, f"From: noreply@contoso.com\r\n{SUBJECT}", OTHER).startswith("250 ")
    [message] = emulator.messages()
    assert SUBJECT.encode() in base64.b64decode(message["content"])
    assert "SMTPUTF8" not in message["parameters"]


@pytest.mark.promise("smtp-conformance")
@pytest.mark.parametrize(("field", "case"), CASES.items(), ids=CASES)
def test_where_the_host_takes_no_utf8_the_app_is_told_why_and_nothing_is_sent(
    directory: MailerDirectory, field: str, case: Case
) -> None:
    members, author, to, _ = case

    def host(peer: Peer) -> None:
        peer.authenticate()
        assert peer.line() == b"", field

    with ScratchHost(host) as scratch:
        scratch.describe(directory, **members)
        with running(directory.path) as sidecar:
            reply = send(sidecar.port, f"{author}Subject: x\r\n\r\nbody\r\n", to)
    assert reply.startswith(
        "553 5.6.7 The submission host takes ASCII headers only, and the relay would write a UTF-8 address into "
        "Reply-To, From or X-Original-To: use ASCII addresses ["
    )
