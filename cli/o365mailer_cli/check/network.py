"""The ways to Entra and to Exchange, once for each host that the mailers name."""

import asyncio
import contextlib
import datetime
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from o365mailer_cli.check import links
from o365mailer_cli.finding import Finding, Status
from o365mailer_operator.exchange.causes import Application, causes_of
from o365mailer_operator.exchange.certificate import Peer, peer_of, unverified
from o365mailer_operator.exchange.login import Target, try_login
from o365mailer_operator.exchange.result import Fault, LoginResult, Stage
from o365mailer_operator.token.answer import Presented
from o365mailer_operator.token.bearer import CLOCK_TOLERANCE
from o365mailer_operator.token.endpoints import AUTHORITY_PORT, AllowedHosts
from o365mailer_operator.token.entra import in_daemon_thread
from o365mailer_operator.token.errors import ENTRA_NOT_TRUSTED, ENTRA_UNREACHABLE, TokenError
from o365mailer_operator.token.wire import Wire, trust_in

ANSWER_LIMIT: Final = 5.0
"""Seconds without a byte from an authority."""
LOOK_LIMIT: Final = 3.0
"""Seconds for a look at a certificate that was not trusted."""
_PROXY: Final = "Look at the proxy that you named: its URL, its login, and whether it lets this host pass."
_IGNORED: Final = "HTTPS_PROXY is set here, and it is not used: name it with the flag if it leads to Entra."
_OPEN: Final = "Allow outgoing TCP to {place}, or name the proxy on the way: --https-proxy URL."
ENTRA_TOLERATES: Final = datetime.timedelta(minutes=5)
"""By how much a signed assertion may be off (AADSTS700024)."""


@dataclass(frozen=True)
class Authority:
    """Where tokens come from: `https://host[:port]`, and the PEM authorities to trust (None: the public ones)."""

    url: str
    authorities: str | None = field(repr=False)

    @property
    def host(self) -> str:
        """The host's name."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port."""
        return urlsplit(self.url).port or AUTHORITY_PORT


@dataclass(frozen=True)
class Submission:
    """Where mail goes, and the PEM authorities to trust (None: the public ones)."""

    host: str
    port: int
    authorities: str | None = field(repr=False)

    @property
    def target(self) -> Target:
        """For `try_login`."""
        return Target(self.host, self.port, trust_in(self.authorities), private=self.authorities is not None)


@dataclass(frozen=True)
class Looked:
    """What was found on the way to a host, and whether it leads there."""

    findings: list[Finding]
    open: bool


async def look_at_authority(authority: Authority, *, proxy: str | None, environment_proxy: bool) -> Looked:
    """DNS, TCP and TLS to Entra's host, through the proxy if there is one, and its clock against this machine's."""
    place = urlsplit(authority.url).netloc
    by = " through the proxy" if proxy else ""
    try:
        said, at = await in_daemon_thread(lambda: _date(authority, proxy), name="authority")
    except TokenError as error:
        distrusted = error.reason == ENTRA_NOT_TRUSTED.word
        peer = await _peer(authority) if distrusted and not proxy else None
        if error.reason == ENTRA_UNREACHABLE.word and not proxy and in_cluster_alone(authority.host):
            return Looked([_inside("entra.https", authority.host)], open=False)
        hint = _PROXY if proxy else _IGNORED if environment_proxy else ""
        return Looked([_unreachable(place, error, peer, hint)], open=False)
    findings = [Finding(name="entra.https", status=Status.OK, title=f"{place} answers over HTTPS{by}")]
    if said:
        findings.append(_clock(place, at - said))
    return Looked(findings, open=True)


def _date(authority: Authority, proxy: str | None) -> tuple[datetime.datetime | None, datetime.datetime]:
    """What the host's clock says, and what ours said in the middle of the request. Blocking. Raises TokenError."""
    host = AllowedHosts(authority={f"{authority.host}:{authority.port}"})
    wire = Wire(
        allowed=host,
        authorities=authority.authorities,
        proxy=proxy,
        timeout=ANSWER_LIMIT,
        presented=Presented("no credential"),
    )
    began = time.time()
    try:
        said = wire.date(f"{authority.url}/common/v2.0/.well-known/openid-configuration")
    finally:
        wire.close()
    return said, datetime.datetime.fromtimestamp((began + time.time()) / 2, datetime.UTC)


def _unreachable(place: str, error: TokenError, peer: Peer | None, hint: str) -> Finding:
    cause, remedy = f"{str(error).partition('. ')[0].rstrip('.')}.", _OPEN.format(place=place)
    if error.reason == ENTRA_NOT_TRUSTED.word:
        signed = f" It is signed by {peer.authority}." if peer else ""
        cause = (
            f"The TLS certificate of {place} is not trusted.{signed} A proxy inspects TLS, or the authority is private."
        )
        remedy = "Exempt the host from the inspection, or name the authority in spec.authority.ca."
    elif hint:
        remedy = f"{remedy} {hint}"
    return Finding(
        name="entra.https",
        status=Status.FAILED,
        title=f"{place} cannot be reached ({error.reason})",
        cause=cause,
        remedy=remedy,
        link=links.of_token(error),
    )


