"""The sidecar for tests: a mailer directory written by hand, the real process, and its log."""

import json
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.emulator_client import EmulatorClient
from support.mounted_directory import MountedDirectory
from support.process import WITHIN, Process


class MailerDirectory(MountedDirectory):
    """What the controller writes and the relay reads, in a Secret's volume."""

    def write(self, *, mode: int = 0o444, **files: str | bytes | None) -> None:
        """The whole new content; names are written with `_` for `.`, None leaves a file out."""
        names = {"mailer_json": "mailer.json", "ca_crt": "ca.crt"}
        contents = {names.get(name, name): content for name, content in files.items() if content is not None}
        self.swap({name: c if isinstance(c, bytes) else c.encode() for name, c in contents.items()}, mode=mode)

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


class Sidecar(Process):
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
        super().__init__([*command, "--health", "127.0.0.1:0", *arguments], environment=environment)
        try:
            self.event("listening", protocol="smtp", nth=len(listen))
            self.health_port = self.event("listening", protocol="health")["port"]
        except BaseException:
            self.kill()
            raise

    @property
    def port(self) -> int:
        """Where apps connect."""
        return int(self.event("listening", protocol="smtp")["port"])

    def events(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        """All lines so far with this event and these fields."""
        return [line for line in self.log if line["event"] == name and fields.items() <= line.items()]

    def event(self, name: str, *, nth: int = 1, within: float = WITHIN, **fields: Any) -> dict[str, Any]:
        """The nth such line, waited for."""
        return self.hear(lambda: self.events(name, **fields)[nth - 1 : nth], f"{name} {fields}", within=within)[0]

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


class Wire:
    """A raw SMTP client: what is sent is exactly what is said."""

    def __init__(self, port: int, *, greet: bool = True, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""
        if greet:
            assert self.reply().startswith("220 ")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send these bytes as they are."""
        self.socket.sendall(data)

    def reply(self) -> str:
        """The next reply, its lines joined; empty when the connection has ended."""
        lines: list[str] = []
        while True:
            while b"\r\n" not in self.unread:
                try:
                    data = self.socket.recv(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return "\n".join(lines)
                self.unread += data
            line, _, self.unread = self.unread.partition(b"\r\n")
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
        """DATA, the bytes as they are and the end of data; the final reply."""
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
    with Sidecar(directory, **options) as sidecar:
        yield sidecar
        if sidecar.process.poll() is None:
            assert sidecar.stop() == 0, sidecar.stderr()
