"""The emulator for tests: a process on free ports, with its control API.

``emulator`` is the fixture: one process for the whole session, brought back to its initial state before each test.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from o365mailer_emulator.client import Control
from support.process import WITHIN, Process

CLIENT_SECRET = "emulator-client-secret-not-a-secret"
UNHURRIED = {"pace": 0}
"""Settings of every test that says nothing else: no reply is late because a mailbox sends more than 30 a minute."""


class EmulatorClient(Process, Control):
    """A running emulator and its control API; the fixture ``emulator`` is one."""

    def __init__(
        self,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="o365mailer-emulator-"))
        self.client_secret = CLIENT_SECRET
        state = self.folder / "state.json"
        free = f"[{host}]:0" if ":" in host else f"{host}:0"
        command = [sys.executable, "-m", "o365mailer_emulator.main", "--until-stdin-closes"]
        command += ["--entra", free, "--smtp", free, "--control", free]
        command += ["--state-file", str(state), "--ca-file", str(self.folder / "ca.crt"), *arguments]
        Process.__init__(self, command, environment=environment)
        try:
            self.announcement = self.line("Office 365 emulator: ")
        except BaseException:
            self.kill()
            raise
        self.state: dict[str, Any] = json.loads(state.read_text())
        Control.__init__(self, str(self.state["controlUrl"]))
        self.settings(**UNHURRIED)

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

    def reset(self) -> None:
        """Set everything back to the start, without the pace of a mailbox."""
        super().reset()
        self.settings(**UNHURRIED)

    def figures(self, *, by: str = "") -> dict[str, Any]:
        """`statistics` of the first mailbox."""
        return dict(self.statistics(by=by)[self.mailbox])

    def ended(self, *, within: float = WITHIN) -> int:
        """The exit status, waited for; the folder is removed."""
        status = super().ended(within=within)
        shutil.rmtree(self.folder, ignore_errors=True)
        return status

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture(scope="session")
def emulator_process() -> Iterator[EmulatorClient]:
    """One emulator for the whole session, in the state that the last test left."""
    with EmulatorClient() as client:
        yield client


@pytest.fixture(scope="module")
def fresh_emulator(emulator_process: EmulatorClient) -> EmulatorClient:
    """The session's emulator in its initial state, for what the tests of a module share."""
    emulator_process.reset()
    return emulator_process


@pytest.fixture
def emulator(emulator_process: EmulatorClient) -> EmulatorClient:
    """The session's emulator in its initial state."""
    emulator_process.reset()
    return emulator_process
