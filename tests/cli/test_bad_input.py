"""What a user gets wrong ends the command with one line: what, where, and how to fix it."""

import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.completeness import lacking

from o365mailer_cli.main import main

WRONG_FILES = {
    "no mapping": ("- a\n- b\n", "mailer.yaml: the document: expected one O365Mailer object, got a list."),
    "nothing": ("# only a comment\n", "mailer.yaml: holds nothing; expected one O365Mailer."),
    "two documents": ("a: 1\n---\nb: 2\n", "mailer.yaml: holds 2 documents; expected one O365Mailer."),
    "an indentation": (
        "apiVersion: o365mailer.dev/v1alpha1\nspec:\n  tenantId: a\n clientId: b\n",
        "mailer.yaml: line 4, column 2: expected <block end>, but found '<block mapping start>'.",
    ),
    "a tab": ("a:\n\tb: 1\n", "mailer.yaml: line 2, column 1: found character '\\t' that cannot start any token."),
    "an open bracket": ("a: [1, 2\n", "mailer.yaml: line 2, column 1: expected ',' or ']', but got '<stream end>'."),
    "a month that is none": (
        "expiresAt: 2026-13-45\n",
        "mailer.yaml: a date or a number in it cannot be: month must be in 1..12.",
    ),
    "endless brackets": ("[" * 3000, "mailer.yaml: is nested too deeply; an O365Mailer has no more than five levels."),
    "an alias": (
        "a: &a [x]\nb: [*a, *a]\n",
        "mailer.yaml: line 2, column 4: aliases are not supported; write it out.",
    ),
    "a key twice": ("spec: {}\nkind: x\nspec: {}\n", "mailer.yaml: line 3, column 1: spec is given twice."),
    "another kind": (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n",
        "mailer.yaml: apiVersion: expected o365mailer.dev/v1alpha1, got 'v1'.",
    ),
    "a typing error": (
        "apiVersion: o365mailer.dev/v1alpha1\nkind: O365Mailer\nmetadata: {name: x}\nspec: {tennantId: a}\n",
        "mailer.yaml: spec.tennantId: there is no such member; tenantId is near.",
    ),
    "a wrong tenant": (
        "{apiVersion: o365mailer.dev/v1alpha1, kind: O365Mailer, metadata: {name: x}, spec: {tenantId: common}}",
        "mailer.yaml: spec.tenantId: expected a tenant's GUID, or one of its domains",
    ),
}


