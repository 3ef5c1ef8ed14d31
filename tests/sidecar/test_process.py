"""The process: its command line, its sockets, its health port, its end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.completeness import lacking
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running
from support.waiting import eventually

from o365mailer_sidecar.config import Address, bind, bind_health, bound_address, options
from o365mailer_sidecar.errors import WrongCommandLine

TEXT = b"Subject: x\r\n\r\nbody\r\n"


def run(*arguments: str, prefix: Sequence[str] = ()) -> tuple[int, str]:
    """Status and standard error of a sidecar that ends by itself."""
    command = [*prefix, sys.executable, "-m", "o365mailer_sidecar.main", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return ended.returncode, ended.stderr


def test_the_defaults_are_those_of_an_injected_container() -> None:
    chosen = options([], {})
    assert chosen.mailer_dir == Path("/var/run/o365mailer")
    assert chosen.listen == (Address("127.0.0.1", 25), Address("::1", 25))
    assert (str(chosen.health), chosen.grace, chosen.log_level) == ("[::]:9025", 25.0, None)


def test_each_flag_is_an_environment_variable_and_the_flag_wins() -> None:
    environment = {
        "O365MAILER_MAILER_DIR": "/x",
        "O365MAILER_LISTEN": "127.0.0.1:25,[::1]:25, 127.0.0.1:587",
        "O365MAILER_HEALTH": "0.0.0.0:1",
        "O365MAILER_GRACE": "5m",
        "O365MAILER_LOG_LEVEL": "debug",
    }
    chosen = options([], environment)
    assert [str(address) for address in chosen.listen] == ["127.0.0.1:25", "[::1]:25", "127.0.0.1:587"]
    assert (chosen.mailer_dir, str(chosen.health)) == (Path("/x"), "0.0.0.0:1")
    assert (chosen.grace, chosen.log_level) == (300.0, "debug")
    flags = [
        "--mailer-dir",
        "/y",
        "--listen",
        "127.0.0.2:0",
        "--health",
        "[::1]:2",
        "--grace",
        "1s",
        "--log-level",
        "error",
    ]
    chosen = options(flags, environment)
    assert (chosen.mailer_dir, chosen.listen, str(chosen.health)) == (Path("/y"), (Address("127.0.0.2", 0),), "[::1]:2")
    assert (chosen.grace, chosen.log_level) == (1.0, "error")


@pytest.mark.promise("loopback-only")
@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [(["--listen", "0.0.0.0:25"], {},
      ("--listen: 0.0.0.0:25 is not loopback, and any client that reaches it could send mail as the mailbox; "
      "use 127.0.0.1 or [::1], or add --listen-anywhere if that is what you want")),
     ([], {"O365MAILER_LISTEN": "[::]:25"}, "O365MAILER_LISTEN: [::]:25 is not loopback"),
     (["--listen", "localhost:25"], {},
      "--listen: 'localhost:25' is not an IP address and a port, such as 127.0.0.1:25 or [::1]:25"),
     (["--listen", "::1:25"], {}, "--listen: '::1:25' is not an IP address and a port"),
     (["--listen", "127.0.0.1:65536"], {}, "--listen: '127.0.0.1:65536' is not an IP address and a port"),
     (["--health", "9025"], {}, "--health: '9025' is not an IP address and a port"),
     (["--grace", "25"], {}, "--grace: '25' is not a duration such as 10s, 5m or 24h"),
     ([], {"O365MAILER_GRACE": "soon"}, "O365MAILER_GRACE: 'soon' is not a duration"),
     (["--log-level", "loud"], {}, "--log-level: 'loud' is none of debug, info, warning, error")],
)  # fmt: skip
def test_a_wrong_command_line_is_named(arguments: list[str], environment: Mapping[str, str], text: str) -> None:
    with pytest.raises(WrongCommandLine) as error:
        options(arguments, environment)
    assert str(error.value).startswith(text)


@pytest.mark.promise("loopback-only")
def test_a_wrong_command_line_ends_the_process_with_one_line() -> None:
    status, text = run("--listen", "0.0.0.0:2525")
    assert status == 2
    assert text.startswith("o365mailer-sidecar: --listen: 0.0.0.0:2525 is not loopback")
    assert text.count("\n") == 1


def test_beyond_loopback_in_so_many_words() -> None:
    assert options(["--listen", "0.0.0.0:25", "--listen-anywhere"], {}).listen == (Address("0.0.0.0", 25),)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, text = run("--listen", f"127.0.0.1:{port}", "--health", "127.0.0.1:0", "--mailer-dir", str(tmp_path))
    assert status == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; another process listens there" in text


def test_a_reply_never_waits_for_an_acknowledgement() -> None:
    bound = bind(Address("127.0.0.1", 0))
    assert bound is not None
    with bound:
        assert bound.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.promise("listens-at-once")
def test_it_listens_on_every_address_before_there_is_a_directory(tmp_path: Path) -> None:
    with running(tmp_path / "missing", listen=("127.0.0.1:0", "[::1]:0", "127.0.0.2:0")) as sidecar:
        hosts = {line["host"]: line["port"] for line in sidecar.events("listening", protocol="smtp")}
        assert {"127.0.0.1", "127.0.0.2"} <= set(hosts)
        for host, port in hosts.items():
            with Wire(port, host=host) as app:
                assert app.ask("EHLO x").startswith("250")
        assert sidecar.get("/readyz") == (200, "ok\n")


@pytest.fixture(scope="module")
def without_ipv6() -> list[str]:
    """A command prefix: a network of its own, with IPv4 loopback only."""
    script = 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && ip link set lo up && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        lacking("no network namespace can be made", "run as root, or allow user namespaces; ip is of iproute2")
    return prefix


@pytest.mark.promise("listens-at-once")
def test_a_missing_ipv6_loopback_is_not_an_error(tmp_path: Path, without_ipv6: list[str]) -> None:
    arguments = ("--listen", "[::1]:0")
    with running(tmp_path, prefix=without_ipv6, listen=("127.0.0.1:0",), arguments=arguments) as sidecar:
        assert sidecar.event("listen_skipped")["address"] == "[::1]:0"
        assert [line["host"] for line in sidecar.events("listening", protocol="smtp")] == ["127.0.0.1"]


def test_with_none_of_its_addresses_it_does_not_start(tmp_path: Path, without_ipv6: list[str]) -> None:
    arguments = ["--listen", "[::1]:0", "--health", "127.0.0.1:0", "--mailer-dir", str(tmp_path)]
    status, text = run(*arguments, prefix=without_ipv6)
    assert status == 1
    expected = "o365mailer-sidecar: none of the addresses to listen on exists on this machine"
    assert text.splitlines()[-1] == expected


def test_any_other_address_that_is_missing_is_an_error(tmp_path: Path) -> None:
    arguments = ["--listen", "192.0.2.1:2525", "--listen-anywhere", "--health", "127.0.0.1:0"]
    status, text = run(*arguments, "--mailer-dir", str(tmp_path))
    assert status == 1
    assert "cannot listen on 192.0.2.1:2525: Cannot assign requested address; choose another address" in text


@pytest.mark.promise("listens-at-once")
def test_the_health_port_answers_whatever_upstream_does(idle_sidecar: Sidecar) -> None:
    assert idle_sidecar.get("/livez") == (200, "ok\n")
    assert idle_sidecar.get("/readyz") == (200, "ok\n")
    assert idle_sidecar.get("/nothing") == (404, "there is /livez /readyz /metrics\n")
    status, page = idle_sidecar.get("/metrics")
    assert status == 200
    assert "o365mailer_mailer_ready 0\n" in page
    assert "# TYPE o365mailer_messages_total counter\n" in page


@pytest.mark.promise("listens-at-once")
@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"POST /livez HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 "), (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
     (b"x" * 10000, b""), (b"GET /livez?verbose HTTP/1.1\r\nA: b\r\n\r\n", b"HTTP/1.1 200 OK\r\n")],
)  # fmt: skip
def test_the_health_port_is_not_impressed(idle_sidecar: Sidecar, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", idle_sidecar.health_port), 10) as connection:
        connection.sendall(sent)
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
    assert answer.startswith(status) if status else answer == b""
    assert idle_sidecar.get("/livez") == (200, "ok\n")


@pytest.mark.promise("listens-at-once")
def test_the_health_port_takes_both_ip_versions_on_one_socket(tmp_path: Path) -> None:
    with running(tmp_path, arguments=("--health", "[::]:0")) as sidecar:
        assert sidecar.get("/livez") == (200, "ok\n"), "IPv4"
        assert sidecar.event("listening", protocol="health")["host"] in ("::", "0.0.0.0")


def test_the_health_port_is_ipv4_where_the_kernel_has_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with bind_health(Address("::", 0)) as bound:
        assert bound_address(bound).host == "0.0.0.0"


@pytest.mark.promise("shutdown-keeps-mail")
def test_sigterm_finishes_what_is_in_flight_and_takes_nothing_new(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    directory.write_for(emulator)
    emulator.script("body", stall=True)
    with running(directory.path) as sidecar, Wire(sidecar.port) as app, Wire(sidecar.port) as idle:
        app.begin()
        assert app.ask("DATA").startswith("354")
        app.send(TEXT + b".\r\n")
        emulator.events("stalled", atleast=1, wait=10)
        sidecar.process.send_signal(signal.SIGTERM)
        assert idle.reply() == "421 4.3.2 The relay is stopping; try again later"
        with pytest.raises(ConnectionRefusedError):
            Wire(sidecar.port)
        assert sidecar.get("/readyz") == (503, "stopping\n")
        emulator.release()
        assert app.reply().startswith("250 2.0.0 Office 365 has it")
        assert app.reply() == "421 4.3.2 The relay is stopping; try again later"
        assert sidecar.ended() == 0
    assert len(emulator.messages()) == 1


@pytest.mark.promise("shutdown-keeps-mail")
@pytest.mark.parametrize(
    ("step", "reply"),
    [("rcpt", "451 4.3.2 The relay is stopping; nothing was sent, try again later ["),
     ("body", "451 4.4.2 No verdict from Office 365 (stopping); it may have taken the message [")],
)  # fmt: skip
def test_what_is_not_finished_within_the_grace_is_said_to_be_so(
    emulator: EmulatorClient, directory: MailerDirectory, step: str, reply: str
) -> None:
    directory.write_for(emulator)
    emulator.script(step, stall=True)
    with running(directory.path, arguments=("--grace", "1s")) as sidecar, Wire(sidecar.port) as app:
        app.begin()
        assert app.ask("DATA").startswith("354")
        app.send(TEXT + b".\r\n")
        emulator.events("stalled", atleast=1, wait=10)
        began = time.monotonic()
        sidecar.process.send_signal(signal.SIGTERM)
        assert app.reply().startswith(reply)
        assert sidecar.ended() == 0
        assert time.monotonic() - began > 0.9
    emulator.release()


def test_a_session_in_the_middle_of_a_message_may_finish_it(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    with Wire(sidecar.port) as app:
        app.begin()
        sidecar.process.send_signal(signal.SIGTERM)
        sidecar.event("stopping")
        assert app.deliver(TEXT).startswith("250")
        assert app.reply().startswith("421 4.3.2")
        assert sidecar.ended() == 0


def test_an_idle_process_sleeps(idle_sidecar: Sidecar) -> None:
    switches = Path(f"/proc/{idle_sidecar.process.pid}/status")

    def wakeups() -> int:
        """How often it went to sleep. How often the kernel preempted it depends on the machine, and does not count."""
        (line,) = [line for line in switches.read_text().splitlines() if line.startswith("voluntary_ctxt_switches")]
        return int(line.split()[1])

    before = wakeups()
    time.sleep(3)  # a rate has no event to wait for
    assert wakeups() - before <= 6


def test_the_log_may_go_away(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "o365mailer_sidecar.main", "--listen", "127.0.0.1:0", "--health", "127.0.0.1:0"]
    read, write = os.pipe()
    process = subprocess.Popen([*command, "--mailer-dir", str(tmp_path)], stderr=write)
    os.close(write)
    line = b""
    while b'"smtp"' not in line:
        line += os.read(read, 4096)
    os.close(read)
    port = int(line.partition(b'"smtp"')[2].partition(b'"port":')[2].partition(b"}")[0])
    with Wire(port) as app:
        app.begin()
        assert app.deliver(TEXT).startswith("451")
    process.terminate()
    assert process.wait(30) == 0
    eventually(lambda: process.poll() == 0)
