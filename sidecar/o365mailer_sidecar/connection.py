"""One authenticated connection to Exchange, opened, authenticated and driven command by command through aiosmtplib.

`sendmail` is not used: it delivers to the recipients that were taken and only returns the others, and it cannot say
whether a broken connection broke before or after the message was out.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Final, Protocol, TypeVar

import aiosmtplib
from aiosmtplib import SMTPResponse

from o365mailer_sidecar.directory import Mailer
from o365mailer_sidecar.envelope import Envelope, Recipient
from o365mailer_sidecar.errors import Away, Distrusted, Lost, TokenRefused, UpstreamError
from o365mailer_sidecar.hearing import Hearing
from o365mailer_sidecar.outgoing import Outgoing
from o365mailer_sidecar.parameters import mail_arguments, rcpt_arguments
from o365mailer_sidecar.reply import Reply, upstream_reply
from o365mailer_sidecar.starttls import upgrade
from o365mailer_sidecar.verdict import Answers, Outcome, outcome

CONNECT_TIMEOUT: Final = 30.0
"""Seconds for TCP, each reply up to EHLO, and TLS."""

COMMAND_TIMEOUT: Final = 300.0
"""Seconds for the reply to MAIL, RCPT, DATA (RFC 5321 §4.5.3.2.2 to 4)."""

RESET_TIMEOUT: Final = 3.0
"""Seconds for the reply to RSET: the verdict is known already, and the app waits for it."""

BLOCK_TIMEOUT: Final = 180.0
"""Seconds until a block of the message is taken (RFC 5321 §4.5.3.2.5)."""

FINAL_TIMEOUT: Final = 600.0
"""Seconds for the reply to the end of data (RFC 5321 §4.5.3.2.6)."""

EXPIRY_MARGIN: Final = 10.0
"""Seconds before its token's end from which a session takes no further message."""

AUTH_DEFECTS: Final = frozenset({530, 534, 535})
"""Codes of AUTH that speak of the token or the mailbox, not of the moment."""

WORDS: Final[dict[type[BaseException], str]] = {
    aiosmtplib.SMTPServerDisconnected: "connection closed",
    aiosmtplib.SMTPResponseException: "it spoke no SMTP",
    aiosmtplib.SMTPReadTimeoutError: "no answer in time",
    aiosmtplib.SMTPConnectTimeoutError: "no answer in time",
    TimeoutError: "no answer in time",
}
"""For failures that have no number of the system's."""

Result = TypeVar("Result")


class Progress(Protocol):
    """Who is told how far a message has come, and may stop it."""

    def begin_body(self) -> None:
        """The first octet of the message leaves now. Raises Withdrawn."""

    def commit(self) -> None:
        """The end of data leaves now: from here on Exchange may have the message. Raises Withdrawn."""


async def connect(mailer: Mailer, *, context: ssl.SSLContext, name: str, now: datetime) -> "Connection":
    """An authenticated connection. `now` is compared with the token's end. Raises Away, Distrusted, TokenRefused."""
    submission = mailer.settings.submission
    client = aiosmtplib.SMTP(
        hostname=submission.host,
        port=submission.port,
        local_hostname=name,
        timeout=CONNECT_TIMEOUT,
        start_tls=False,  # `upgrade` does it: the default goes on in clear where STARTTLS is missing
    )
    try:
        await _reach(client, context=context, host=submission.host, name=name)
        await _authenticate(client, mailer)
    except BaseException:
        client.close()
        raise
    ends_in = (mailer.token.expires_at - now).total_seconds() if mailer.token.expires_at else float("inf")
    return Connection(client, mailer, lifetime=ends_in - EXPIRY_MARGIN)


async def _reach(client: aiosmtplib.SMTP, *, context: ssl.SSLContext, host: str, name: str) -> None:
    try:
        await client.connect()
        await upgrade(client, context=context, host=host, name=name, timeout=CONNECT_TIMEOUT)
        await client.ehlo()
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
        raise Away(_reason(error, f"{host}:{client.port}: ")) from None


