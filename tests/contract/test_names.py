"""Names that released versions have written stay as they are: pods live for months."""

import tomllib
from pathlib import Path

import pytest

from o365mailer_contract import names

ROOT = Path(__file__).parents[2]


def test_the_release_is_the_one_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == names.RELEASE


@pytest.mark.promise("directory-compatible")
def test_the_mailer_directory_keeps_its_names() -> None:
    assert (names.TOKEN_FILE, names.SETTINGS_FILE, names.CA_FILE) == ("access_token", "mailer.json", "ca.crt")
    assert names.token_secret_name("noreply") == "o365mailer.noreply"


@pytest.mark.promise("directory-compatible")
def test_what_users_write_keeps_its_names() -> None:
    assert names.API_VERSION == "o365mailer.dev/v1alpha1"
    assert names.INJECT_ANNOTATION == "o365mailer.dev/inject"
    assert sorted(names.USER_ANNOTATIONS) == [
        "o365mailer.dev/cpu-limit",
        "o365mailer.dev/cpu-request",
        "o365mailer.dev/ephemeral-storage-limit",
        "o365mailer.dev/ephemeral-storage-request",
        "o365mailer.dev/health-port",
        "o365mailer.dev/inject",
        "o365mailer.dev/memory-limit",
        "o365mailer.dev/memory-request",
        "o365mailer.dev/ports",
        "o365mailer.dev/spool",
    ]


@pytest.mark.promise("directory-compatible")
def test_what_an_injected_pod_carries_keeps_its_names() -> None:
    assert (names.MAILER_LABEL, names.STATUS_ANNOTATION) == ("o365mailer.dev/mailer", "o365mailer.dev/status")
    assert names.ENV_MAILER_DIR == "O365MAILER_MAILER_DIR"
    assert names.ENV_LISTEN == "O365MAILER_LISTEN"
    assert names.ENV_HEALTH == "O365MAILER_HEALTH"


@pytest.mark.promise("directory-compatible")
def test_what_a_spool_is_found_by_keeps_its_names() -> None:
    assert names.SPOOL_ANNOTATION == "o365mailer.dev/spool"
    assert (names.SPOOL_EPHEMERAL, names.SPOOL_NONE) == ("ephemeral", "none")
    assert (names.SPOOL_VOLUME, names.SPOOL_MOUNT) == ("o365mailer-spool", "/var/spool/o365mailer")
    assert names.ENV_SPOOL_DIR == "O365MAILER_SPOOL_DIR"
