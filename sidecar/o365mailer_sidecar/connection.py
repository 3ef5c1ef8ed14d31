"""One authenticated connection to Exchange: opened, secured and authenticated through aiosmtplib, then our own.

`sendmail` is not used: it delivers to the recipients that were taken and only returns the others, and it cannot say
whether a broken connection broke before or after the message was out. `conversation` says why nothing else of it is.
"""

import asyncio
import os
import ssl
from contextlib import suppress
from datetime import datetime
from typing import Final, cast

import aiosmtplib

from o365mailer_contract.settings import Submission
from o365mailer_sidecar.conversation import OUT_OF_TURN, Conversation
from o365mailer_sidecar.delivery import BDAT_DEFECTS, Delivery, Progress
from o365mailer_sidecar.dialer import Dialer
from o365mailer_sidecar.directory import Mailer
from o365mailer_sidecar.envelope import Envelope
from o365mailer_sidecar.errors import Away, Distrusted, Lost, NotAdmitted, TokenRefused, UpstreamError
from o365mailer_sidecar.gauges import Gauges, labels
from o365mailer_sidecar.hearing import Hearing
from o365mailer_sidecar.outgoing import Outgoing
from o365mailer_sidecar.reply import Reply, upstream_reply
from o365mailer_sidecar.starttls import upgrade
from o365mailer_sidecar.timeouts import TIMEOUTS, Timeouts
from o365mailer_sidecar.verdict import Answers, Outcome, outcome

FRESH: Final = 3.0
"""Seconds since the last reply within which a message may leave before its envelope is answered."""

EXPIRY_MARGIN: Final = 10.0
"""Seconds before its token's end from which a session takes no further message."""

CLOSING: Final = 421
"""The host ends the session (RFC 5321 §3.8)."""

WORDS: Final[dict[type[BaseException], str]] = {
    aiosmtplib.SMTPServerDisconnected: "connection closed",
    aiosmtplib.SMTPResponseException: "it spoke no SMTP",
    aiosmtplib.SMTPReadTimeoutError: "no answer in time",
    aiosmtplib.SMTPConnectTimeoutError: "no answer in time",
    TimeoutError: "no answer in time",
    ConnectionAbortedError: "no answer in time",  # asyncio's word for a TLS handshake that takes too long
}
"""For failures that have no number of the system's."""


async def connect(
    mailer: Mailer,
    *,
    context: ssl.SSLContext,
    name: str,
    now: datetime,
    gauges: Gauges,
    dialer: Dialer,
    timeouts: Timeouts = TIMEOUTS,
) -> "Connection":
    """An authenticated connection. `now` is compared with the token's end. Raises Away, Distrusted, TokenRefused."""
    host, port = mailer.settings.submission.host, mailer.settings.submission.port
    dialed, endpoint = await dialer.dial(host, port, timeouts=timeouts)
    client = aiosmtplib.SMTP(
        hostname=host,
        port=None,  # the socket is connected
        sock=dialed,
        local_hostname=name,
        timeout=timeouts.greeting,
        start_tls=False,  # `upgrade` does it: the default goes on in clear where STARTTLS is missing
    )
    try:
        await _reach(client, context=context, submission=mailer.settings.submission, name=name, timeouts=timeouts)
        await _authenticate(client, mailer, gauges, timeout=timeouts.auth)
    except BaseException as error:
        if not isinstance(error, (TokenRefused, NotAdmitted)):
            dialer.worked(endpoint, False)
        if not client.transport:
            dialed.close()
        client.close()
        raise
    dialer.worked(endpoint, True)
    ends_in = (mailer.token.expires_at - now).total_seconds() if mailer.token.expires_at else float("inf")
    return Connection(client, mailer, lifetime=ends_in - EXPIRY_MARGIN, timeouts=timeouts)


