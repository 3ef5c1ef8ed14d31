"""The processes that are measured, and what /proc says of them."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

import trustme

TICKS: Final = os.sysconf("SC_CLK_TCK")


class Peer:
    """A process that prints where it listens."""

    def __init__(self, name: str, command: list[str], *, log: Path | None = None) -> None:
        self.name = name
        self.began = time.perf_counter()
        with (log or Path(os.devnull)).open("wb") as errors:
            self.process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=errors)
        self.port = self._announced(log)
        socket.create_connection(("127.0.0.1", self.port), 10).close()
        self.listening_after = time.perf_counter() - self.began

    def _announced(self, log: Path | None) -> int:
        if log is None:
            assert self.process.stdout is not None
            return int(self.process.stdout.readline())
        while True:
            for line in log.read_text().splitlines():
                event = json.loads(line) if line.endswith("}") else {}
                if event.get("event") == "listening" and event["protocol"] == "smtp":
                    return int(event["port"])
            if self.process.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.001)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait()

    def processor_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, what: str) -> float:
        """MiB of `VmRSS` (now) or `VmHWM` (the most so far)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"no {what}")


class Rig:
    """A sink, its authority, and a mailer directory that leads to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = trustme.CA()
        self.authority = folder / "ca.crt"
        authority.cert_pem.write_to_path(str(self.authority))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "sink.pem"))
        self.sink = Peer("sink", ["-m", "benchmarks.sink", str(folder / "sink.pem")])
        document = {
            "schemaVersion": 1,
            "revision": 1,
            "mailbox": "noreply@contoso.com",
            "submission": {"host": "127.0.0.1", "port": self.sink.port},
            "delivery": {"confirmWithin": "60s"},
        }
        (folder / "mailer.json").write_text(json.dumps(document))
        (folder / "access_token").write_text("token-not-a-secret")

    def sidecar(self) -> Peer:
        """The sidecar as it is shipped."""
        command = ["-m", "o365mailer_sidecar.main", "--mailer-dir", str(self.folder), "--listen", "127.0.0.1:0"]
        return Peer("sidecar", [*command, "--health", "127.0.0.1:0"], log=self.folder / "sidecar.log")

    def plain(self) -> Peer:
        """The baseline."""
        return Peer("plain", ["-m", "benchmarks.plain_relay", str(self.sink.port), str(self.authority)])
