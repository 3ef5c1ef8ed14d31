"""An authenticated connection to the submission host: TCP, STARTTLS, AUTH XOAUTH2, then transactions.

Bytes that arrive with the 220 to STARTTLS can only come from an attacker between the relay and the host (RFC 3207
§4.2). The relay closes such a connection before it sends a token. Under TLS it begins with a fresh protocol, which
knows nothing of what was said in clear.
"""

import asyncio
import base64
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

from o365mailer_contract.settings import Submission
from o365mailer_sidecar.errors import Away, Distrusted, Lost, NotAdmitted, TokenRefused, UpstreamError
from o365mailer_sidecar.mailer import Mailer
from o365mailer_sidecar.message.outgoing import Outgoing
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.dial import Dialer
from o365mailer_sidecar.smtp.protocol import Fault, SmtpProtocol
from o365mailer_sidecar.smtp.transaction import Answers, Progress, Transaction
from o365mailer_sidecar.telemetry.metrics import Metrics, labels
from o365mailer_sidecar.timeouts import TIMEOUTS, Timeouts

OUT_OF_TURN_IN_CLEAR: Final = "the submission host spoke out of turn before TLS"
NOT_ONE_ANSWER: Final = "the submission host sent more than one answer, or none that is SMTP, before TLS"

PATIENCE: Final = 3.0
"""Seconds. If an attempt is cancelled after this long without a connection, the host counts as not answering."""

EXPIRY_MARGIN: Final = 10.0
"""Seconds before its token's end from which a session takes no further message."""


