"""The real `o365mailer-webhook` as a process, and a directory that changes the way kubelet changes a Secret's."""

import base64
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

COMMAND = Path(sys.executable).with_name("o365mailer-webhook")


Found = TypeVar("Found")


def eventually(look: Callable[[], Found | None], what: str, *, within: float = 20.0) -> Found:
    """What `look` finds, asked until it is something; fails with `what` was awaited."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.02)


class MountedSecret:
    """A volume as kubelet writes it: all files behind one symbolic link, swapped by a rename."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self._version = 0

    def write(self, data: Mapping[str, str]) -> None:
        """Makes these the files, from a Secret's base64 texts."""
        self._version += 1
        version = self.directory / f"..{self._version}"
        version.mkdir()
        for name, content in data.items():
            (version / name).write_bytes(base64.b64decode(content))
            with contextlib.suppress(FileExistsError):
                (self.directory / name).symlink_to(f"..data/{name}")
        new = self.directory / "..data_tmp"
        new.symlink_to(version.name)
        new.rename(self.directory / "..data")


class WebhookProcess:
    """One replica. `ports["admission"]` and `ports["health"]` are known once it has opened them."""

    def __init__(self, directory: Path, *arguments: str, listen: int = 0, **environment: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self.ports: dict[str, int] = {}
        self._news: queue.Queue[None] = queue.Queue()
        self.process = subprocess.Popen(
            [
                COMMAND,
                f"--listen=127.0.0.1:{listen}",
                "--health=127.0.0.1:0",
                "--image=registry.example/o365mailer-sidecar:test",
                f"--ca-directory={directory}",
                "--service-name=o365mailer-webhook",
                "--service-namespace=o365mailer-system",
                "--extra-names=127.0.0.1,localhost",
                "--drain=0s",
                *arguments,
            ],
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line = json.loads(text)
            for port in ("admission", "health"):
                if line["message"] == f"{port} port open":
                    self.ports[port] = int(line["address"].rpartition(":")[2])
            self.lines.append(line)

    def wait_ready(self) -> None:
        """Returns when /readyz says 200, and the log has been read up to both ports."""
        eventually(lambda: len(self.ports) == 2 and self.health("/readyz")[0] == 200, "the webhook is ready")

    def health(self, path: str) -> tuple[int, str]:
        """Status and body of a request to the health port."""
        url = f"http://127.0.0.1:{self.ports['health']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The log lines with this message."""
        return [line for line in self.lines if line["message"] == message]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal, and returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=20)
        self._reader.join(timeout=5)
        if self.process.stderr:
            self.process.stderr.close()
        return status


@contextlib.contextmanager
def running(directory: Path, *arguments: str, **options: Any) -> Iterator[WebhookProcess]:
    """A replica for as long as the context lasts; it is not waited for."""
    process = WebhookProcess(directory, *arguments, **options)
    try:
        yield process
    finally:
        process.stop(signal.SIGKILL)
