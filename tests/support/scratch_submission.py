"""A submission host that does exactly what a test says, for everything that a good one would never do."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import trustme

from support.sidecar_process import MailerDirectory, document

Script = Callable[["Peer"], object]

CLEAR_EHLO = b"250-host\r\n250-STARTTLS\r\n250 SIZE 1000\r\n"
SECURE_EHLO = b"250-host\r\n250-AUTH LOGIN XOAUTH2\r\n250-8BITMIME\r\n250 SIZE 1000000\r\n"


class Peer:
    """One connection, as the host sees it; everything that it read is kept."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        self.connection, self.context = connection, context
        self.heard = b""
        self.unread = b""

    def say(self, data: bytes) -> None:
        """Send these bytes as they are."""
        self.connection.sendall(data)

    def line(self) -> bytes:
        """The next line; empty when the relay has closed."""
        while b"\n" not in self.unread:
            try:
                data = self.connection.recv(65536)
            except OSError:
                return b""
            if not data:
                return b""
            self.heard += data
            self.unread += data
        line, _, self.unread = self.unread.partition(b"\n")
        return line + b"\n"

    def message(self) -> bytes:
        """Up to the end of data."""
        lines = []
        while (line := self.line()) not in (b".\r\n", b""):
            lines.append(line)
        return b"".join(lines)

    def start(self) -> None:
        """Greeting, EHLO, STARTTLS, TLS."""
        self.say(b"220 host\r\n")
        self.line()
        self.say(CLEAR_EHLO)
        self.line()
        self.say(b"220 go\r\n")
        self.connection = self.context.wrap_socket(self.connection, server_side=True)

    def authenticate(self) -> None:
        """All that comes before MAIL."""
        self.start()
        self.line()
        self.say(SECURE_EHLO)
        self.line()
        self.say(b"235 2.7.0 ok\r\n")


class ScratchHost:
    """Runs the nth script for the nth connection, the last one for all that follow."""

    def __init__(self, *scripts: Script, names: tuple[str, ...] = ("127.0.0.1",)) -> None:
        self.authority = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(self.context)
        self.scripts = scripts
        self.peers: list[Peer] = []
        self.failures: list[BaseException] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.threads: list[threading.Thread] = []
        self.accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self.accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.accepting.join(10)
        for peer in self.peers:
            peer.connection.close()
        for thread in self.threads:
            thread.join(10)
        if self.failures and error is None:
            raise self.failures[0]

    async def __aenter__(self) -> "ScratchHost":
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The test's event loop goes on meanwhile: it has connections to close, which the scripts wait for."""
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listener.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(30)
            self.peers.append(Peer(connection, self.context))
            script = self.scripts[min(len(self.peers), len(self.scripts)) - 1]
            thread = threading.Thread(target=self._run, args=(script, self.peers[-1]), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _run(self, script: Script, peer: Peer) -> None:
        try:
            script(peer)
        except (OSError, ssl.SSLError):
            pass
        except BaseException as error:  # noqa: BLE001  # raised where the test can see it
            self.failures.append(error)
        finally:
            peer.connection.close()

    @contextmanager
    def described(self, directory: MailerDirectory) -> Iterator[None]:
        """`describe`, for a relay that starts after it: its looks at the directory are a millisecond or two apart."""
        self.describe(directory)
        yield

    def describe(self, directory: MailerDirectory, *, trusted: bool = True, **members: object) -> None:
        """Write a mailer directory for this host; not `trusted` leaves its authority out."""
        directory.write(
            access_token="token-not-a-secret",
            mailer_json=json.dumps(document("127.0.0.1", self.port) | members),
            ca_crt=self.authority.cert_pem.bytes() if trusted else None,
        )
