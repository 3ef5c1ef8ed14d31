"""`o365mailer run` as a process, for tests: started, listened to, stopped."""

import contextlib
import json
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.process import WITHIN, Process


class Run(Process):
    """A running `o365mailer run`. Its standard error is the relay's log."""

    def __init__(self, arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path, stdin: str) -> None:
        super().__init__(
            [sys.executable, "-m", "o365mailer_cli.main", "run", *arguments],
            environment={"TMPDIR": str(folder), "XDG_STATE_HOME": str(folder / "state"), **environment},
            folder=folder,
            stdin=stdin,
        )
        self.unheard = 0

    def next(self, beginning: str) -> str:
        """The next line that begins so: what was heard before it is over."""

        def look() -> str | None:
            for number, line in enumerate(self.said[self.unheard :], self.unheard + 1):
                if line.startswith(beginning):
                    self.unheard = number
                    return line
            return None

        return self.hear(look, beginning)

    def port(self) -> int:
        """The port that it listens on."""
        return int(self.next("listening on ").split(": ")[0].rpartition(":")[2])

    def relay_process(self) -> int:
        """The process id of the relay."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (relay,) = (int(child) for child in children)
        return relay

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.terminate()  # the second one ends the relay at once
        self.ended()


Starter = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts `o365mailer run` with these arguments; it is ended with the test."""
    with contextlib.ExitStack() as stack:

        def go(*arguments: str, environment: Mapping[str, str] | None = None, stdin: str = "") -> Run:
            return stack.enter_context(Run(arguments, environment=environment or {}, folder=tmp_path, stdin=stdin))

        yield go


class Files:
    """A mailer's file and its Secrets for the emulator, ready to run."""

    def __init__(self, emulator: EmulatorClient, folder: Path) -> None:
        self.emulator = emulator
        self.mailer = folder / "mailer.json"
        self.secrets = folder / "secrets"
        self.secret("noreply", "secret", emulator.client_secret)
        self.secret("emulator", "ca.crt", Path(emulator.ca_file).read_text())
        self.write()

    def write(self, **spec: Any) -> None:
        """The mailer's file, with members of the spec replaced."""
        authorities = {"name": "emulator", "key": "ca.crt"}
        document = {
            "apiVersion": "o365mailer.dev/v1alpha1",
            "kind": "O365Mailer",
            "metadata": {"name": "noreply"},
            "spec": {
                "tenantId": self.emulator.tenant,
                "clientId": self.emulator.client_id,
                "mailbox": self.emulator.mailbox,
                "credential": {"clientSecret": {"secretRefs": [{"name": "noreply", "key": "secret"}]}},
                "authority": {"url": self.emulator.authority, "ca": {"secretRef": authorities}},
                "submission": {
                    "host": self.emulator.smtp_host,
                    "port": self.emulator.smtp_port,
                    "ca": {"secretRef": authorities},
                },
                **spec,
            },
        }
        self.mailer.write_text(json.dumps(document))

    def secret(self, name: str, key: str, value: str) -> Path:
        """One key of one Secret; replaced as an editor does it."""
        file = self.secrets / name / key
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"..{key}")
        beside.write_text(value)
        return beside.replace(file)

    def arguments(self, *more: str) -> list[str]:
        """A command line that works."""
        return ["-f", str(self.mailer), "--secrets-dir", str(self.secrets), "--listen", "127.0.0.1:0", *more]


@pytest.fixture
def files(emulator: EmulatorClient, tmp_path: Path) -> Files:
    """A mailer for the emulator, as files."""
    return Files(emulator, tmp_path)


@pytest.fixture
def mail(emulator: EmulatorClient) -> Callable[..., None]:
    """Sends one mail to a port: plain SMTP, no TLS, no login."""

    def send(port: int, subject: str = "a test") -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=WITHIN) as smtp:
            smtp.sendmail(emulator.mailbox, ["you@example.com"], f"Subject: {subject}\r\n\r\nHello\r\n")

    return send
