"""email-oauth2-proxy from PyPI, which logs in to Office 365 for apps that log in to it with a password.

Its token comes from an endpoint here, once; it is kept encrypted under the app's password, as the program does by
default. It relays each app's connection over one of its own, so it is not bound by the mailbox's three.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import TracebackType

from benchmarks.cores import on_the_relays
from benchmarks.load import MAILBOX
from benchmarks.peers import Peer, free_port

CONFIGURATION = """\
[SMTP-{port}]
local_address = 127.0.0.1
server_address = 127.0.0.1
server_port = {host_port}
server_starttls = True

[{mailbox}]
token_url = http://127.0.0.1:{token_port}/token
oauth2_scope = https://outlook.office365.com/.default
oauth2_flow = client_credentials
client_id = bench
client_secret = not-a-secret

[emailproxy]
delete_account_token_on_password_error = False
"""


class TokenEndpoint(BaseHTTPRequestHandler):
    """Gives every client the same token."""

    def do_POST(self) -> None:  # http.server's name
        """Answer with a token."""
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"access_token": "token-not-a-secret", "expires_in": 86400, "token_type": "Bearer"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Log nothing."""


class EmailProxy(Peer):
    """The program, with its configuration in `folder`."""

    login = True

    def __init__(self, host_port: int, *, authority: Path, folder: Path) -> None:
        self.endpoint = HTTPServer(("127.0.0.1", 0), TokenEndpoint)
        threading.Thread(target=self.endpoint.serve_forever, daemon=True).start()
        port, configuration = free_port(), folder / "emailproxy.config"
        self.configuration = CONFIGURATION.format(
            port=port, host_port=host_port, token_port=self.endpoint.server_port, mailbox=MAILBOX
        )
        configuration.write_text(self.configuration)
        command = ["-m", "emailproxy", "--no-gui", "--config-file", str(configuration)]
        command += ["--cache-store", str(folder / "emailproxy.cache")]
        environment = {"SSL_CERT_FILE": str(authority)}
        with on_the_relays():
            super().__init__("emailproxy", command, port=port, environment=environment)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.endpoint.shutdown()
        self.endpoint.server_close()
