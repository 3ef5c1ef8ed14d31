"""A mailer directory and a running sidecar."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator_client import EmulatorClient
from sidecar_process import MailerDirectory, Sidecar, running


@pytest.fixture
def directory(tmp_path: Path) -> MailerDirectory:
    """Empty."""
    return MailerDirectory(tmp_path / "mailer")


@pytest.fixture
def idle_sidecar(directory: MailerDirectory) -> Iterator[Sidecar]:
    """One that has nothing to submit with: for what it says before a mailer matters."""
    with running(directory.path) as sidecar:
        yield sidecar


@pytest.fixture
def sidecar(emulator: EmulatorClient, directory: MailerDirectory) -> Iterator[Sidecar]:
    """One whose mail reaches the emulator."""
    directory.write_for(emulator)
    with running(directory.path) as sidecar:
        yield sidecar
