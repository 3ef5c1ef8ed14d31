"""A server in front of the API server, in clear text: it counts requests, and can answer as a lagging one would.

A real watch cache cannot be held back from outside. `lag` makes reads that accept any version (`resourceVersion=0`)
give what they gave before, as a cache does that lags; all other requests reach the API server as ever. `silence` lets
the watch of the mailers, and the LIST that it begins with, hang. `meanwhile` is called before a request is forwarded: a
test may write in between.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from o365mailer_operator.controller.cluster import METADATA


class Request(NamedTuple):
    """One request that the client sent."""

    method: str
    path: str
    query: dict[str, list[str]]
    accept: str = ""

    @property
    def cached(self) -> bool:
        """Whether an answer from the watch cache is accepted."""
        return self.query.get("resourceVersion") == ["0"]

    @property
    def watches(self) -> bool:
        """Whether it is the watch of the mailers, or the LIST that a watch begins with."""
        return (
            self.method == "GET"
            and self.path.endswith("/o365mailers")
            and self.query.get("limit") != ["1"]
            and self.accept != METADATA
            and not self.cached
        )


class ApiFront:
    """Forwards to the API server of a kubeconfig, as its user. A context manager; `kubeconfig` is for the client."""

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self.upstream = urlsplit(cluster["server"])
        self.context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        pair = directory / "front.pem"
        pair.write_bytes(b"".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
        self.context.load_cert_chain(pair)
        self.requests: list[Request] = []
        self.old: dict[str, tuple[int, bytes]] = {}
        self.old_answers = 0
        """How often an old answer was given that the API server would not give any more."""
        self.lagging = ""
        self.meanwhile: Callable[[Request], None] = lambda _: None
        self.loud = threading.Event()
        self.loud.set()
        front = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Log nothing."""

            def handle_any(self) -> None:
                front.answer(self)

            do_GET = do_PUT = do_POST = do_PATCH = handle_any  # noqa: N815 - http.server's names

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.kubeconfig = directory / "front.kubeconfig"
        address = f"http://127.0.0.1:{self.server.server_port}"
        named = {"name": "front", "cluster": {"server": address}}
        context = {"name": "front", "context": {"cluster": "front", "user": "front"}}
        users = [{"name": "front", "user": {}}]
        config = {"clusters": [named], "contexts": [context], "users": users, "current-context": "front"}
        self.kubeconfig.write_text(json.dumps(config))

    def __enter__(self) -> ApiFront:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loud.set()
        self.server.shutdown()
        self.server.server_close()

    @contextmanager
    def lag(self, plural: str) -> Iterator[None]:
        """While the context lasts, cached reads of these objects give what they gave before."""
        self.lagging, self.old_answers = f"/{plural}/", 0
        yield
        self.lagging = ""

    @contextmanager
    def silence(self) -> Iterator[None]:
        """While the context lasts, the watch of the mailers does not begin."""
        self.loud.clear()
        yield
        self.loud.set()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Forward one request, or answer it with an earlier answer."""
        parts = urlsplit(handler.path)
        accept = handler.headers.get("Accept", "")
        request = Request(handler.command, parts.path, parse_qs(parts.query), accept)
        self.requests.append(request)
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if request.watches:
            self.loud.wait()
        self.meanwhile(request)
        connection = http.client.HTTPSConnection(self.upstream.hostname or "", self.upstream.port, context=self.context)
        headers = {name: handler.headers[name] for name in ("Accept", "Content-Type") if name in handler.headers}
        connection.request(handler.command, handler.path, body or None, headers)
        found = connection.getresponse()
        if "watch" in request.query:
            self.forward_stream(handler, found)
            return
        status, content = found.status, found.read()
        connection.close()
        if request.cached and request.method == "GET":
            if self.lagging and self.lagging in request.path and handler.path in self.old:
                self.old_answers += self.old[handler.path] != (status, content)
                status, content = self.old[handler.path]
            self.old[handler.path] = (status, content)
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def forward_stream(self, handler: BaseHTTPRequestHandler, found: http.client.HTTPResponse) -> None:
        """Forward a watch until one side ends it."""
        handler.send_response(found.status)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        try:
            while line := found.readline():
                handler.wfile.write(line)
                handler.wfile.flush()
        except OSError:
            return
