"""A bare SMTP client for tests: sends exactly what it is told, in exactly so many writes, and reads single replies."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
from collections.abc import Iterator

from support.emulator_client import EmulatorClient


def xoauth2(mailbox: str, token: str) -> str:
    """The initial response of AUTH XOAUTH2."""
    return base64.b64encode(f"user={mailbox}\x01auth=Bearer {token}\x01\x01".encode()).decode()


class Dialogue:
    """One connection; every read has a time limit of ten seconds."""

    def __init__(self, host: str, port: int) -> None:
        self.socket: socket.socket = socket.create_connection((host, port), timeout=10)
        self._buffer = b""

    def send(self, *lines: str) -> None:
        """Send the lines, each with CRLF, in one write."""
        self.send_bytes("".join(f"{line}\r\n" for line in lines).encode())

    def send_bytes(self, data: bytes) -> None:
        """Send exactly these bytes."""
        self.socket.sendall(data)

    def line(self) -> str:
        """The next line; EOFError when the other side has closed."""
        while b"\r\n" not in self._buffer:
            received = self.socket.recv(65_536)
            if not received:
                raise EOFError("the connection is closed")
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode()

    def reply(self) -> str:
        """The next reply, its lines joined by LF."""
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return "\n".join(lines)

    def ask(self, command: str) -> str:
        """Send one command and return its reply."""
        self.send(command)
        return self.reply()

    def secure(self, ca_file: str) -> None:
        """Do the TLS handshake that follows the 220 to STARTTLS."""
        context = ssl.create_default_context(cafile=ca_file)
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def closed(self) -> bool:
        """Whether the other side ends the connection now, in order or by a reset."""
        try:
            return self._buffer == b"" and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        """Ends the connection."""
        self.socket.close()


@contextlib.contextmanager
def greeted(emulator: EmulatorClient) -> Iterator[Dialogue]:
    """A connection whose greeting has been read."""
    dialogue = Dialogue(emulator.smtp_host, emulator.smtp_port)
    with contextlib.closing(dialogue):
        assert dialogue.reply().startswith("220 ")
        yield dialogue


@contextlib.contextmanager
def secured(emulator: EmulatorClient) -> Iterator[Dialogue]:
    """A connection after STARTTLS that has said EHLO again."""
    with greeted(emulator) as dialogue:
        assert dialogue.ask("EHLO test.example").startswith("250-")
        assert dialogue.ask("STARTTLS").startswith("220 ")
        dialogue.secure(emulator.ca_file)
        assert dialogue.ask("EHLO test.example").startswith("250-")
        yield dialogue


@contextlib.contextmanager
def authenticated(emulator: EmulatorClient, *, token: str | None = None) -> Iterator[Dialogue]:
    """A connection that may submit mail as the emulator's first mailbox."""
    with secured(emulator) as dialogue:
        credentials = xoauth2(emulator.mailbox, token or emulator.issue_token())
        assert dialogue.ask(f"AUTH XOAUTH2 {credentials}").startswith("235 ")
        yield dialogue
