"""`o365mailer run` as a process, for tests: started, listened to, stopped."""

import json
import os
import queue
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.emulator_client import EmulatorClient

PATIENCE = 30.0


class Run:
    """A running `o365mailer run`. `said` is its standard output so far, line by line."""

    def __init__(self, arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path, stdin: str) -> None:
        self.errors = folder / f"stderr-{time.monotonic_ns()}"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "o365mailer_cli.main", "run", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "TMPDIR": str(folder), "XDG_STATE_HOME": str(folder / "state"), **environment},
                cwd=folder,
            )
        assert self.process.stdin is not None
        self.process.stdin.write(stdin)
        self.process.stdin.close()
        self.said: list[str] = []
        self.heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.listener = threading.Thread(target=self._listen)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            self.heard.put(line.rstrip("\n"))
        self.heard.put(None)

    def hear(self, beginning: str) -> str:
        """The next line that begins so."""
        while True:
            line = self.heard.get(timeout=PATIENCE)
            assert line is not None, f"ended without {beginning!r}: {self.said} {self.stderr()}"
            if line.startswith(beginning):
                return line

    def port(self) -> int:
        """The port that it listens on."""
        return int(self.hear("listening on ").split(": ")[0].rpartition(":")[2])

    def stderr(self) -> str:
        """Its standard error so far."""
        return self.errors.read_text()

    def events(self) -> list[dict[str, Any]]:
        """The relay's log so far."""
        return [json.loads(line) for line in self.stderr().splitlines() if line.startswith("{")]

    def relay_process(self) -> int:
        """The process id of the relay."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (relay,) = (int(child) for child in children)
        return relay

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Waits for its end; the exit status."""
        status = self.process.wait(timeout=PATIENCE)
        self.listener.join()
        return status

    def close(self) -> None:
        """Ends it, whatever it does."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)  # the second one ends the relay at once
                self.process.wait(timeout=10)
        self.listener.join()
        if self.process.stdout:
            self.process.stdout.close()


Starter = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts `o365mailer run` with these arguments; it is ended with the test."""
    running: list[Run] = []

    def go(*arguments: str, environment: Mapping[str, str] | None = None, stdin: str = "") -> Run:
        running.append(Run(arguments, environment=environment or {}, folder=tmp_path, stdin=stdin))
        return running[-1]

    yield go
    for run in running:
        run.close()


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
                "authority": {"url": self.emulator.authority, "caSecretRef": authorities},
                "submission": {
                    "host": self.emulator.smtp_host,
                    "port": self.emulator.smtp_port,
                    "caSecretRef": authorities,
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
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as smtp:
            smtp.sendmail(emulator.mailbox, ["you@example.com"], f"Subject: {subject}\r\n\r\nHello\r\n")

    return send
