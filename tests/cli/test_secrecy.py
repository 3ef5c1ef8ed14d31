"""No Secret and no token leaves `o365mailer run` but to Entra and to the relay's directory."""

import signal
from pathlib import Path
from typing import Any

import pytest
from support.emulator_client import EmulatorClient


@pytest.mark.promise("secrets-stay-secret")
@pytest.mark.parametrize("source", ["files", "variables"])
def test_nothing_secret_is_said_or_handed_to_the_relay(
    emulator: EmulatorClient, files: Any, start: Any, mail: Any, tmp_path: Path, source: str
) -> None:
    variables = {
        "O365MAILER_SECRET_NOREPLY_SECRET": emulator.client_secret,
        "O365MAILER_SECRET_EMULATOR_CA_CRT": Path(emulator.ca_file).read_text(),
    }
    arguments = ["-f", str(files.mailer), "--listen", "127.0.0.1:0"]
    if source == "files":
        run = start(*arguments, "--secrets-dir", str(files.secrets))
    else:
        run = start(*arguments, environment=variables)
    port = run.port()
    run.next("token obtained")
    mail(port)
    (token_file,) = tmp_path.glob("o365mailer-*/access_token")
    token = token_file.read_text()
    relay = Path("/proc") / str(run.relay_process())
    handed = (relay / "cmdline").read_bytes() + (relay / "environ").read_bytes()
    run.process.send_signal(signal.SIGTERM)
    run.ended()

    said = "\n".join(run.said) + run.stderr()
    for secret in (token, emulator.client_secret):
        assert secret not in said
        assert secret.encode() not in handed
    assert b"--mailer-dir" in handed, "the place that was searched is not the relay's"
    assert "noreply/secret" in said, "the place that was searched holds nothing"
