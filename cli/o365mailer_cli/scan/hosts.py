"""Mail hosts that apps name, as data: which are Office 365's, and what a name in a setting's value means.

Sources, read 2026-11-23: Microsoft, "Office 365 URLs and IP address ranges" (Worldwide, GCC High, DoD, 21Vianet); "How
to set up a multifunction device or application to send email" (direct send goes to the domain's MX,
`<domain>.mail.protection.outlook.com`); "Manage high volume email".
"""

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


class HostKind(enum.Enum):
    """What a mail host is to someone who moves away from passwords."""

    OFFICE365 = "office365"
    """Client submission of Exchange Online: a mailer replaces the login."""
    HIGH_VOLUME = "high-volume"
    """High Volume Email: a mailer with `submission.host` replaces the login."""
    PERSONAL = "outlook.com"
    """Outlook.com's own host. Personal mailboxes are in no tenant, so no mailer can send as them."""
    DIRECT_SEND = "direct-send"
    """A domain's MX. It takes mail for that domain without a login."""
    LOCAL = "local"
    """The pod itself: a relay next to the app."""
    OTHER = "other"
    """Any other mail server."""


_EXACT: Final = {
    "smtp.office365.com": HostKind.OFFICE365,
    "outlook.office365.com": HostKind.OFFICE365,  # accepts submission too; many apps name it
    "outlook.office.com": HostKind.OFFICE365,
    "smtp-legacy.office365.com": HostKind.OFFICE365,  # TLS 1.0 and 1.1, by opt-in
    "smtp.office365.us": HostKind.OFFICE365,  # GCC High
    "outlook.office365.us": HostKind.OFFICE365,
    "outlook-dod.office365.us": HostKind.OFFICE365,
    "smtp.partner.outlook.cn": HostKind.OFFICE365,  # 21Vianet
    "partner.outlook.cn": HostKind.OFFICE365,
    "smtp.hve.mx.microsoft": HostKind.HIGH_VOLUME,
    "smtp-hve.office365.com": HostKind.HIGH_VOLUME,
    "smtp-mail.outlook.com": HostKind.PERSONAL,
    "smtp.live.com": HostKind.PERSONAL,
    "localhost": HostKind.LOCAL,
    "127.0.0.1": HostKind.LOCAL,
    "::1": HostKind.LOCAL,
}
_DIRECT_SEND: Final = (
    ".mail.protection.outlook.com",
    ".mail.protection.office365.us",
    ".mail.protection.partner.outlook.cn",
)
_MICROSOFT: Final = re.compile(r"outlook\.|office365\.|office\.com|\.microsoft|live\.com", re.IGNORECASE)
MICROSOFT: Final = frozenset({HostKind.OFFICE365, HostKind.HIGH_VOLUME, HostKind.PERSONAL, HostKind.DIRECT_SEND})

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME: Final = rf"(?<![A-Za-z0-9_@./-])(?P<name>{_LABEL}(?:\.{_LABEL}){{0,8}})\.?(?![A-Za-z0-9_-])"
_AT: Final = re.compile(rf"{_NAME}\]?(?::(?P<port>[0-9]{{1,5}}))?(?![A-Za-z0-9_])")
_URL: Final = re.compile(
    r"(?P<scheme>smtps?(?:\+[a-z]{1,10})?|submissions?)://(?:(?P<login>\S{0,800})@)?"
    r"(?P<name>[A-Za-z0-9.-]{1,253})(?::(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE,
)
_WHOLE: Final = re.compile(rf"\[?(?P<name>::1|{_LABEL}(?:\.{_LABEL}){{0,8}})\.?\]?(?::(?P<port>[0-9]{{1,5}}))?")


@dataclass(frozen=True)
class Endpoint:
    """A mail host as a setting names it."""

    name: str
    """Lower case, without a final dot."""
    kind: HostKind
    port: int | None = None
    scheme: str | None = None
    """Of a URL such as smtp://host, lower case."""
    user: str | None = None
    """The user of a URL, as it stands there; None without one."""
    password: bool = False
    """A URL with a password."""


def kind_of(name: str) -> HostKind:
    """What the host is; OTHER for every name that is not in the table."""
    plain = name.lower().rstrip(".")
    if plain.endswith(_DIRECT_SEND):
        return HostKind.DIRECT_SEND
    return _EXACT.get(plain, HostKind.OTHER)


def names_microsoft(text: str) -> bool:
    """Whether the text can have one of Microsoft's mail hosts: a quick first look."""
    return bool(_MICROSOFT.search(text))


def microsoft_hosts_in(text: str) -> Iterator[Endpoint]:
    """Each of Microsoft's mail hosts that the text names anywhere, with its port if one follows.

    The domain of an address (`user@smtp.office365.com`) is none, except in a URL.
    """
    seen: set[tuple[str, int | None]] = set()
    for match in (*_URL.finditer(text), *_AT.finditer(text)):
        found = _endpoint(match)
        if found.kind in MICROSOFT and (found.name, found.port) not in seen:
            seen.add((found.name, found.port))
            yield found


def whole_host(value: str) -> Endpoint | None:
    """The host that is the whole value: `host`, `host:port`, `[host]:port` or an SMTP URL. None for anything else."""
    text = value.strip().strip("\"'").strip()
    match = _URL.match(text) or _WHOLE.fullmatch(text)
    return _endpoint(match) if match else None


def _endpoint(match: re.Match[str]) -> Endpoint:
    parts = match.groupdict()
    name = parts["name"].lower().rstrip(".")
    port = int(parts["port"]) if parts["port"] else None
    scheme = parts.get("scheme")
    user, _, password = (parts.get("login") or "").partition(":")  # unquoted, either may have an @ of its own
    return Endpoint(
        name,
        kind_of(name),
        port if port is None or port < 65536 else None,
        scheme.lower() if scheme else None,
        user or None,
        bool(password),
    )
