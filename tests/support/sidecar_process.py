"""The sidecar for tests: a mailer directory written by hand, the real process, and its log."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.emulator_client import EmulatorClient

START_WITHIN = 20.0
"""Seconds, on a machine that may be busy."""


class MailerDirectory:
    """A directory as kubelet would mount it: files behind `..data`, swapped all at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version = 0
        path.mkdir(parents=True, exist_ok=True)

    def write(self, *, mode: int = 0o444, **files: str | bytes | None) -> None:
        """The whole new content; names are written with `_` for `.`, None leaves a file out."""
        self.version += 1
        data = self.path / f"..{self.version}"
        data.mkdir()
        for name, content in files.items():
            if content is not None:
                file = data / {"mailer_json": "mailer.json", "ca_crt": "ca.crt"}.get(name, name)
                file.write_bytes(content if isinstance(content, bytes) else content.encode())
                file.chmod(mode)
        fresh = self.path / "..data_tmp"
        fresh.symlink_to(data.name)
        fresh.rename(self.path / "..data")

    def write_for(self, emulator: EmulatorClient, *, token: str | None = None, **settings: Any) -> None:
        """A directory with which mail reaches the emulator; `settings` replace members of the document."""
        self.write(
            access_token=emulator.issue_token() if token is None else token,
            mailer_json=json.dumps(document(emulator.smtp_host, emulator.smtp_port, emulator.mailbox) | settings),
            ca_crt=Path(emulator.ca_file).read_text(),
        )


def document(host: str, port: int, mailbox: str = "noreply@contoso.com") -> dict[str, Any]:
    """The least that a mailer.json can hold."""
    return {"schemaVersion": 1, "revision": 1, "mailbox": mailbox, "submission": {"host": host, "port": port}}


class Sidecar:
    """A running `o365mailer-sidecar` on free ports."""

    def __init__(
        self,
        directory: Path,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        listen: Sequence[str] = ("127.0.0.1:0",),
        prefix: Sequence[str] = (),
    ) -> None:
        command = [*prefix, sys.executable, "-m", "o365mailer_sidecar.main", "--mailer-dir", str(directory)]
        for address in listen:
            command += ["--listen", address]
        command += ["--health", "127.0.0.1:0", *arguments]
        self.lines: list[dict[str, Any]] = []
        self.raw = b""
        self.changed = threading.Condition()
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, **(environment or {})})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        for _ in listen:
            self.event("listening", protocol="smtp", nth=len(listen))
        self.health_port = self.event("listening", protocol="health")["port"]

    @property
    def port(self) -> int:
        """Where apps connect."""
        return int(self.event("listening", protocol="smtp")["port"])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.changed:
                self.raw += line
                if line.startswith(b"{"):
                    self.lines.append(json.loads(line))
                self.changed.notify_all()

    def events(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        """All lines so far with this event and these fields."""
        return [line for line in self.lines if line["event"] == name and fields.items() <= line.items()]

    def event(self, name: str, *, nth: int = 1, within: float = START_WITHIN, **fields: Any) -> dict[str, Any]:
        """The nth such line, waited for."""
        deadline = time.monotonic() + within
        with self.changed:
            while len(found := self.events(name, **fields)) < nth:
                if not self.changed.wait(max(deadline - time.monotonic(), 0)) and time.monotonic() >= deadline:
                    raise AssertionError(f"no {name} {fields} within {within}s; the log: {self.raw.decode()}")
        return found[nth - 1]

    def get(self, path: str) -> tuple[int, str]:
        """One request to the health port: status and text."""
        with socket.create_connection(("127.0.0.1", self.health_port), 10) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, text = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), text.decode()

    def metric(self, name: str) -> float:
        """A value of /metrics, 0 while it was never counted; with some of its labels, the sum over the others."""
        name, _, labels = name.rstrip("}").partition("{")
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            sample, _, value = line.rpartition(" ")
            found, _, theirs = sample.rstrip("}").partition("{")
            if found == name and set(filter(None, labels.split(","))) <= set(theirs.split(",")):
                total += float(value)
        return total

    def stop(self, *, within: float = 30.0) -> int:
        """SIGTERM, and the exit status."""
        self.process.terminate()
        return self.ended(within=within)

    def ended(self, *, within: float = 30.0) -> int:
        """The exit status, waited for."""
        try:
            status = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self.reader.join(10)
        return status


class Wire:
    """A raw SMTP client: what is sent is exactly what is said."""

    def __init__(self, port: int, *, greet: bool = True, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.octets = b""
        if greet:
            assert self.reply().startswith("220 ")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, octets: bytes) -> None:
        """As they are."""
        self.socket.sendall(octets)

    def reply(self) -> str:
        """The next reply, its lines joined; empty when the connection has ended."""
        lines: list[str] = []
        while True:
            while b"\r\n" not in self.octets:
                try:
                    data = self.socket.recv(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return "\n".join(lines)
                self.octets += data
            line, _, self.octets = self.octets.partition(b"\r\n")
            lines.append(line.decode())
            if line[3:4] != b"-":
                return "\n".join(lines)

    def ask(self, command: str | bytes) -> str:
        """One command with its CRLF, and its reply."""
        self.send((command.encode() if isinstance(command, str) else command) + b"\r\n")
        return self.reply()

    def begin(self, sender: str = "noreply@contoso.com", *recipients: str) -> None:
        """EHLO, MAIL, RCPT; every reply must be 250."""
        commands = [
            "EHLO test",
            f"MAIL FROM:<{sender}>",
            *(f"RCPT TO:<{to}>" for to in recipients or ("a@example.com",)),
        ]
        for command in commands:
            assert (answer := self.ask(command)).startswith("250"), answer

    def deliver(self, content: bytes) -> str:
        """DATA, the octets as they are and the end of data; the final reply."""
        answer = self.ask("DATA")
        assert answer.startswith("354"), answer
        self.send(content + b".\r\n")
        return self.reply()

    def closed(self) -> bool:
        """Whether the other side ends the connection without another word."""
        return self.reply() == ""


@contextmanager
def running(directory: Path, **options: Any) -> Iterator[Sidecar]:
    """A sidecar for the block; afterwards it must end with status 0 after SIGTERM."""
    sidecar = Sidecar(directory, **options)
    try:
        yield sidecar
    except BaseException:
        sidecar.process.kill()
        sidecar.ended()
        raise
    else:
        if sidecar.process.poll() is None:
            assert sidecar.stop() == 0, sidecar.raw.decode()


def until(condition: Callable[[], object], *, within: float = 10.0) -> None:
    """Poll a condition that nobody announces."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        threading.Event().wait(0.02)
