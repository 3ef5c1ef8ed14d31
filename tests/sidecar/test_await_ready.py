"""`o365mailer-await-ready`, the postStart hook of the injected container, as a process against real ports."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.completeness import need_ipv6_loopback
from support.sidecar_process import Sidecar, Wire

from o365mailer_contract import names
from o365mailer_sidecar import await_ready

pytestmark = pytest.mark.promise("sidecar-starts-first")

PROGRAM = Path(await_ready.__file__)
COMMAND = [sys.executable, "-I", "-S", str(PROGRAM)]
NEVER, LONG = "0.2", "20"
"""Seconds that the hook waits: where the test expects no relay, and where it expects one."""


def started(port: int, seconds: str, log: Path) -> "subprocess.Popen[str]":
    """The hook, running."""
    return subprocess.Popen([*COMMAND, str(port), seconds, str(log)], stderr=subprocess.PIPE, text=True)


def ended(hook: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its exit status and what it said."""
    said = hook.communicate(timeout=30)[1]
    return hook.returncode, said


def free_port(host: str = "127.0.0.1") -> int:
    """A port that had no listener a moment ago."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def answering(*answers: bytes, host: str = "127.0.0.1") -> Iterator[tuple[int, list[bytes]]]:
    """A port that gives one of these answers to each connection, the last one repeatedly; and the requests to it.

    An empty answer: it says nothing, and keeps the connection open.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    requests: list[bytes] = []
    kept: list[socket.socket] = []
    with socket.create_server((host, 0), family=family) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError):  # a hook that was ended has reset its connection
                    requests.append(connection.recv(1000))
                    if not (answer := answers[min(len(requests), len(answers)) - 1]):
                        kept.append(connection)
                        continue
                    connection.sendall(answer)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], requests
        server.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
STOPPING = b"HTTP/1.1 503 Service Unavailable\r\n\r\nstopping\n"


def test_it_returns_when_the_relay_listens_on_every_port_and_not_before(tmp_path: Path) -> None:
    health = free_port()
    hook = started(health, LONG, tmp_path / "log")
    ports = [free_port() for _ in range(4)]
    with pytest.raises(subprocess.TimeoutExpired):
        hook.wait(0.5)  # nothing listens yet, and there is no event for "it waits"
    command = [sys.executable, "-m", "o365mailer_sidecar.main", "--health", f"127.0.0.1:{health}"]
    listen = [part for port in ports for part in ("--listen", f"127.0.0.1:{port}")]
    relay = subprocess.Popen([*command, *listen, "--mailer-dir", str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        assert ended(hook) == (0, "")
        for port in reversed(ports):
            with Wire(port):
                pass
    finally:
        relay.terminate()
        assert relay.wait(30) == 0
    assert not (tmp_path / "log").exists()


@pytest.mark.promise("listens-at-once")
def test_the_health_port_is_opened_last(idle_sidecar: Sidecar) -> None:
    lines = idle_sidecar.events("listening")
    assert [line["protocol"] for line in lines][-1:] == ["health"]
    assert len(lines) > 1


def test_it_asks_again_until_the_answer_is_200(tmp_path: Path) -> None:
    with answering(STOPPING, STOPPING, OK) as (port, requests):
        assert ended(started(port, LONG, tmp_path / "log")) == (0, "")
    assert [request.split(b"\r\n")[0] for request in requests] == [b"GET /readyz HTTP/1.1"] * 3


def test_the_relay_may_be_on_ipv6_alone(tmp_path: Path) -> None:
    need_ipv6_loopback()
    with answering(OK, host="::1") as (port, _):
        assert ended(started(port, LONG, tmp_path / "log")) == (0, "")


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ((), "gives no answer (Connection refused)"),
        ((b"",), "gives no answer (timed out)"),
        ((STOPPING,), "answers 'HTTP/1.1 503 Service Unavailable' to GET /readyz"),
        ((b"220 not HTTP\r\n",), "answers '220 not HTTP' to GET /readyz"),
    ],
)
def test_it_gives_up_in_time_and_the_termination_message_has_the_reason(
    answers: Sequence[bytes], problem: str, tmp_path: Path
) -> None:
    log = tmp_path / "termination-log"
    log.write_text("")
    if answers:
        with answering(*answers) as (port, _):
            status, said = ended(started(port, NEVER, log))
    else:
        port = free_port()
        status, said = ended(started(port, NEVER, log))
    assert status == 1
    assert said == (
        "o365mailer: the relay was not ready within 0.2 seconds of its start, so the container was stopped: port "
        f"{port} of 127.0.0.1 {problem}. Read its log (kubectl logs POD -c o365mailer --previous). If the log names no "
        "error, the container had too little processor time: raise annotation o365mailer.dev/cpu-limit, or move the "
        "pod to a less busy node\n"
    )
    assert log.read_text() == said.rstrip("\n")
    assert "o365mailer.dev/cpu-limit" in names.RESOURCE_ANNOTATIONS


def test_the_reason_is_on_standard_error_where_there_is_no_termination_log(tmp_path: Path) -> None:
    status, said = ended(started(free_port(), NEVER, tmp_path / "no" / "log"))
    assert status == 1
    assert said.startswith("o365mailer: the relay was not ready within 0.2 seconds")
    assert said.endswith("No such file or directory: '" + str(tmp_path / "no" / "log") + "'\n")


def test_a_relay_that_has_ended_is_not_ready(tmp_path: Path) -> None:
    relay = Sidecar(tmp_path)
    assert ended(started(relay.health_port, LONG, tmp_path / "log")) == (0, "")
    relay.process.kill()
    relay.ended()
    assert ended(started(relay.health_port, NEVER, tmp_path / "log"))[0] == 1


def test_it_waits_as_long_as_its_promise_says() -> None:
    assert await_ready.SECONDS == 30


def test_it_costs_one_short_start_of_the_interpreter(tmp_path: Path) -> None:
    """What it imports beyond what an interpreter without `site` imports anyway."""

    def imported(*arguments: str) -> set[str]:
        command = [sys.executable, "-X", "importtime", "-I", "-S", *arguments]
        lines = subprocess.run(command, capture_output=True, text=True, timeout=30).stderr.splitlines()
        return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}

    with answering(OK) as (port, _):
        assert imported(str(PROGRAM), str(port)) - imported("-c", "") <= {"time", "_socket"}
    assert "typing" in imported("-c", "import typing")


def test_the_image_runs_it_by_its_own_first_line() -> None:
    """`#!/app/bin/python3 -IS`: Linux gives an interpreter one argument at most."""
    root = Path(__file__).parents[2]
    assert PROGRAM.read_text().splitlines()[0] == "#!/app/bin/python3 -IS"
    source = PROGRAM.relative_to(root)
    dockerfile = (root / "sidecar" / "Dockerfile").read_text()
    assert f"install --mode=0755 {source} /app/bin/{names.AWAIT_READY}\n" in dockerfile
