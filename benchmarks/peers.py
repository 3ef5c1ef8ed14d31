"""The measured processes, and what the system counts for them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from benchmarks.cores import on_the_relays

PATIENCE: Final = 30.0
"""Seconds within which a process must listen, even on a busy machine."""


class Peer:
    """A Python process that listens on `port`, or on the port that its first line or its log names."""

    login = False
    """Whether an app must log in."""

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        log: Path | None = None,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.began = time.monotonic()
        with (log or Path(os.devnull)).open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
            )
        try:
            self.port = port or self._announced(log)
            wait_until_listening(self.port, name, alive=lambda: self.process.poll() is None)
        except BaseException:
            self.kill()
            raise
        self.listening_after = time.monotonic() - self.began

    @classmethod
    def relay(cls, name: str, command: list[str], **more: Any) -> "Peer":  # what __init__ takes
        """A relay, on the relay's core."""
        with on_the_relays():
            return cls(name, command, **more)

    def _announced(self, log: Path | None) -> int:
        if log is None:
            return int(self._line())
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            for line in log.read_text().splitlines():
                event = json.loads(line) if line.endswith("}") else {}
                if event.get("event") == "listening" and event["protocol"] == "smtp":
                    return int(event["port"])
            time.sleep(0.001)
        raise RuntimeError(f"{self.name} does not listen: {log.read_text()}")

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()

    def kill(self) -> None:
        """Kill it, like a crash."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def told(self) -> dict[str, Any]:
        """The counts of the process (see `sink`, `distance`)."""
        self.process.send_signal(signal.SIGUSR1)
        counted: dict[str, Any] = json.loads(self._line())
        return counted

    def processor_seconds(self) -> float:
        """User and system time of all its threads so far."""
        return processor_seconds(self.process.pid)

    def memory(self, what: str) -> float:
        """MiB of `VmRSS` (now) or `VmHWM` (the most so far)."""
        return memory(self.process.pid, what)

    def wake_ups(self) -> int:
        """How often its threads have gone to sleep so far, which is how often they were woken."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(_status(task, "voluntary_ctxt_switches") for task in tasks)


def processor_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def memory(pid: int, what: str) -> float:
    """MiB of `VmRSS` (now) or `VmHWM` (the most so far) of a process."""
    return _status(Path(f"/proc/{pid}"), what) / 1024


def _status(process: Path, what: str) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"no {what}")


def wait_until_listening(port: int, name: str, *, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until it listens. Raises RuntimeError if it does not, or is no longer `alive`."""
    deadline = time.monotonic() + PATIENCE
    while alive() and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except ConnectionRefusedError:
            time.sleep(0.002)
        else:
            return
    raise RuntimeError(f"{name} does not listen")


def free_port() -> int:
    """A free port that the system will not assign soon."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
