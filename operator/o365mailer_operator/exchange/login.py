"""Tries a login at the submission host: DNS, TCP, greeting, EHLO, STARTTLS, EHLO, AUTH XOAUTH2, QUIT. Never a mail.

SMTP is aiosmtplib's. It ignores bytes that come in clear with the reply to STARTTLS. Here they end the attempt: only an
attacker or a broken middlebox sends them (RFC 3207 §6), and the relay refuses such a host too.

There is one connection at a time. A second one, without a login, follows only if the certificate was not trusted: it
looks at the certificate, to name its authority.
"""

import asyncio
import base64
import contextlib
import os
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from typing import Any, Final

import aiosmtplib

from o365mailer_operator.exchange.certificate import Peer, peer_of, unverified
from o365mailer_operator.exchange.result import Fault, LoginResult, Reply, Stage
from o365mailer_operator.printable import printable
from o365mailer_operator.token.entra import in_daemon_thread

DEADLINE: Final = 10.0
"""Seconds for all of an attempt."""
DNS_LIMIT: Final = 4.0
CONNECT_LIMIT: Final = 5.0
"""Seconds for all addresses of a host."""
ADDRESS_LIMIT: Final = 2.5
"""Seconds for each of them: where IPv6 leads nowhere, IPv4 is still tried."""
LEAVE_LIMIT: Final = 1.0
"""Seconds for the reply to QUIT."""
LOOK_LIMIT: Final = 3.0
"""Seconds for a look at a certificate that was not trusted."""

_UNKNOWN_NAMES: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_TLS_FAULTS: Final = {
    9: Fault.NOT_YET_VALID,
    10: Fault.EXPIRED,
    18: Fault.UNTRUSTED,
    19: Fault.UNTRUSTED,
    20: Fault.UNTRUSTED,
    21: Fault.UNTRUSTED,
    62: Fault.WRONG_NAME,
    64: Fault.WRONG_NAME,
}
"""OpenSSL's X509_V_ERR_ numbers (x509_vfy.h). Any other: the chain is not trusted for another reason."""


@dataclass(frozen=True)
class Target:
    """A submission host, and the authorities to trust for it."""

    host: str
    port: int
    trust: ssl.SSLContext = field(repr=False)
    private: bool = False
    """Whether these are authorities that the mailer names, and the public ones are not trusted."""

    @property
    def server_name(self) -> str:
        """The name in the certificate: it has no root's dot."""
        return self.host.rstrip(".")


@dataclass(frozen=True)
class Credentials:
    """A mailbox, and a token for it."""

    mailbox: str
    token: str = field(repr=False)


LONGEST_PART: Final = 16
"""Characters of a token that a reply may repeat."""
LONGEST_REPLY: Final = 4096
"""Characters of a reply that are read: a hostile host may send many lines."""


def without_token(text: str, credentials: Credentials | None) -> str:
    """A host's words without parts of the token, as it is and as AUTH sends it: they are shown to people."""
    text = text[:LONGEST_REPLY]
    if not credentials:
        return text
    sent = f"user={credentials.mailbox}\1auth=Bearer {credentials.token}\1\1".encode()
    secrets = (credentials.token, base64.b64encode(sent).decode())
    hidden: set[int] = set()
    for begin in range(len(text) - LONGEST_PART):
        part = text[begin : begin + LONGEST_PART + 1]
        if any(part in secret for secret in secrets):
            hidden.update(range(begin, begin + len(part)))
    return "".join("*" if place in hidden else letter for place, letter in enumerate(text))


async def try_login(target: Target, credentials: Credentials | None, *, deadline: float = DEADLINE) -> LoginResult:
    """Log in and leave. Without credentials it ends before AUTH. Takes `deadline` seconds at most, and raises nothing
    about the network."""
    attempt = _Attempt(target)
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(deadline):
            await attempt.run(credentials)
        result = attempt.ended()
    except TimeoutError:
        done = attempt.stage is Stage.DONE  # only the reply to QUIT was late
        result = attempt.ended() if done else attempt.ended(Fault.SILENT, f"no answer within {deadline:g} s")
    except _Ended as ended:
        result = ended.result
    if result.fault is Fault.UNTRUSTED and not result.peer:
        result = replace(result, peer=await _look_at_certificate(target))
    return replace(result, seconds=asyncio.get_running_loop().time() - began)


