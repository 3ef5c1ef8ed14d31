"""The emulator for tests: starts it as a process, waits for it, speaks its control API. Standard library and pytest.

``emulator`` is the fixture: one process for the whole session, brought back to its initial state before each test.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

CLIENT_SECRET = "emulator-client-secret-not-a-secret"
START_WITHIN = 30.0  # seconds; two RSA keys are made at start, on a machine that may be busy


class ControlRefused(RuntimeError):
    """The control API answered with an error; the text is its reason."""


class EmulatorClient:
    """A running emulator. Open it with ``with EmulatorClient() as emulator``, or take the fixture."""

    def __init__(
        self,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="o365mailer-emulator-"))
        self.client_secret = CLIENT_SECRET
        self._errors = (self.folder / "stderr").open("wb")
        state_file = self.folder / "state.json"
        free = f"[{host}]:0" if ":" in host else f"{host}:0"
        command = [sys.executable, "-m", "o365mailer_emulator.main"]
        command += ["--entra", free, "--smtp", free, "--control", free]
        command += [
            "--until-stdin-closes",
            "--state-file",
            str(state_file),
            "--ca-file",
            str(self.folder / "ca.crt"),
            *arguments,
        ]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # never written to: its end tells the emulator that this process has died
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(environment or {})},
        )
        try:
            self.announcement = self._first_line()
        except BaseException:
            self.stop()
            raise
        self.state: dict[str, Any] = json.loads(state_file.read_text())

    @property
    def authority(self) -> str:
        """The URL that stands where https://login.microsoftonline.com would, without the tenant."""
        return str(self.state["authority"])

    @property
    def tenant(self) -> str:
        """The first tenant's id."""
        return str(self.state["tenant"])

    @property
    def client_id(self) -> str:
        """The first application's client id; ``client_secret`` is its secret."""
        return str(self.state["clientId"])

    @property
    def mailbox(self) -> str:
        """The first mailbox."""
        return str(self.state["mailbox"])

    @property
    def ca_file(self) -> str:
        """The path of the CA's certificate."""
        return str(self.state["caFile"])

    @property
    def smtp_host(self) -> str:
        """Where Exchange's submission listens."""
        return str(self.state["smtp"]["host"])

    @property
    def smtp_port(self) -> int:
        """Where Exchange's submission listens."""
        return int(self.state["smtp"]["port"])

    @property
    def control_url(self) -> str:
        """The control API and the page."""
        return str(self.state["controlUrl"])

    def control(self, method: str, path: str, document: Any = None, *, timeout: float = 60) -> Any:
        """One request of the control API; the answer decoded. ControlRefused with the reason for a 4xx."""
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.control_url + path, data=body, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refused:
            with refused:
                raise ControlRefused(refused.read().decode(errors="replace")) from None

    def script(self, step: str, **members: Any) -> int:
        """Adds a rule, ``script("rcpt", match="x@example.com", reply="550 5.1.10 no")``; returns its number."""
        return int(self.control("POST", "/script", {"step": step, **members})["id"])

    def release(self) -> None:
        """Lets what stalls go on."""
        self.control("POST", "/release")

    def disconnect(self) -> None:
        """Resets every open SMTP connection."""
        self.control("POST", "/disconnect")

    def messages(self, *, atleast: int = 0, wait: float = 10, content: bool = True) -> list[dict[str, Any]]:
        """What arrived; waits up to ``wait`` seconds for ``atleast`` messages."""
        query = urllib.parse.urlencode({"atleast": atleast, "wait": wait, "content": int(content)})
        return list(self.control("GET", f"/messages?{query}", timeout=wait + 60)["messages"])

    def events(self, kind: str, *, atleast: int = 1, wait: float = 10, after: int = 0) -> list[dict[str, Any]]:
        """Events of one kind; waits up to ``wait`` seconds for ``atleast`` of them."""
        query = urllib.parse.urlencode({"kind": kind, "atleast": atleast, "wait": wait, "after": after})
        return list(self.control("GET", f"/events?{query}", timeout=wait + 60)["events"])

    def counters(self) -> dict[str, Any]:
        """The counters since the last reset."""
        return dict(self.control("GET", "/counters"))

    def statistics(self, *, by: str = "") -> dict[str, Any]:
        """The first mailbox's: slot-busy seconds, 432s; with ``by``, a header, each client's times of delivery."""
        query = urllib.parse.urlencode({"by": by})
        return dict(self.control("GET", f"/statistics?{query}")["mailboxes"][self.mailbox])

    def tokens(self) -> list[dict[str, Any]]:
        """The tokens issued, by identifier."""
        return list(self.control("GET", "/tokens")["tokens"])

    def issue_token(self, *, lifetime: float = 3600, **members: Any) -> str:
        """An access token for the first application, made without a credential."""
        return str(self.control("POST", "/tokens", {"lifetime": lifetime, **members})["accessToken"])

    def settings(self, **members: Any) -> None:
        """Changes dials: ``settings(tokenLifetime=5)``."""
        self.control("PATCH", "/settings", members)

    def reset(self) -> None:
        """Everything as at the start; open SMTP connections are reset."""
        self.control("POST", "/reset")

    def stderr(self) -> str:
        """What the process has written to its standard error."""
        return (self.folder / "stderr").read_text(errors="replace")

    def stop(self) -> int:
        """Ends the process and removes its folder; returns the exit status."""
        self.process.terminate()
        try:
            status = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self._errors.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return status

    def __enter__(self) -> EmulatorClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _first_line(self) -> str:
        """The line that the emulator prints once everything listens."""
        pipe = self.process.stdout
        assert pipe is not None
        with contextlib.closing(selectors.DefaultSelector()) as selector:
            selector.register(pipe, selectors.EVENT_READ)
            line = pipe.readline().decode() if selector.select(START_WITHIN) else ""
        if not line:
            raise RuntimeError(f"the emulator did not start within {START_WITHIN} s: {self.stderr()}")
        return line.strip()


@pytest.fixture(scope="session")
def emulator_process() -> Iterator[EmulatorClient]:
    """One emulator for the whole session."""
    with EmulatorClient() as client:
        yield client


@pytest.fixture
def emulator(emulator_process: EmulatorClient) -> EmulatorClient:
    """The session's emulator in its initial state."""
    emulator_process.reset()
    return emulator_process
