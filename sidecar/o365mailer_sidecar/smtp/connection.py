"""From the greeting to TLS, with nothing left over (RFC 3207 §4.2).

Octets that arrive with the 220 to STARTTLS can only come from somebody between us and the host: such a connection is
closed before a token is near.
"""

import asyncio
import base64
import os
import socket
import ssl
from contextlib import suppress
from datetime import datetime
from typing import Final

from o365mailer_contract.replies import Outcome
from o365mailer_contract.settings import Submission
from o365mailer_sidecar.errors import Away, Distrusted, Lost, NotAdmitted, TokenRefused, UpstreamError
from o365mailer_sidecar.mailer import Mailer
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.outgoing import Outgoing
from o365mailer_sidecar.reply import Reply, upstream_reply
from o365mailer_sidecar.smtp.dial import Dialer
from o365mailer_sidecar.smtp.protocol import (
    NO_ANSWER,
    OUT_OF_TURN,
    NoAnswer,
    NoSmtp,
    OutOfTurn,
    Said,
    SmtpProtocol,
    Talk,
    Unsaid,
)
from o365mailer_sidecar.smtp.transaction import Answers, Progress, Transaction
from o365mailer_sidecar.telemetry.metrics import Metrics, labels
from o365mailer_sidecar.timeouts import TIMEOUTS, Timeouts
from o365mailer_sidecar.upstream.classify import classify

OUT_OF_TURN_IN_CLEAR: Final = "the submission host spoke out of turn before TLS"
NOT_ONE_ANSWER: Final = "the submission host sent more than one answer, or none that is SMTP, before TLS"


async def upgrade(talk: Talk, *, context: ssl.SSLContext, host: str, name: str, timeouts: Timeouts) -> Talk:
    """The talk under TLS, for one that has read its greeting. Raises Away, Distrusted; ssl.SSLError as it is.

    It is a fresh one: nothing that was said in clear is remembered.
    """
    said = await _ask(talk, b"EHLO " + name.encode(), timeout=timeouts.ehlo)
    if said.code != 250:
        raise Away(f"{said.code} to EHLO")
    if "STARTTLS" not in [line.upper() for line in said.lines[1:]]:
        raise Distrusted(f"{host} offers no STARTTLS")
    said = await _ask(talk, b"STARTTLS", timeout=timeouts.starttls)
    if said.code != 220:
        raise Away(f"{said.code} to STARTTLS")
    secured = Talk()
    transport = talk.transport and await asyncio.get_running_loop().start_tls(
        talk.transport, secured, context, server_hostname=host, ssl_handshake_timeout=timeouts.tls
    )
    if not transport:
        raise Away("the connection ended during the TLS handshake")
    secured.connection_made(transport)
    return secured


async def _ask(talk: Talk, command: bytes, *, timeout: float) -> Said:
    """The one reply. Raises Away, or Distrusted for bytes that were not asked for."""
    try:
        said = await talk.ask(command, timeout=timeout)
    except OutOfTurn:
        raise Distrusted(OUT_OF_TURN_IN_CLEAR) from None
    except NoSmtp:
        raise Distrusted(NOT_ONE_ANSWER) from None
    except NoAnswer:
        verb = command.partition(b" ")[0].decode()
        raise Away(f"no answer to {verb} within {timeout:g} s") from None
    except Unsaid:
        raise Away("the connection ended before TLS") from None
    if talk.octets:
        raise Distrusted(NOT_ONE_ANSWER)
    return said


# --- connection --------------------
# One authenticated connection to Exchange: from TCP through STARTTLS and AUTH to the messages.


PATIENCE: Final = 3.0
"""Seconds without a connection after which an attempt that is given up says something about the host."""

EXPIRY_MARGIN: Final = 10.0
"""Seconds before its token's end from which a session takes no further message."""

WORDS: Final[dict[type[BaseException], str]] = {
    TimeoutError: NO_ANSWER,
    ConnectionAbortedError: NO_ANSWER,  # asyncio's word for a TLS handshake that takes too long
}
"""For failures that have no number of the system's."""


async def connect(
    mailer: Mailer,
    *,
    context: ssl.SSLContext,
    name: str,
    now: datetime,
    metrics: Metrics,
    dialer: Dialer,
    timeouts: Timeouts = TIMEOUTS,
) -> "Connection":
    """An authenticated connection. `now` is compared with the token's end. Raises Away, Distrusted, TokenRefused."""
    submission = mailer.settings.submission
    dialed, endpoint = await dialer.dial(submission.host, submission.port, timeouts=timeouts)
    began = asyncio.get_running_loop().time()
    clear, talk = Talk(strict=True), None
    try:
        talk = await _reach(clear, dialed, context=context, submission=submission, name=name, timeouts=timeouts)
        extensions = await _extensions(talk, submission, name=name, timeout=timeouts.ehlo)
        await _authenticate(talk, mailer, metrics, timeout=timeouts.auth)
    except BaseException as error:
        match error:
            case NotAdmitted():
                pass  # it was reached
            case Away():
                dialer.worked(endpoint, False)
            case asyncio.CancelledError() if asyncio.get_running_loop().time() - began > PATIENCE:
                dialer.worked(endpoint, False)  # sooner, an app that goes away says nothing of the address
        # A socket that a transport has is the transport's to close: asyncio may let go of it later, and its number
        # could be an app's by then, which would never be heard again.
        for transport in (talk and talk.transport, clear.transport or dialed):
            if transport:
                transport.close()
        raise
    dialer.worked(endpoint, True)
    ends_in = (mailer.token.expires_at - now).total_seconds() if mailer.token.expires_at else float("inf")
    return Connection(talk, mailer, extensions=extensions, lifetime=ends_in - EXPIRY_MARGIN, timeouts=timeouts)


