"""Secrets are found where a mounted Secret, or a variable, would have them."""

from pathlib import Path

import pytest
from support.refused import refused

from o365mailer_cli.secret_source import SecretFiles, SecretVariables, variable_of


def test_a_secret_is_a_directory_of_files(tmp_path: Path) -> None:
    (tmp_path / "noreply").mkdir()
    (tmp_path / "noreply" / "secret").write_bytes(b"not-a-secret\n")

    assert SecretFiles(tmp_path).secret("noreply") == {"secret": b"not-a-secret\n"}
    assert SecretFiles(tmp_path).secret("other") is None


def test_a_secret_that_kubelet_mounted_is_read_through_its_links(tmp_path: Path) -> None:
    version = tmp_path / "noreply" / "..2026_11_23"
    version.mkdir(parents=True)
    (version / "secret").write_bytes(b"not-a-secret")
    (tmp_path / "noreply" / "..data").symlink_to(version.name)
    (tmp_path / "noreply" / "secret").symlink_to("..data/secret")

    assert SecretFiles(tmp_path).secret("noreply") == {"secret": b"not-a-secret"}


def test_something_far_too_large_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "noreply").mkdir()
    (tmp_path / "noreply" / "secret").write_bytes(b"x" * (2**20 + 1))

    with refused("SecretUnreadable", match="larger than 1 MiB"):
        SecretFiles(tmp_path).secret("noreply")


@pytest.mark.parametrize(
    ("name", "key", "variable"),
    [
        ("noreply", "secret", "O365MAILER_SECRET_NOREPLY_SECRET"),
        ("noreply-app", "client-secret", "O365MAILER_SECRET_NOREPLY_APP_CLIENT_SECRET"),
        ("pair", "tls.crt", "O365MAILER_SECRET_PAIR_TLS_CRT"),
    ],
)
def test_a_variable_is_the_name_and_the_key_in_capitals(name: str, key: str, variable: str) -> None:
    assert variable_of(name, key) == variable


def test_only_the_needed_variables_are_read() -> None:
    environment = {"O365MAILER_SECRET_A_X": "1", "O365MAILER_SECRET_A_Y": "2", "PATH": "/"}
    source = SecretVariables(environment, {"a": frozenset({"x", "z"}), "b": frozenset({"x"})})

    assert source.secret("a") == {"x": b"1"}
    assert source.secret("b") is None
    assert source.place("b", "x") == "the environment variable O365MAILER_SECRET_B_X"