class SmtpClient:
    """Opens connections to the submission host. `name` is for EHLO; `now` is compared with the token's end.

    `refusal` tells what a refusal of AUTH means, TokenRefused or NotAdmitted: SMTP's codes alone do not.
    """

    def __init__(
        self,
        *,
        name: str,
        now: Callable[[], datetime],
        metrics: Metrics,
        refusal: Callable[[Reply], UpstreamError],
        dialer: Dialer | None = None,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self.name, self.now, self.metrics, self.refusal = name, now, metrics, refusal
        self.dialer, self.timeouts = dialer or Dialer(), timeouts

    async def connect(self, mailer: Mailer, context: ssl.SSLContext) -> "Connection":
        """An authenticated connection. Raises Away, Distrusted, and what `refusal` returns."""
        submission = mailer.settings.submission
        dialed, endpoint = await self.dialer.dial(submission.host, submission.port, timeouts=self.timeouts)
        loop = asyncio.get_running_loop()
        began = loop.time()
        clear, secure = SmtpProtocol(clear=True), SmtpProtocol()
        try:
            await self._reach(clear, secure, dialed, submission, context)
            extensions = await self._extensions(secure, submission)
            await self._authenticate(secure, mailer)
        except BaseException as error:
            match error:
                case NotAdmitted():
                    pass  # the host was reached
                case Away():
                    self.dialer.worked(endpoint, False)
                case asyncio.CancelledError() if loop.time() - began > PATIENCE:
                    self.dialer.worked(endpoint, False)  # sooner, an app that hangs up says nothing of the address
            # Once a transport has the socket, only the transport may close it: asyncio still uses its number, which by
            # then could be that of an app's connection, and that app would get no more replies.
            for transport in (secure.transport, clear.transport or dialed):
                if transport:
                    transport.close()
            raise
        self.dialer.worked(endpoint, True)
        if secure.fault is Fault.CLOSED:
            raise Away("the connection ended after AUTH")
        expires_at = mailer.token.expires_at
        lifetime = (expires_at - self.now()).total_seconds() if expires_at else float("inf")
        return Connection(
            secure, mailer, extensions, ends_at=loop.time() + lifetime - EXPIRY_MARGIN, timeouts=self.timeouts
        )

    async def _reach(
        self,
        clear: SmtpProtocol,
        secure: SmtpProtocol,
        dialed: socket.socket,
        submission: Submission,
        context: ssl.SSLContext,
    ) -> None:
        """The greeting, and all that follows up to TLS."""
        host = submission.host.rstrip(".")  # a certificate's name has no root's dot
        place = f"{host}:{submission.port}"
        try:
            await asyncio.get_running_loop().create_connection(lambda: clear, sock=dialed)
            if not (heard := await clear.hear(timeout=self.timeouts.greeting)):
                no_smtp = clear.fault is Fault.NO_SMTP
                raise Away(f"{host} spoke no SMTP instead of a greeting" if no_smtp else f"{place}: {clear.why}")
            if heard[0].code != 220:
                raise Away(f"{host} answered {heard[0].code} instead of a greeting")
            await self._start_tls(clear, secure, host, context)
        except UpstreamError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise Distrusted(f"the certificate of {host} is not trusted: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise Distrusted(f"TLS with {host} failed: {error.reason}") from None
        except OSError as error:
            slow = isinstance(error, TimeoutError | ConnectionAbortedError)  # the second is asyncio's in the handshake
            words = Fault.SILENT.value if slow else "no connection"
            raise Away(f"{place}: {os.strerror(error.errno) if error.errno else words}") from None

    async def _start_tls(self, clear: SmtpProtocol, secure: SmtpProtocol, host: str, context: ssl.SSLContext) -> None:
        """EHLO, STARTTLS and the TLS handshake."""
        limits = self.timeouts
        reply = await _ask_in_clear(clear, b"EHLO " + self.name.encode(), timeout=limits.ehlo)
        if reply.code != 250:
            raise Away(f"{reply.code} to EHLO")
        if b"STARTTLS" not in [text.strip().upper() for text in clear.last[1:]]:
            raise Distrusted(f"{host} offers no STARTTLS")
        reply = await _ask_in_clear(clear, b"STARTTLS", timeout=limits.starttls)
        if reply.code != 220:
            raise Away(f"{reply.code} to STARTTLS")
        transport = clear.transport and await asyncio.get_running_loop().start_tls(
            clear.transport, secure, context, server_hostname=host, ssl_handshake_timeout=limits.tls
        )
        if not transport:
            raise Away("the connection ended during the TLS handshake")
        secure.connection_made(transport)

    async def _extensions(self, secure: SmtpProtocol, submission: Submission) -> frozenset[str]:
        """EHLO's keywords under TLS, in lower case. A host that does not offer XOAUTH2 is not sent a token."""
        try:
            reply = await _ask(secure, b"EHLO " + self.name.encode(), timeout=self.timeouts.ehlo)
        except Lost as lost:
            raise Away(f"{submission.host}:{submission.port}: {lost}") from None
        if secure.fault is Fault.OUT_OF_TURN:
            raise Distrusted(f"{submission.host} spoke out of turn")
        if reply.code != 250:
            raise Away(f"{submission.host}: {reply.code} to EHLO")
        offered = [text.decode("utf-8", "replace").lower().split() for text in secure.last[1:]]
        if not any(words[:1] == ["auth"] and "xoauth2" in words for words in offered):
            raise Distrusted(f"{submission.host} offers no AUTH XOAUTH2")
        return frozenset(words[0] for words in offered if words)

    async def _authenticate(self, secure: SmtpProtocol, mailer: Mailer) -> None:
        """AUTH in one line (RFC 4954 §4). If a challenge follows, an empty line asks for the code of the refusal."""
        result = "failed"
        words = f"user={mailer.settings.mailbox}\x01auth=Bearer {mailer.token.value}\x01\x01"
        command = b"AUTH XOAUTH2 " + base64.b64encode(words.encode())
        try:
            reply = await _ask(secure, command, timeout=self.timeouts.auth)
            if reply.code == 334:
                reply = await _ask(secure, b"", timeout=self.timeouts.auth)
            if reply.code != 235:
                refusal = self.refusal(reply)
                result = "refused" if isinstance(refusal, TokenRefused) else result
                raise refusal
            result = "accepted"
        except Lost as lost:
            raise Away(f"AUTH: {lost}") from None
        finally:
            self.metrics.count("auth_total", labels(result=result))


async def _ask(protocol: SmtpProtocol, command: bytes, *, timeout: float) -> Reply:
    """The reply to one command. Raises Lost if there is none; `protocol.fault` tells if more came with it."""
    protocol.say(command)
    if not (heard := await protocol.hear(timeout=timeout)):
        raise Lost(protocol.why)
    return heard[0]


async def _ask_in_clear(clear: SmtpProtocol, command: bytes, *, timeout: float) -> Reply:
    """The one reply. Raises Away, or Distrusted for bytes that were not asked for."""
    try:
        reply = await _ask(clear, command, timeout=timeout)
    except Lost:
        match clear.fault:
            case Fault.OUT_OF_TURN:
                raise Distrusted(OUT_OF_TURN_IN_CLEAR) from None
            case Fault.NO_SMTP:
                raise Distrusted(NOT_ONE_ANSWER) from None
            case Fault.SILENT:
                raise Away(f"no answer to {command.split()[0].decode()} within {timeout:g} s") from None
        raise Away("the connection ended before TLS") from None
    if clear.fault is Fault.OUT_OF_TURN:
        raise Distrusted(NOT_ONE_ANSWER)
    return reply


class Connection:
    """One session with the host, for one transaction at a time. `usable` tells whether another one may be tried."""

    def __init__(
        self,
        protocol: SmtpProtocol,
        mailer: Mailer,
        extensions: frozenset[str],
        *,
        ends_at: float,
        timeouts: Timeouts,
    ) -> None:
        self.protocol, self.mailer, self.extensions, self.timeouts = protocol, mailer, extensions, timeouts
        self.ends_at = ends_at
        """When its token expires, less a margin: a time of the event loop in seconds."""
        self.opened_at = self.idle_since = asyncio.get_running_loop().time()
        self.messages = 0
        self.in_step = True
        """Whether the next reply will be that of the next command."""

    @property
    def usable(self) -> bool:
        """Whether another message may be tried on it."""
        return self.in_step and not self.protocol.fault

    async def transact(self, outgoing: Outgoing, progress: Progress) -> Answers:
        """Offer one message, as `Transaction` does.

        Raises Lost, Refused (the host does not announce what the message needs), and what `progress` raises.
        """
        self.in_step = False
        self.messages += 1
        answers = await Transaction(self.protocol, outgoing, progress, self.extensions, self.timeouts).run()
        if answers.final is None:
            await self._reset()
        else:
            self.in_step = answers.final.code == 250 or answers.final.code >= 400
        return answers

    async def _reset(self) -> None:
        """Reset the transaction. If that fails, the connection is not used again."""
        if self.protocol.fault or self.protocol.owed:
            return
        with suppress(Lost):
            (reply,) = await self.protocol.ask(b"RSET", timeout=self.timeouts.rest)
            self.in_step = reply.code == 250

    async def quit(self) -> None:
        """Say goodbye, and close."""
        try:
            if self.usable:
                with suppress(Lost):
                    await self.protocol.ask(b"QUIT", timeout=self.timeouts.quit)
        finally:  # also if cancelled: nothing else refers to this connection any more
            if self.protocol.transport:
                self.protocol.transport.close()

    def abort(self) -> None:
        """Close without QUIT. In the middle of a message this keeps the host from delivering it."""
        if self.protocol.transport:
            self.protocol.transport.abort()