async def _look_at_certificate(target: Target) -> Peer | None:
    attempt = _Attempt(replace(target, trust=unverified()))
    with contextlib.suppress(_Ended, TimeoutError):
        async with asyncio.timeout(LOOK_LIMIT):
            await attempt.run(None)
    return attempt.peer


class _Ended(Exception):
    """The attempt has ended before its last stage."""

    def __init__(self, result: LoginResult) -> None:
        super().__init__(result.reason)
        self.result = result


class _Attempt:
    """One attempt: what is known so far, and the stage that is being tried."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.stage = Stage.DNS
        self.addresses: tuple[str, ...] = ()
        self.peer: Peer | None = None

    def ended(self, fault: Fault | None = None, detail: str = "", *, reply: Reply | None = None) -> LoginResult:
        """The result, if it ends here."""
        return LoginResult(
            host=self.target.host,
            port=self.target.port,
            private=self.target.private,
            stage=self.stage,
            fault=fault,
            reply=reply,
            detail=detail,
            addresses=self.addresses,
            peer=self.peer,
        )

    async def run(self, credentials: Credentials | None) -> None:
        """All stages. Raises _Ended, and TimeoutError if its caller's limit ends it."""
        found = await self._resolve()
        self.stage = Stage.CONNECT
        connected = await self._connect(found)
        self.stage = Stage.GREETING
        client = aiosmtplib.SMTP(
            hostname=self.target.server_name,
            sock=connected,
            start_tls=False,
            local_hostname=_literal(connected),
            timeout=None,  # the caller's limit holds for all of it
        )
        try:
            await self._talk(client, credentials)
        except aiosmtplib.SMTPResponseException as error:
            if error.code < 0:
                raise _Ended(self.ended(Fault.NO_SMTP, printable(without_token(error.message, credentials)))) from None
            reply = Reply.of(error.code, without_token(error.message, credentials))
            raise _Ended(self.ended(reply=reply)) from None
        except ssl.SSLCertVerificationError as error:
            fault = _TLS_FAULTS.get(error.verify_code, Fault.UNTRUSTED)
            raise _Ended(self.ended(fault, error.verify_message)) from None
        except ssl.SSLError as error:
            raise _Ended(self.ended(Fault.TLS, (error.reason or "no TLS").replace("_", " ").lower())) from None
        except aiosmtplib.SMTPTimeoutError:
            raise _Ended(self.ended(Fault.SILENT, "no answer in time")) from None
        except (aiosmtplib.SMTPException, OSError):
            raise _Ended(self.ended(Fault.CLOSED, "the connection ended")) from None
        finally:
            client.close()  # the transport has the socket, and only the transport may close it

    async def _talk(self, client: aiosmtplib.SMTP, credentials: Credentials | None) -> None:
        await client.connect()
        self.stage = Stage.EHLO
        await client.ehlo()
        self.stage = Stage.STARTTLS
        if not client.supports_extension("starttls"):
            raise _Ended(self.ended(Fault.NO_STARTTLS))
        await self._start_tls(client)
        self.stage = Stage.EHLO_IN_TLS
        await client.ehlo()
        if "xoauth2" not in client.server_auth_methods:
            raise _Ended(self.ended(Fault.NO_XOAUTH2))
        if credentials:
            self.stage = Stage.AUTH
            try:
                await client.auth_xoauth2(credentials.mailbox, credentials.token)
            except aiosmtplib.SMTPAuthenticationError:
                await _leave(client)
                raise
        self.stage = Stage.DONE
        await _leave(client)

    async def _start_tls(self, client: aiosmtplib.SMTP) -> None:
        guard = _ClearText(client)
        try:
            await client.starttls(tls_context=self.target.trust, server_hostname=self.target.server_name)
        except (aiosmtplib.SMTPServerDisconnected, OSError):
            if guard.injected:
                raise _Ended(self.ended(Fault.INJECTED)) from None
            self.stage = Stage.TLS if guard.answered else self.stage
            raise
        finally:
            guard.end()
        self.stage = Stage.TLS
        if client.transport:
            self.peer = peer_of(client.transport.get_extra_info("ssl_object"))

    async def _resolve(self) -> list[tuple[int, tuple[Any, ...]]]:
        host, port = self.target.host, self.target.port
        try:
            async with asyncio.timeout(DNS_LIMIT):
                # Not the loop's own resolver: its threads are joined when the loop ends, and may hang for long.
                found = await in_daemon_thread(
                    lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), name="dns"
                )
        except TimeoutError:
            raise _Ended(self.ended(Fault.DNS_SILENT, f"no answer within {DNS_LIMIT:g} s")) from None
        except (OSError, UnicodeError) as error:
            unknown = isinstance(error, UnicodeError) or error.errno in _UNKNOWN_NAMES
            words = "" if isinstance(error, UnicodeError) else error.strerror or ""
            raise _Ended(self.ended(Fault.UNKNOWN_HOST if unknown else Fault.DNS_SILENT, words)) from None
        self.addresses = tuple(dict.fromkeys(str(address[0]) for *_, address in found))
        return _interleaved((family, address) for family, _, _, _, address in found)

    async def _connect(self, endpoints: list[tuple[int, tuple[Any, ...]]]) -> socket.socket:
        """A socket that is connected to the first address that answers."""
        problems: list[OSError] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_LIMIT):
                for family, address in endpoints:
                    try:
                        async with asyncio.timeout(ADDRESS_LIMIT):
                            return await _connected(family, address)
                    except OSError as error:  # TimeoutError is one
                        problems.append(error)
        answered = [error for error in problems if error.errno]
        if not answered:
            raise _Ended(self.ended(Fault.SILENT, f"no answer within {CONNECT_LIMIT:g} s"))
        # A refusal says more than a missing route, which may be IPv6 alone.
        refused = next((error for error in answered if isinstance(error, ConnectionRefusedError)), None)
        fault = Fault.REFUSED if refused else Fault.UNREACHABLE
        raise _Ended(self.ended(fault, os.strerror((refused or answered[0]).errno or 0)))


