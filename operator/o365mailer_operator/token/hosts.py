"""Which hosts a mailer may name: the installation decides, not whoever may write a mailer.

Otherwise a mailer would make the controller send a client secret, or a sidecar a token, to any host its author likes.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from o365mailer_operator.token.cloud import AUTHORITY_PORT, CLOUDS, HIGH_VOLUME_HOST, resolve
from o365mailer_operator.token.errors import HostNotAllowed
from o365mailer_operator.token.spec import Spec

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
    """An allow-list. An entry is `host`, good for every port, or `host:port`.

    Case and a final dot do not matter; there are no patterns.
    """

    def __init__(self, entries: frozenset[str] = PRESET_HOSTS, *, remedy: str = INSTALLATION_REMEDY) -> None:
        self.remedy = remedy
        self.entries = frozenset(entry.strip().lower().rstrip(".") for entry in entries)

    def check(self, host: str, port: int, *, named_by: str) -> None:
        """Raises HostNotAllowed unless the host is on the list; `named_by`, such as `spec.cloud`, says who named it."""
        name = host.lower().rstrip(".")
        if not {name, f"{name}:{port}"} & self.entries:
            raise HostNotAllowed(f"{named_by} names {name}:{port}, which is not among the allowed hosts. {self.remedy}")

    def check_url(self, url: str, *, named_by: str) -> None:
        """The same for an `https://` address; any other scheme is refused too. Raises HostNotAllowed."""
        parts = PLAIN_URL.fullmatch(url)
        if parts is None:
            raise HostNotAllowed(f"{named_by} does not name a plain https address.")
        self.check(parts["host"], int(parts["port"] or AUTHORITY_PORT), named_by=named_by)


def check_allowed(spec: Spec, allowed: AllowedHosts) -> None:
    """Both hosts of a spec, overrides and presets alike. Raises HostNotAllowed.

    The token endpoint, which discovery names later, is checked against the same list when it is called.
    """
    endpoints = resolve(spec)
    allowed.check_url(endpoints.authority, named_by="spec.authority.url" if spec.authority.url else "spec.cloud")
    allowed.check(
        endpoints.submission_host,
        endpoints.submission_port,
        named_by="spec.submission.host" if spec.submission.host else "spec.cloud",
    )


def hosts_of(spec: Spec) -> AllowedHosts:
    """Just the hosts that the spec itself names: for `o365mailer run`, whose user owns spec and secret alike."""
    endpoints = resolve(spec)
    authority = urlsplit(endpoints.authority)
    return AllowedHosts(
        frozenset(
            {
                f"{authority.hostname}:{authority.port or AUTHORITY_PORT}",
                f"{endpoints.submission_host}:{endpoints.submission_port}",
            }
        ),
        remedy="Check spec.authority.url.",
    )