@pytest.mark.promise("run-explains-bad-input")
@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_wrong_file_is_told_with_its_place(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = WRONG_FILES[case]
    monkeypatch.chdir(tmp_path)
    Path("mailer.yaml").write_text(text)

    assert main(["run", "-f", "mailer.yaml"], {}) == 2

    assert capsys.readouterr().err == f"o365mailer: {message}\n"


@pytest.mark.promise("run-explains-bad-input")
def test_a_missing_file_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-f", "/nonexistent/mailer.yaml"], {}) == 2

    assert capsys.readouterr().err == (
        "o365mailer: /nonexistent/mailer.yaml: there is no such file. "
        "Write an O365Mailer into it (docs/run.md has one to start from).\n"
    )


def test_a_directory_in_a_files_place_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-f", str(tmp_path)], {}) == 2

    assert capsys.readouterr().err == f"o365mailer: {tmp_path}: cannot be read: Is a directory.\n"


def test_bytes_that_are_no_text_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mailer.yaml"
    file.write_bytes(b"a: \xff\n")

    assert main(["run", "-f", str(file)], {}) == 2

    assert capsys.readouterr().err == f"o365mailer: {file}: is not UTF-8 text.\n"


def test_a_suspended_mailer_is_told(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files.write(suspend=True)

    assert main(["run", *files.arguments()], {}) == 2

    assert "spec.suspend: is true, so there is nothing to run." in capsys.readouterr().err


@pytest.mark.promise("run-explains-bad-input")
def test_a_missing_secret_file_is_told_with_its_place(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (files.secrets / "noreply" / "secret").unlink()

    assert main(["run", *files.arguments()], {}) == 2

    assert capsys.readouterr().err == (
        "o365mailer: The Secret noreply has no key secret; it has no key at all. Add the key, or name another "
        f"one in the spec. Here that is the file {files.secrets}/noreply/secret.\n"
    )


@pytest.mark.promise("run-explains-bad-input")
def test_a_missing_variable_is_told_by_name(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-f", str(files.mailer)], {}) == 2

    assert capsys.readouterr().err == (
        "o365mailer: There is no Secret noreply. Create it, with the key secret. "
        "Here that is the environment variable O365MAILER_SECRET_NOREPLY_SECRET.\n"
    )


@pytest.mark.promise("wrong-credential-explained")
def test_a_certificate_in_der_is_told_with_its_file_and_the_command(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write(credential={"certificate": {"secretRef": {"name": "pair"}}})
    for key in ("tls.crt", "tls.key"):
        files.secret("pair", key, "")
    (files.secrets / "pair" / "tls.key").write_text("-----BEGIN PRIVATE KEY-----\nnothing\n-----END PRIVATE KEY-----\n")
    certificate = ssl.PEM_cert_to_DER_cert(Path(files.emulator.ca_file).read_text())
    (files.secrets / "pair" / "tls.crt").write_bytes(certificate)

    assert main(["run", *files.arguments()], {}) == 2

    assert capsys.readouterr().err == (
        "o365mailer: The key tls.crt of the Secret pair is a certificate in DER form. Convert it to PEM: openssl x509 "
        f"-inform DER -in FILE -out tls.crt. Here that is the file {files.secrets}/pair/tls.crt.\n"
    )


def test_an_empty_secret_is_told(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files.secret("noreply", "secret", "\n")

    assert main(["run", *files.arguments()], {}) == 2

    assert "The key secret of the Secret noreply is empty." in capsys.readouterr().err


def test_a_secret_file_that_is_a_dangling_link_is_told(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = files.secrets / "noreply" / "secret"
    file.unlink()
    file.symlink_to("nowhere")

    assert main(["run", *files.arguments()], {}) == 2

    assert "The Secret noreply has no key secret" in capsys.readouterr().err


@pytest.mark.promise("run-explains-bad-input")
def test_a_port_that_is_taken_is_told(files: Any, start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = start("-f", str(files.mailer), "--secrets-dir", str(files.secrets), "--listen", address)

        assert run.ended() == 1

    told = run.stderr().splitlines()[-1]
    assert told.startswith(f"o365mailer: the relay ended with status 1: cannot listen on {address}: Address already in")
    assert told.endswith("another process listens there; choose another port")
    assert files.emulator.counters()["tokensIssued"] == 0


@pytest.mark.promise("run-explains-bad-input")
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("localhost", "--listen: 'localhost' is not an IP address and a port, such as 127.0.0.1:25 or [::1]:25"),
        (
            "0.0.0.0:2525",
            "--listen: 0.0.0.0:2525 is not loopback, and any client that reaches it could send mail as the",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_told(files: Any, start: Any, address: str, message: str) -> None:
    run = start("-f", str(files.mailer), "--secrets-dir", str(files.secrets), "--listen", address)

    assert run.ended() == 2
    assert run.stderr().startswith(f"o365mailer: {message}")


def test_a_directory_that_another_run_uses_is_told(files: Any, start: Any, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept")
    first = start(*files.arguments("--directory", kept))
    first.next("token obtained")

    second = start(*files.arguments("--directory", kept))

    assert second.ended() == 2
    assert second.stderr() == (
        f"o365mailer: --directory {kept}: another `o365mailer run` uses it. Name another directory.\n"
    )


def test_a_directory_that_cannot_be_made_is_told(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    place = f"{files.mailer}/kept"

    assert main(["run", *files.arguments("--directory", place)], {}) == 2

    assert capsys.readouterr().err == (
        f"o365mailer: --directory {place}: Not a directory. Name a directory that can be written.\n"
    )


LOCKED_UP = ["unshare", "--mount", "sh", "-c"]
"""A mount namespace of its own, in which what follows may be made read-only."""


@pytest.mark.promise("run-explains-bad-input")
@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "--directory: no temporary directory can be made for the token: No usable temporary directory found in "),
        (["--directory", "{folder}/kept"], "--directory {folder}/kept: cannot be written. Name a directory that can"),
        (["--directory", "{folder}/new"], "--directory {folder}/new: Read-only file system. Name a directory that "),
    ],
)
def test_a_machine_on_which_nothing_can_be_written_is_told(
    files: Any, tmp_path: Path, more: list[str], told: str
) -> None:
    if os.geteuid():
        lacking("root, who alone can make a file system read-only", "sudo make test")
    (tmp_path / "kept").mkdir()
    flags = [flag.format(folder=tmp_path) for flag in more]
    command = [sys.executable, "-m", "o365mailer_cli.main", "run", *files.arguments(*flags)]
    places = (tmp_path, "/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108  # where Python looks (tempfile.gettempdir)
    readonly = "; ".join(
        f"if [ -d {place} ]; then mount --bind {place} {place} && mount -o remount,bind,ro {place}; fi"
        for place in places
    )
    ended = subprocess.run(
        [*LOCKED_UP, f'{readonly}; exec "$@"', "sh", *command],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in {"TMPDIR", "TEMP", "TMP"}},
        capture_output=True,
        text=True,
    )
    assert ended.stderr.startswith(f"o365mailer: {told.format(folder=tmp_path)}"), ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.returncode == 2


def test_without_a_command_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {}) == 2
    assert "usage: o365mailer" in capsys.readouterr().err


@pytest.mark.promise("run-explains-bad-input")
@pytest.mark.parametrize("flag", ["--directory", "--spool-dir", "--secrets-dir"])
def test_an_empty_directory_is_not_the_current_one(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "-f", "mailer.yaml", flag, ""], {})

    assert ended.value.code == 2
    assert f"{flag}: is empty; is a variable unset? Name a directory" in capsys.readouterr().err


@pytest.mark.promise("run-explains-bad-input")
def test_a_closed_standard_input_is_told() -> None:
    command = f"exec '{sys.executable}' -m o365mailer_cli.main run -f - <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        2,
        "o365mailer: standard input: is closed. Name the mailer's file with -f FILE.\n",
    )
