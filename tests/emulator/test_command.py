"""The command: flags and environment, the state file, the line it prints, how it stops, what it says when it cannot."""

import contextlib
import datetime
import json
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.completeness import need_ipv6_loopback
from support.emulator_client import EmulatorClient

from o365mailer_emulator import certificates

FREE = ("--entra", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--control", "127.0.0.1:0")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, expected to end by itself."""
    command = [sys.executable, "-m", "o365mailer_emulator.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def handshake(host: str, port: int, *, ca: str, name: str) -> None:
    """TLS to Entra's address; raises SSLCertVerificationError unless the certificate is good for ``name``."""
    context = ssl.create_default_context(cafile=ca)
    with socket.create_connection((host, port), timeout=10) as plain, context.wrap_socket(plain, server_hostname=name):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_even_with_a_client_connected(number: signal.Signals) -> None:
    with EmulatorClient() as emulator:
        address = (emulator.smtp_host, emulator.smtp_port)
        with contextlib.closing(socket.create_connection(address, timeout=10)) as client:
            assert client.recv(3) == b"220"
            emulator.process.send_signal(number)
            assert emulator.process.wait(10) == 0
        assert emulator.stderr() == ""


def test_it_ends_with_the_process_that_started_it() -> None:
    with EmulatorClient() as emulator:
        assert emulator.process.stdin is not None
        emulator.process.stdin.close()
        assert emulator.process.wait(10) == 0


def test_one_line_says_where_everything_is(emulator_process: EmulatorClient) -> None:
    state = emulator_process.state
    assert emulator_process.announcement == (
        f"Office 365 emulator: authority {state['authority']}/{state['tenant']}, "
        f"SMTP 127.0.0.1:{state['smtp']['port']}, control and page {state['controlUrl']}/"
    )
    assert emulator_process.control("GET", "/state") == state
    assert emulator_process.control("GET", "/healthz") == {"status": "ok"}


def test_flags_may_come_from_the_environment(tmp_path: Path) -> None:
    environment = {
        "O365EMULATOR_HOST": "emulator.mail.svc, smtp.example",
        "O365EMULATOR_PUBLIC_AUTHORITY": "https://emulator.mail.svc:8443/",
    }
    with EmulatorClient(environment=environment, arguments=["--host", "third.example"]) as emulator:
        assert emulator.authority == "https://emulator.mail.svc:8443"
        entra = emulator.state["entra"]
        for name in ("emulator.mail.svc", "smtp.example", "third.example", "localhost", "127.0.0.1"):
            handshake(entra["host"], entra["port"], ca=emulator.ca_file, name=name)
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(entra["host"], entra["port"], ca=emulator.ca_file, name="fourth.example")


def test_it_serves_ipv6(emulator_process: EmulatorClient) -> None:
    need_ipv6_loopback()
    with EmulatorClient(host="::1") as emulator:
        assert emulator.authority.startswith("https://[::1]:")
        entra = emulator.state["entra"]
        handshake("::1", entra["port"], ca=emulator.ca_file, name="::1")


def test_a_kept_ca_is_used_again_and_its_key_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    with EmulatorClient(arguments=["--ca-dir", str(folder)]):
        first = (folder / "ca.crt").read_bytes()
        assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600
    with EmulatorClient(arguments=["--ca-dir", str(folder)]) as emulator:
        assert (folder / "ca.crt").read_bytes() == first
        entra = emulator.state["entra"]
        handshake(entra["host"], entra["port"], ca=str(folder / "ca.crt"), name="localhost")


def test_its_certificates_need_no_place_to_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError):
        tempfile.mkdtemp()
    now = datetime.datetime.now(datetime.UTC)
    assert certificates.create(now=now).server_context([], now=now).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_configuration_file_says_what_exists(tmp_path: Path) -> None:
    config = tmp_path / "fabrikam.json"
    tenant = "99999999-9999-4999-8999-999999999999"
    document = {
        "tenants": [{"id": tenant, "domains": ["fabrikam.example"]}],
        "applications": [{"clientId": "app-1", "tenant": "fabrikam.example", "secrets": [{"value": "not-a-secret"}]}],
        "mailboxes": [{"address": "info@fabrikam.example", "tenant": tenant}],
        "settings": {"tokenLifetime": 90},
    }
    config.write_text(json.dumps(document))
    with EmulatorClient(arguments=["--config", str(config)]) as emulator:
        assert (emulator.tenant, emulator.client_id, emulator.mailbox) == (tenant, "app-1", "info@fabrikam.example")
        assert emulator.control("GET", "/config")["settings"]["tokenLifetime"] == 90


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--smtp", "localhost"), "--smtp is 'localhost'; write HOST:PORT, 127.0.0.1:0 for a free port"),
        (("--entra", ":0"), "--entra is ':0'; port 0 needs a host, 127.0.0.1:0 for example"),
        (("--control", "127.0.0.1:99999"), "--control is '127.0.0.1:99999'; write HOST:PORT"),
        (
            ("--config", "/nowhere.json"),
            "--config /nowhere.json: No such file or directory; name a file that can be read",
        ),
        (("--ca-dir", "/proc/ca"), "--ca-dir /proc/ca: No such file or directory; name a place that can be written"),
        (("--state-file", "/nowhere/state"), "--state-file /nowhere/state: No such file or directory; name a place"),
        (("--ca-file", "/nowhere/ca.crt"), "--ca-file /nowhere/ca.crt: No such file or directory; name a place"),
    ],
)
def test_a_wrong_flag_is_one_line_and_status_2(arguments: tuple[str, str], complaint: str) -> None:
    ended = run(*FREE, *arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"o365mailer-emulator: {complaint}")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "Input data was truncated"),
        ('{"mailboxes": [{"address": "a@b.c"}]}', "missing required field `tenant` - at `$.mailboxes[0]`"),
        (
            '{"mailboxes": [{"address": "a@b.c", "tenant": "x"}]}',
            "mailboxes[0].tenant is 'x', which no entry of 'tenants'",
        ),
        ('{"tenant": []}', "unknown field `tenant`"),
    ],
)
def test_a_wrong_configuration_names_the_place_in_it(tmp_path: Path, text: str, complaint: str) -> None:
    config = tmp_path / "wrong.json"
    config.write_text(text)
    ended = run(*FREE, "--config", str(config))
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"o365mailer-emulator: {config}: ")
    assert complaint in ended.stderr


def test_an_address_that_is_taken_is_named(emulator_process: EmulatorClient) -> None:
    taken = f"127.0.0.1:{emulator_process.smtp_port}"
    ended = run(*FREE[:2], "--smtp", taken, *FREE[4:])
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"o365mailer-emulator: --smtp {taken} cannot be had: ")


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [("ca.key", "only one of ca.crt and ca.key is there"), ("", "ca.crt or ca.key cannot be read")],
)
def test_half_a_ca_is_refused(tmp_path: Path, missing: str, complaint: str) -> None:
    for name in {"ca.crt", "ca.key"} - {missing}:
        (tmp_path / name).write_text("no PEM")
    ended = run(*FREE, "--ca-dir", str(tmp_path))
    assert ended.returncode == 2
    assert complaint in ended.stderr
