"""A mailer directory, a running sidecar, and the emulator in the profile that a test is for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, running

IN_BOTH_PROFILES = {
    "test_relaying",
    "test_confirmation",
    "test_one_flight",
    "test_policy_relaying",
    "test_tokens",
    "test_byte_for_byte",
    "test_queueing",
    "test_dead_letters",
    "test_recycling",
}
"""The suites that carry mail: what they hold must not rest on a guess about Office 365."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of these suites that use the emulator once in each of its profiles."""
    suite = metafunc.module.__name__.rpartition(".")[2]
    if suite in IN_BOTH_PROFILES and "emulator" in metafunc.fixturenames:
        metafunc.parametrize("profile", ["default", "harsh"], indirect=True)


@pytest.fixture
def profile(request: pytest.FixtureRequest) -> str:
    """How the emulator behaves where the real service's behaviour is unknown."""
    return str(getattr(request, "param", "default"))


@pytest.fixture
def emulator(emulator_process: EmulatorClient, profile: str) -> EmulatorClient:
    """The session's emulator in its initial state, in one of its profiles."""
    emulator_process.reset()
    if profile != "default":
        emulator_process.settings(profile=profile, pace=30, paceSeconds=1)  # late, but soon
    return emulator_process


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
