"""Where a mailer's token comes from and where its mail goes: the national clouds as data, and the allow-list of hosts.

Sources, read 2026-11-23: Microsoft, "National clouds" (authorities); "Office 365 URLs and IP address ranges" for
Worldwide, GCC High, DoD and 21Vianet (submission hosts); "Authenticate an IMAP, POP or SMTP connection using OAuth"
(the Global scope). The US Government and China scopes follow the resource hosts in those lists. Microsoft does not
publish DoD's; other clients use this one with success. Audiences: Microsoft, "Configure an application to trust a
managed identity", read 2026-11-28.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from o365mailer_operator.token.errors import HOST_NOT_ALLOWED, TokenError

AUTHORITY_PORT: Final = 443
SUBMISSION_PORT: Final = 587


@dataclass(frozen=True)
class Cloud:
    """One national cloud."""

    authority: str
    """Base of the authority: scheme and host, without the tenant."""
    scope: str
    """What the client-credentials grant asks for."""
    submission_host: str
    """Client submission, port 587 with STARTTLS."""
    federation_audience: str
    """The audience that Entra asks of an assertion for a federated credential."""


CLOUDS: Final = {
    "Global": Cloud(
        "https://login.microsoftonline.com",
        "https://outlook.office365.com/.default",
        "smtp.office365.com",
        "api://AzureADTokenExchange",
    ),
    "USGovernment": Cloud(
        "https://login.microsoftonline.us",
        "https://outlook.office365.us/.default",
        "smtp.office365.us",
        "api://AzureADTokenExchangeUSGov",
    ),
    "USGovernmentDoD": Cloud(
        "https://login.microsoftonline.us",
        "https://outlook.office365.us/.default",
        "outlook-dod.office365.us",
        "api://AzureADTokenExchangeUSGov",
    ),
    "China": Cloud(
        "https://login.partner.microsoftonline.cn",
        "https://partner.outlook.cn/.default",
        "smtp.partner.outlook.cn",
        "api://AzureADTokenExchangeChina",
    ),
}

HIGH_VOLUME_HOST: Final = "smtp.hve.mx.microsoft"
"""High Volume Email, Global only (Microsoft, "Manage high volume email"); also allowed by default."""

SUBMISSION_PORTS: Final = (25, SUBMISSION_PORT)
"""Of client submission (Microsoft, "How to set up a multifunction device or application to send email": "Port 587
(recommended) or port 25")."""

MICROSOFTS_AUTHORITIES: Final = frozenset(
    f"{urlsplit(cloud.authority).hostname}:{AUTHORITY_PORT}" for cloud in CLOUDS.values()
)
MICROSOFTS_SUBMISSION: Final = frozenset(
    f"{host}:{port}"
    for host in (HIGH_VOLUME_HOST, *(cloud.submission_host for cloud in CLOUDS.values()))
    for port in SUBMISSION_PORTS
)
"""These two are always allowed."""

PLAIN_URL: Final = re.compile(
    r"https://(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?(?:[/?][!-\[\]-~]*)?", re.ASCII
)
"""No user info, no backslash, nothing that two parsers could take for different hosts."""


@dataclass(frozen=True)
class Remedies:
    """What a person does about a host that is not allowed."""

    authority: str
    submission: str


_VALUE: Final = "Use the cloud's own host, or have this one added to the chart's value allowedHosts."
INSTALLATION: Final = Remedies(f"{_VALUE}authority.", f"{_VALUE}submission.")


class AllowedHosts:
    """The hosts that a mailer may name: for tokens (they get client secrets), and for mail (they get tokens).

    There are two lists, so that a test server which is allowed to take mail cannot ask for a client secret. An entry is
    `host`, which allows every port, or `host:port`. Case and a final dot do not matter; there are no patterns.

    The installation decides, not the author of a mailer, who could otherwise make the controller send a client secret,
    or a sidecar a token, to any host.
    """

    def __init__(
        self,
        *,
        authority: Iterable[str] = MICROSOFTS_AUTHORITIES,
        submission: Iterable[str] = MICROSOFTS_SUBMISSION,
        remedies: Remedies = INSTALLATION,
    ) -> None:
        self.authority, self.submission = _entries(authority), _entries(submission)
        self.remedies = remedies

    @classmethod
    def in_addition(
        cls, *, authority: Iterable[str], submission: Iterable[str], remedies: Remedies = INSTALLATION
    ) -> "AllowedHosts":
        """Microsoft's own hosts, and these."""
        return cls(
            authority=MICROSOFTS_AUTHORITIES.union(authority),
            submission=MICROSOFTS_SUBMISSION.union(submission),
            remedies=remedies,
        )

    def check_authority(self, url: str, *, named_by: str) -> None:
        """Raises TokenError unless a client secret may be sent to this `https://` address; another scheme never may.

        `named_by`, such as `spec.cloud`, is for the message.
        """
        parts = PLAIN_URL.fullmatch(url)
        if parts is None:
            raise TokenError(HOST_NOT_ALLOWED, f"{named_by} does not name a plain https address.")
        host, port = _plain(parts["host"]), int(parts["port"] or AUTHORITY_PORT)
        if problem := _problem(host, port, self.authority):
            if not _ports(host, self.authority) and _ports(host, self.submission):
                problem = "which may take mail, but not client secrets"
            raise TokenError(HOST_NOT_ALLOWED, f"{named_by} names {host}:{port}, {problem}. {self.remedies.authority}")

    def check_submission(self, host: str, port: int, *, named_by: str) -> None:
        """Raises TokenError unless mail, and with it a token, may be sent to this host and port."""
        host = _plain(host)
        if problem := _problem(host, port, self.submission):
            if not _ports(host, self.submission) and _ports(host, self.authority):
                problem = "which may give tokens, but not take mail"
            raise TokenError(HOST_NOT_ALLOWED, f"{named_by} names {host}:{port}, {problem}. {self.remedies.submission}")


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _entries(given: Iterable[str]) -> frozenset[str]:
    named = (entry.strip().partition(":") for entry in given)
    return frozenset(f"{_plain(host)}{colon}{port}" for host, colon, port in named)


def _ports(host: str, entries: frozenset[str]) -> list[str]:
    """What the entries allow of a host: ports, or an empty text for all of them."""
    return sorted((entry.partition(":")[2] for entry in entries if entry.partition(":")[0] == host), key=len)


def _problem(host: str, port: int, entries: frozenset[str]) -> str:
    """What is wrong with naming the host; empty if it is allowed."""
    ports = _ports(host, entries)
    if "" in ports or str(port) in ports:
        return ""
    if ports:
        return f"of which only {'port' if len(ports) == 1 else 'ports'} {' and '.join(ports)} may be named"
    return "which is not among the allowed hosts"


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """What a spec resolves to: its cloud's endpoints, with its own overrides on top."""

    authority: str
    """`https://host[:port]/tenant`."""
    scope: str
    submission_host: str
    submission_port: int
    federation_audience: str
    authority_named_by: str
    """The member of the spec that names the authority, such as `spec.cloud`."""
    submission_named_by: str

    def check(self, allowed: AllowedHosts) -> None:
        """Raises TokenError unless both hosts are allowed, whether the cloud or an override names them.

        Discovery names the token endpoint later. It is checked against the same list when it is called.
        """
        allowed.check_authority(self.authority, named_by=self.authority_named_by)
        allowed.check_submission(self.submission_host, self.submission_port, named_by=self.submission_named_by)
