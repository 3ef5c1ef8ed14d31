"""A submission host that is not ours: aiosmtpd with STARTTLS, and XOAUTH2 as its authentication hook."""

import base64
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from support.sidecar_process import MailerDirectory, document

MAILBOX = "noreply@contoso.com"
TOKEN = "token-not-a-secret"


@dataclass
class Arrived:
    """One message that the host received."""

    sender: str
    recipients: list[str]
    options: list[str]
    """The parameters of MAIL."""
    content: bytes


@dataclass
class Host:
    """aiosmtpd's hooks. `refused` maps a recipient to the reply to its RCPT."""

    pipelining: bool
    port: int = 0
    ca: bytes = b""
    refused: dict[str, str] = field(default_factory=dict)
    verdict: str = "250 2.0.0 OK"
    """The reply to the end of data."""
    arrived: list[Arrived] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)

    def describe(self, directory: MailerDirectory, *, token: str = TOKEN) -> None:
        """Write a mailer directory for this host."""
        directory.write(
            access_token=token, mailer_json=json.dumps(document("127.0.0.1", self.port, MAILBOX)), ca_crt=self.ca
        )

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """aiosmtpd handles pipelined commands, but does not say so."""
        session.host_name = hostname
        return [responses[0], *(["250-PIPELINING"] if self.pipelining else []), *responses[1:]]

    async def auth_XOAUTH2(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802
        """Google's and Microsoft's mechanism: the mailbox and a bearer token."""
        if base64.b64decode(args[1]).decode() != f"user={MAILBOX}\x01auth=Bearer {TOKEN}\x01\x01":
            return AuthResult(success=False, handled=False, message="535 5.7.3 Authentication unsuccessful")
        self.sessions.append(server.session)
        return AuthResult(success=True)

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept every recipient that is not in `refused`."""
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep an accepted message."""
        assert envelope.mail_from is not None
        assert isinstance(envelope.content, bytes)
        if self.verdict.startswith("250"):
            options = list(envelope.mail_options)
            self.arrived.append(Arrived(envelope.mail_from, envelope.rcpt_tos, options, envelope.content))
        return self.verdict


class FreePort(Controller):
    """A running host, on a free port."""

    def _trigger_server(self) -> None:
        assert self.server
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def aiosmtpd_host(directory: MailerDirectory, *, pipelining: bool, **options: Any) -> Iterator[Host]:
    """Such a host, and a mailer directory for it; `options` are aiosmtpd's own."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    host = Host(pipelining, ca=authority.cert_pem.bytes())
    server = FreePort(
        host,
        hostname="127.0.0.1",
        port=0,
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        enable_SMTPUTF8=True,
        **options,
    )
    server.start()
    try:
        host.port = server.port
        host.describe(directory)
        yield host
    finally:
        server.stop()