def _clock(place: str, off: datetime.timedelta) -> Finding:
    """`off`: how far this machine's clock is ahead of the host's. The header Date has whole seconds."""
    seconds = abs(off.total_seconds())
    if seconds <= CLOCK_TOLERANCE.total_seconds():
        return Finding(name="clock", status=Status.OK, title="this machine's clock agrees with Entra's")
    way = "ahead of" if off > datetime.timedelta() else "slower than"
    return Finding(
        name="clock",
        status=Status.FAILED if seconds > ENTRA_TOLERATES.total_seconds() else Status.WARNING,
        title=f"this machine's clock is {seconds:.0f} s {way} that of {place}",
        cause="Entra refuses a certificate's signature that is more than 5 minutes off, and certificates and tokens "
        "look expired or not yet valid.",
        remedy="Set the clock of this machine right: timedatectl set-ntp true. In the cluster, check the nodes.",
        link=links.CLOCK,
    )


async def _peer(authority: Authority) -> Peer | None:
    """Who the host claims to be, by a connection over which nothing is sent."""
    with contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(LOOK_LIMIT):
            _, writer = await asyncio.open_connection(
                authority.host, authority.port, ssl=unverified(), server_hostname=authority.host
            )
            try:
                return peer_of(writer.get_extra_info("ssl_object"))
            finally:
                writer.close()
    return None


async def look_at_submission(submission: Submission) -> Looked:
    """DNS, TCP, greeting and STARTTLS at the submission host. It logs in nowhere."""
    result = await try_login(submission.target, None)
    if result.stage is Stage.DNS and in_cluster_alone(submission.host):
        return Looked([_inside("smtp.dns", submission.host)], open=False)
    return Looked(list(_stages(result)), open=result.ok)


def in_cluster_alone(host: str) -> bool:
    """Whether only the cluster's DNS knows the name: a Service's, as an emulator or a mail sink has one.

    Kubernetes, "DNS for Services and Pods".
    """
    name = host.rstrip(".").lower()
    return name.endswith((".svc", ".cluster.local")) or ("." not in name and name != "localhost")


def _inside(name: str, host: str) -> Finding:
    return Finding(
        name=name,
        status=Status.UNKNOWN,
        title=f"{host} cannot be looked at from here",
        cause="It is a Service of a cluster, and this machine does not use the cluster's DNS.",
        remedy="Try it from a pod: o365mailer send-test sends a message from one.",
        link=links.COMMAND,
    )


ORDER: Final = tuple(Stage)


def _stages(result: LoginResult) -> Iterator[Finding]:
    """What is known of each step on the way: those that worked, then the one that did not."""
    reached = ORDER.index(result.stage)
    count = len(result.addresses)
    if reached > ORDER.index(Stage.DNS):
        known = f"is {result.addresses[0]}" if count == 1 else f"has {count} addresses"
        if not _is_literal(result.host):
            yield Finding(name="smtp.dns", status=Status.OK, title=f"{result.host} {known}")
    if reached > ORDER.index(Stage.CONNECT):
        yield Finding(name="smtp.connect", status=Status.OK, title=f"{result.place} takes connections")
    if result.ok:
        yield _secured(result)
        return
    name = {Stage.DNS: "smtp.dns", Stage.CONNECT: "smtp.connect", Stage.TLS: "smtp.tls"}.get(
        result.stage, "smtp.starttls"
    )
    (cause,) = causes_of(result, Application(client_id="", mailbox=""))
    yield Finding(
        name=name,
        status=Status.UNKNOWN if result.busy else Status.FAILED,
        title=_failure(result),
        cause=cause.text,
        remedy=cause.remedy,
        link=links.of_login(result),
    )


def _failure(result: LoginResult) -> str:
    match result.stage:
        case Stage.DNS:
            return f"DNS gives no address of {result.host} ({result.reason})"
        case Stage.CONNECT:
            return f"{result.place} cannot be reached ({result.reason})"
        case Stage.TLS if result.fault in {Fault.UNTRUSTED, Fault.WRONG_NAME, Fault.EXPIRED, Fault.NOT_YET_VALID}:
            return f"the certificate of {result.place} is not trusted ({result.reason})"
        case _:
            return f"{result.place} does not lead to a login ({result.reason})"


def _secured(result: LoginResult) -> Finding:
    peer = result.peer
    by = f" with a certificate by {peer.authority} ({peer.protocol})" if peer else ""
    title = f"{result.place} offers STARTTLS{by}, and XOAUTH2"
    if peer is None or peer.public or result.private:
        return Finding(name="smtp.tls", status=Status.OK, title=title)
    return Finding(
        name="smtp.tls",
        status=Status.WARNING,
        title=f"{title}; {peer.authority} is no public authority",
        cause="This machine trusts it, so something on the way may inspect TLS. A relay in a pod trusts the public "
        "authorities alone, and would not send.",
        remedy=f"Exempt {result.place} from the inspection, or name the authority in spec.submission.ca.",
        link=links.NOT_TRUSTED,
    )


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return True
    return False
