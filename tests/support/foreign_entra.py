"""Servers that stand in Entra's place and are wrong in one way each: what no emulator of Entra can be."""

import contextlib
import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import trustme


@dataclass
class Reply:
    """One canned answer. `body` may hold `{base}`, which becomes the server's own address."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Foreign:
    """A running server: `base` is its address; `asked` are the requests, method, path and body."""

    base: str
    ca: bytes
    asked: list[tuple[str, str, str]]


@contextlib.contextmanager
def foreign(answers: dict[str, Reply], *, ca: trustme.CA | None = None) -> Iterator[Foreign]:
    """An HTTPS server on loopback that gives `answers` by the path's last part."""
    authority = ca or trustme.CA()
    asked: list[tuple[str, str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            asked.append((self.command, self.path, self.rfile.read(length).decode()))
            reply = answers[self.path.rsplit("/", 1)[-1]]
            body = reply.body.replace("{base}", base).encode()
            self.send_response(reply.status)
            for name, value in {**reply.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value.replace("{base}", base))
            self.end_headers()
            with contextlib.suppress(OSError):  # who asked may leave before a long body ends
                self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    base = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Foreign(base, authority.cert_pem.bytes(), asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def discovery(endpoint: str = "{base}/token") -> Reply:
    """A discovery document."""
    document = {"token_endpoint": endpoint, "authorization_endpoint": "{base}/authorize", "issuer": "{base}/"}
    return Reply(body=json.dumps(document))


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """An address that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def closed() -> str:
    """An address on which no process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"https://127.0.0.1:{listener.getsockname()[1]}"