async def _reach(
    talk: Talk, dialed: socket.socket, *, context: ssl.SSLContext, submission: Submission, name: str, timeouts: Timeouts
) -> Talk:
    """The greeting, STARTTLS and TLS."""
    host = submission.host.rstrip(".")  # a certificate's name has no root's dot
    try:
        await asyncio.get_running_loop().create_connection(lambda: talk, sock=dialed)
        said = await talk.hear(timeout=timeouts.greeting)
        if said.code != 220:
            raise Away(f"{host} answered {said.code} instead of a greeting")
        return await upgrade(talk, context=context, host=host, name=name, timeouts=timeouts)
    except NoSmtp:
        raise Away(f"{host} spoke no SMTP instead of a greeting") from None
    except Unsaid as unsaid:
        raise Away(f"{host}:{submission.port}: {unsaid}") from None
    except UpstreamError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise Distrusted(f"the certificate of {host} is not trusted: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise Distrusted(f"TLS with {host} failed: {error.reason}") from None
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else WORDS.get(type(error), "no connection")
        raise Away(f"{host}:{submission.port}: {words}") from None


async def _extensions(talk: Talk, submission: Submission, *, name: str, timeout: float) -> frozenset[str]:
    """What the host offers under TLS: EHLO's keywords in lower case. One that takes no token is not sent one."""
    try:
        said = await talk.ask(b"EHLO " + name.encode(), timeout=timeout)
    except Unsaid as unsaid:
        raise Away(f"{submission.host}:{submission.port}: {unsaid}") from None
    if talk.octets:
        raise Distrusted(f"{submission.host} spoke out of turn")
    if said.code != 250:
        raise Away(f"{submission.host}: {said.code} to EHLO")
    offered = [line.lower().split() for line in said.lines[1:]]
    if not any(words[:1] == ["auth"] and "xoauth2" in words for words in offered):
        raise Distrusted(f"{submission.host} offers no AUTH XOAUTH2")
    return frozenset(words[0] for words in offered if words)


async def _authenticate(talk: Talk, mailer: Mailer, metrics: Metrics, *, timeout: float) -> None:
    """AUTH in one line (RFC 4954 §4); a refusal in a challenge is asked for its code with an empty line."""
    result = "failed"
    words = f"user={mailer.settings.mailbox}\x01auth=Bearer {mailer.token.value}\x01\x01"
    try:
        said = await talk.ask(b"AUTH XOAUTH2 " + base64.b64encode(words.encode()), timeout=timeout)
        if said.code == 334:
            said = await talk.ask(b"", timeout=timeout)
        if said.code != 235:
            refusal = _unadmitted(upstream_reply(said.code, "\n".join(said.lines)))
            result = "refused" if isinstance(refusal, TokenRefused) else result
            raise refusal
        result = "accepted"
    except Unsaid as unsaid:
        raise Away(f"AUTH: {unsaid}") from None
    finally:
        metrics.count("auth_total", labels(result=result))


def _unadmitted(reply: Reply) -> UpstreamError:
    """A refusal that no table knows speaks of the token too: offered again at once, it would be refused again."""
    verdict = classify(reply)
    if verdict.outcome in (Outcome.UNAUTHORIZED, Outcome.REFUSED):
        words = f"{reply.code} {reply.enhanced} {reply.text}"
        return TokenRefused(f"{words}; {verdict.remedy}" if verdict.remedy else words)
    return NotAdmitted(reply)


class Connection:
    """One session with Exchange. Not to be used by two at once; `usable` says whether it can be used again."""

    def __init__(
        self, talk: Talk, mailer: Mailer, *, extensions: frozenset[str], lifetime: float, timeouts: Timeouts
    ) -> None:
        if talk.fault or talk.transport is None:
            raise Away("the connection ended after AUTH")
        self.loop = asyncio.get_running_loop()
        self.mailer, self.transport, self.timeouts = mailer, talk.transport, timeouts
        self.extensions = extensions
        self.protocol = SmtpProtocol(talk.transport, loop=self.loop)
        talk.transport.set_protocol(self.protocol)
        if talk.octets:
            self.protocol.fault = OUT_OF_TURN
        self.opened_at = self.idle_since = self.loop.time()
        self.ends_at = self.opened_at + lifetime
        self.messages = 0
        self.in_step = True
        """Whether the next reply will be that of the next command."""

    @property
    def usable(self) -> bool:
        """Whether another message may be tried on it."""
        return self.in_step and not self.protocol.fault

    async def transact(self, envelope: Envelope, outgoing: Outgoing, progress: Progress) -> Answers:
        """Offer one message; it is sent only if every recipient was taken, or `progress` allows less.

        Raises Lost, Refused (Exchange announced too little for this message), and what `progress` raises.
        """
        delivery = Transaction(self.protocol, envelope, outgoing, progress, self.extensions, self.timeouts)
        self.in_step = False
        self.messages += 1
        answers = await self._offer(delivery)
        if answers.final is None:
            await self._reset()
        else:
            self.in_step = answers.final.code == 250 or answers.final.code >= 400
        return answers

    async def _offer(self, delivery: Transaction) -> Answers:
        pipelining = "pipelining" in self.extensions
        if pipelining and delivery.single:
            return await delivery.envelope_and_data()
        answers = await (delivery.pipelined() if pipelining else delivery.command_by_command())
        return await delivery.by_data(answers) if await delivery.may_follow(answers.recipients) else answers

    async def _reset(self) -> None:
        """Leave nothing of the transaction; a connection where that fails is not used again."""
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
        finally:  # cancelled as well: nobody else knows this connection any more
            self.transport.close()

    def abort(self) -> None:
        """Close without a word: in the middle of a message this is what keeps it from being delivered."""
        self.transport.abort()