def _reason(error: BaseException, where: str = "") -> str:
    """The system's words for what happened; asyncio's own name the address, and differ with the number of them."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, socket.gaierror):
        return f"{where}{cause.strerror}"
    if isinstance(cause, OSError) and cause.errno:
        return f"{where}{os.strerror(cause.errno)}"
    return f"{where}{WORDS.get(type(cause), 'no connection')}"


async def _authenticate(client: aiosmtplib.SMTP, mailer: Mailer) -> None:
    if "xoauth2" not in client.server_auth_methods:
        raise Distrusted(f"{mailer.settings.submission.host} offers no AUTH XOAUTH2")
    try:
        await client.auth_xoauth2(mailer.settings.mailbox, mailer.token.value)
    except aiosmtplib.SMTPAuthenticationError as error:
        reply = upstream_reply(error.code, error.message)
        words = f"{reply.code} {reply.enhanced} {reply.text}"
        raise (TokenRefused if reply.code in AUTH_DEFECTS else Away)(words) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise Away(_reason(error, "AUTH: ")) from None


class Connection:
    """One session with Exchange. Not to be used by two at once; `usable` says whether it can be used again."""

    def __init__(self, client: aiosmtplib.SMTP, mailer: Mailer, *, lifetime: float) -> None:
        protocol, transport = client.protocol, client.transport
        if not isinstance(protocol, Hearing) or not isinstance(transport, asyncio.Transport):
            raise Away("the connection ended after AUTH")
        self.client, self.mailer = client, mailer
        self.protocol, self.transport = protocol, transport
        # Its `drain` is the public way to a protocol's flow control; kept, because a writer closes what it wrote to.
        self.writer = asyncio.StreamWriter(transport, protocol, None, asyncio.get_running_loop())
        self.opened_at = self.idle_since = asyncio.get_running_loop().time()
        self.ends_at = self.opened_at + lifetime
        self.messages = 0
        self.in_step = True
        """Whether the next reply will be that of the next command."""

    @property
    def usable(self) -> bool:
        """Whether another message may be tried on it."""
        return self.in_step and not self.protocol.out_of_turn and self.client.is_connected

    async def transact(self, envelope: Envelope, outgoing: Outgoing, progress: Progress) -> Answers:
        """Offer one message; it is sent only if every recipient was taken.

        Raises Lost, Refused (Exchange announced too little for this message), and what `progress` raises.
        """
        extensions = self.client.esmtp_extensions
        arguments = mail_arguments(
            envelope,
            size=len(outgoing),
            eight_bit=outgoing.eight_bit,
            utf8_headers=outgoing.utf8_headers,
            extensions=extensions,
        )
        self.messages += 1
        sender = await self._command(b"MAIL", *arguments)
        if outcome(sender) is not Outcome.ACCEPTED:
            return await self._unsent(Answers(sender=sender))
        recipients = tuple([await self._recipient(to) for to in envelope.recipients])
        if not all(outcome(reply) is Outcome.ACCEPTED for reply in recipients):
            return await self._unsent(Answers(sender=sender, recipients=recipients))
        start = await self._command(b"DATA")
        if start.code != 354:
            return await self._unsent(Answers(sender=sender, recipients=recipients, start=start))
        final = await self._send(outgoing, progress)
        return Answers(sender=sender, recipients=recipients, start=start, final=final)

    async def _recipient(self, recipient: Recipient) -> Reply:
        return await self._command(b"RCPT", *rcpt_arguments(recipient, extensions=self.client.esmtp_extensions))

    async def _command(self, *words: bytes, timeout: float = COMMAND_TIMEOUT) -> Reply:
        response = await self._translated(lambda: self.client.execute_command(*words, timeout=timeout))
        if self.protocol.out_of_turn:
            self.in_step = False
            raise Lost("it spoke out of turn")
        return upstream_reply(response.code, response.message)

    async def _unsent(self, answers: Answers) -> Answers:
        """Reset the transaction, so that nothing of it is left; a connection where that fails is not used again."""
        try:
            self.in_step = self.usable and (await self._command(b"RSET", timeout=RESET_TIMEOUT)).code == 250
        except Lost:
            self.in_step = False
        return answers

    async def _send(self, outgoing: Outgoing, progress: Progress) -> Reply:
        """The message and its verdict. An early verdict ends the sending, and the connection."""
        self.in_step = False
        response = asyncio.ensure_future(self.protocol.read_response())
        try:
            await asyncio.sleep(0)  # the reply is listened for before there can be one
            early = await self._translated(lambda: self._write(outgoing.blocks(), response, progress))
            reply = await self._translated(lambda: asyncio.wait_for(response, FINAL_TIMEOUT))
        finally:
            response.cancel()
        answer = upstream_reply(reply.code, reply.message)
        self.in_step = not early and (answer.code == 250 or answer.code >= 400)
        if early and outcome(answer) is Outcome.ACCEPTED:
            raise Lost("the message was accepted before it was sent")
        return answer

    async def _write(
        self, blocks: Iterator[bytes], response: "asyncio.Future[SMTPResponse]", progress: Progress
    ) -> bool:
        """Whether the verdict came before the end of data was sent."""
        progress.begin_body()
        held = b""
        for block in blocks:
            if held:
                self.transport.write(held)
                await self._taken(response)
            if response.done() or self.protocol.answered:
                return True
            held = block
        # The last block leaves together with the end of data: a small message is one write.
        progress.commit()
        self.transport.write(held + b".\r\n")
        return False

    async def _taken(self, response: "asyncio.Future[SMTPResponse]") -> None:
        """Wait until what was written has left. A host that ends the connection behind its verdict has given one."""
        try:
            async with asyncio.timeout(BLOCK_TIMEOUT):
                await self.writer.drain()
        except OSError:
            if not (response.done() or self.protocol.answered):
                raise

    async def _translated(self, step: Callable[[], Awaitable[Result]]) -> Result:
        try:
            return await step()
        except UpstreamError:
            raise
        except (TimeoutError, OSError, aiosmtplib.SMTPException) as error:
            self.in_step = False
            raise Lost(_reason(error)) from None

    async def quit(self) -> None:
        """Say goodbye, one second at most, and close."""
        try:
            if self.usable:
                async with asyncio.timeout(1):
                    await self.client.quit()
        except (TimeoutError, OSError, aiosmtplib.SMTPException):
            pass
        finally:
            self.client.close()

    def abort(self) -> None:
        """Close without a word: in the middle of a message this is what keeps it from being delivered."""
        self.transport.abort()
        self.client.close()
