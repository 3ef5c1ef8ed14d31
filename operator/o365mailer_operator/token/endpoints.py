"""Where a mailer's token comes from and where its mail goes: the national clouds as data, and the allow-list of hosts.

Sources, read 2026-11-23: Microsoft, "National clouds" (authorities); "Office 365 URLs and IP address ranges" for
Worldwide, GCC High, DoD and 21Vianet (submission hosts); "Authenticate an IMAP, POP or SMTP connection using OAuth"
(the Global scope). The US Government and China scopes follow the resource hosts in those lists. Microsoft does not
publish DoD's; other clients use this one with success.
"""

import re
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


CLOUDS: Final = {
    "Global": Cloud(
        "https://login.microsoftonline.com",
        "https://outlook.office365.com/.default",
        "smtp.office365.com",
    ),
    "USGovernment": Cloud(
        "https://login.microsoftonline.us",
        "https://outlook.office365.us/.default",
        "smtp.office365.us",
    ),
    "USGovernmentDoD": Cloud(
        "https://login.microsoftonline.us",
        "https://outlook.office365.us/.default",
        "outlook-dod.office365.us",
    ),
    "China": Cloud(
        "https://login.partner.microsoftonline.cn",
        "https://partner.outlook.cn/.default",
        "smtp.partner.outlook.cn",
    ),
}

HIGH_VOLUME_HOST: Final = "smtp.hve.mx.microsoft"
"""High Volume Email, Global only (Microsoft, "Manage high volume email"); also allowed by default."""

PRESET_HOSTS: Final = frozenset(
    {HIGH_VOLUME_HOST}
    | {cloud.submission_host for cloud in CLOUDS.values()}
    | {urlsplit(cloud.authority).hostname or "" for cloud in CLOUDS.values()}
)
"""The allow-list of an installation that sets none: Microsoft's own hosts."""

INSTALLATION_REMEDY: Final = "Use the cloud's own host, or have this one added to the chart's value allowedHosts."

PLAIN_URL: Final = re.compile(
    r"https://(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?(?:[/?][!-\[\]-~]*)?", re.ASCII
)
"""No user info, no backslash, nothing that two parsers could take for different hosts."""


class AllowedHosts:
    """The hosts that a mailer may name. An entry is `host`, which allows every port, or `host:port`.

    The installation decides, not the author of a mailer, who could otherwise make the controller send a client secret,
    or a sidecar a token, to any host. Case and a final dot do not matter; there are no patterns.
    """

    def __init__(self, entries: frozenset[str] = PRESET_HOSTS, *, remedy: str = INSTALLATION_REMEDY) -> None:
        self.remedy = remedy
        self.entries = frozenset(entry.strip().lower().rstrip(".") for entry in entries)

    def check(self, host: str, port: int, *, named_by: str) -> None:
        """Raises TokenError unless the host is listed. `named_by`, such as `spec.cloud`, is for the message."""
        name = host.lower().rstrip(".")
        if not {name, f"{name}:{port}"} & self.entries:
            raise TokenError(
                HOST_NOT_ALLOWED, f"{named_by} names {name}:{port}, which is not among the allowed hosts. {self.remedy}"
            )

    def check_url(self, url: str, *, named_by: str) -> None:
        """The same for an `https://` address; any other scheme is refused too. Raises TokenError."""
        parts = PLAIN_URL.fullmatch(url)
        if parts is None:
            raise TokenError(HOST_NOT_ALLOWED, f"{named_by} does not name a plain https address.")
        self.check(parts["host"], int(parts["port"] or AUTHORITY_PORT), named_by=named_by)


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """What a spec resolves to: its cloud's endpoints, with its own overrides on top."""

    authority: str
    """`https://host[:port]/tenant`."""
    scope: str
    submission_host: str
    submission_port: int
    authority_named_by: str
    """The member of the spec that names the authority, such as `spec.cloud`."""
    submission_named_by: str

    def check(self, allowed: AllowedHosts) -> None:
        """Raises TokenError unless both hosts are allowed, whether the cloud or an override names them.

        Discovery names the token endpoint later. It is checked against the same list when it is called.
        """
        allowed.check_url(self.authority, named_by=self.authority_named_by)
        allowed.check(self.submission_host, self.submission_port, named_by=self.submission_named_by)