class _ClearText:
    """Watches what comes in clear from STARTTLS on: one reply, and nothing after it.

    It stands before the protocol's `data_received`. asyncio's `start_tls` gives whatever comes later to TLS, where
    anything but a handshake is an error.
    """

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self.client, self.protocol = client, client.protocol
        self.heard = bytearray()
        self.injected = False
        self._receive = self.protocol.data_received if self.protocol else None
        setattr(self.protocol, "data_received", self.receive)  # noqa: B010 - a method of an instance

    @property
    def answered(self) -> bool:
        """Whether a whole line came."""
        return b"\n" in self.heard

    def receive(self, data: bytes) -> None:
        """Pass one reply on; end the connection if more comes."""
        self.heard += data
        _, end, rest = self.heard.partition(b"\r\n")
        if end and rest:
            self.injected = True
            transport = self.client.transport
            if transport:
                transport.abort()  # type: ignore[attr-defined] # it is a stream's
        elif self._receive:
            self._receive(data)

    def end(self) -> None:
        """Watch no longer: what comes from now on comes through TLS."""
        with contextlib.suppress(AttributeError):
            delattr(self.protocol, "data_received")


async def _leave(client: aiosmtplib.SMTP) -> None:
    """QUIT. What comes of it changes nothing."""
    with contextlib.suppress(aiosmtplib.SMTPException, OSError):
        await client.quit(timeout=LEAVE_LIMIT)


async def _connected(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


def _interleaved(found: Iterable[tuple[int, tuple[Any, ...]]]) -> list[tuple[int, tuple[Any, ...]]]:
    """The families in turn (RFC 8305 §4): a dead family then costs one wait, not all of them."""
    by_family: dict[int, list[tuple[int, tuple[Any, ...]]]] = {}
    for endpoint in dict.fromkeys(found):
        by_family.setdefault(endpoint[0], []).append(endpoint)
    return [endpoint for endpoint in chain.from_iterable(zip_longest(*by_family.values())) if endpoint]


def _literal(connected: socket.socket) -> str:
    """Our own address for EHLO (RFC 5321 §4.1.3). A host name could not be looked up without blocking."""
    address = str(connected.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