async def _reach(
    client: aiosmtplib.SMTP, *, context: ssl.SSLContext, submission: Submission, name: str, timeouts: Timeouts
) -> None:
    host = submission.host.rstrip(".")  # a certificate's name has no root's dot
    try:
        await client.connect()
        await upgrade(client, context=context, host=host, name=name, timeouts=timeouts)
        await client.ehlo(timeout=timeouts.ehlo)
        if not isinstance(client.protocol, Hearing) or client.protocol.out_of_turn:
            raise Distrusted(f"{host} spoke out of turn")
    except UpstreamError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise Distrusted(f"the certificate of {host} is not trusted: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise Distrusted(f"TLS with {host} failed: {error.reason}") from None
    except aiosmtplib.SMTPResponseException as error:
        words = f"answered {error.code}" if error.code > 0 else "spoke no SMTP"
        raise Away(f"{host} {words} instead of a greeting") from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise Away(_reason(error, f"{host}:{submission.port}: ")) from None


def _reason(error: BaseException, where: str = "") -> str:
    """The system's words for what happened, or ours."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, OSError) and cause.errno:
        return f"{where}{os.strerror(cause.errno)}"
    return f"{where}{WORDS.get(type(cause), 'no connection')}"


async def _authenticate(client: aiosmtplib.SMTP, mailer: Mailer, gauges: Gauges, *, timeout: float) -> None:
    if "xoauth2" not in client.server_auth_methods:
        raise Distrusted(f"{mailer.settings.submission.host} offers no AUTH XOAUTH2")
    result = "failed"
    try:
        await client.auth_xoauth2(mailer.settings.mailbox, mailer.token.value, timeout=timeout)
        result = "accepted"
    except aiosmtplib.SMTPAuthenticationError as error:
        refusal = _unadmitted(upstream_reply(error.code, error.message))
        result = "refused" if isinstance(refusal, TokenRefused) else result
        raise refusal from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise Away(_reason(error, "AUTH: ")) from None
    finally:
        gauges.count("auth_total", labels(result=result))


def _unadmitted(reply: Reply) -> UpstreamError:
    """A refusal that no table knows speaks of the token too: offered again at once, it would be refused again."""
    if outcome(reply) in (Outcome.UNAUTHORIZED, Outcome.REFUSED):
        return TokenRefused(f"{reply.code} {reply.enhanced} {reply.text}")
    return NotAdmitted(reply)


class Connection:
    """One session with Exchange. Not to be used by two at once; `usable` says whether it can be used again."""

    def __init__(self, client: aiosmtplib.SMTP, mailer: Mailer, *, lifetime: float, timeouts: Timeouts) -> None:
        if not isinstance(client.protocol, Hearing) or client.transport is None:
            raise Away("the connection ended after AUTH")
        transport = cast(asyncio.Transport, client.transport)
        self.loop = asyncio.get_running_loop()
        self.mailer, self.transport, self.timeouts = mailer, transport, timeouts
        off = {"chunking"} if mailer.settings.submission.chunking == "off" else set()
        self.extensions = frozenset(client.esmtp_extensions) - off
        self.conversation = Conversation(transport, loop=self.loop)
        transport.set_protocol(self.conversation)
        if client.protocol.out_of_turn:
            self.conversation.fault = OUT_OF_TURN
        self.opened_at = self.idle_since = self.loop.time()
        self.ends_at = self.opened_at + lifetime
        self.messages = 0
        self.in_step = True
        """Whether the next reply will be that of the next command."""
        self.bdat_refused = False

    @property
    def usable(self) -> bool:
        """Whether another message may be tried on it."""
        return self.in_step and not self.conversation.fault

    async def transact(self, envelope: Envelope, outgoing: Outgoing, progress: Progress) -> Answers:
        """Offer one message; it is sent only if every recipient was taken.

        Raises Lost, Refused (Exchange announced too little for this message), and what `progress` raises.
        """
        delivery = Delivery(self.conversation, envelope, outgoing, progress, self.extensions, self.timeouts)
        self.in_step = False
        answers = await self._offer(delivery)
        if answers.final and answers.start is None and answers.final.code in BDAT_DEFECTS:
            self.bdat_refused = True
            progress.refused()
            await self._reset()
            if not self.usable:
                raise Lost(self.conversation.fault)
            return await self.transact(envelope, outgoing, progress)
        if answers.final is None:
            await self._reset()
        else:
            code = answers.final.code
            self.in_step = code == 250 or (code >= 400 and code != CLOSING)
        return answers

    async def _offer(self, delivery: Delivery) -> Answers:
        first, idle = not self.messages, self.loop.time() - self.idle_since
        self.messages += 1
        pipelining = "pipelining" in self.extensions
        chunking = "chunking" in self.extensions and not first and not self.bdat_refused
        if pipelining and chunking and delivery.small and idle <= FRESH:
            return await delivery.in_one_flight()
        if pipelining and delivery.single and not chunking:
            return await delivery.envelope_and_data()
        answers = await (delivery.pipelined() if pipelining else delivery.command_by_command())
        recipients = answers.recipients
        if not recipients or not all(outcome(reply) is Outcome.ACCEPTED for reply in recipients):
            return answers
        return await (delivery.by_bdat(answers) if chunking else delivery.by_data(answers))

    async def _reset(self) -> None:
        """Leave nothing of the transaction; a connection where that fails is not used again."""
        if self.conversation.fault or self.conversation.owed:
            return
        with suppress(Lost):
            (reply,) = await self.conversation.ask(b"RSET\r\n", timeout=self.timeouts.rest)
            self.in_step = reply.code == 250

    async def quit(self) -> None:
        """Say goodbye, and close."""
        try:
            if self.usable:
                with suppress(Lost):
                    await self.conversation.ask(b"QUIT\r\n", timeout=self.timeouts.quit)
        finally:  # cancelled as well: nobody else knows this connection any more
            self.transport.close()

    def abort(self) -> None:
        """Close without a word: in the middle of a message this is what keeps it from being delivered."""
        self.transport.abort()
