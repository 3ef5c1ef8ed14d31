"""A token from Entra, and what its claims say."""

import base64
import binascii
import datetime
import re
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

CLOCK_TOLERANCE: Final = datetime.timedelta(minutes=2)
"""A larger difference between our clock and the token's claims causes a warning. Entra itself tolerates 5 minutes."""
LONGEST_TOKEN: Final = 16 << 10
"""Characters. Entra's have some 2,000, and one with many roles 4,000. A line with AUTH may have 12,288 bytes (RFC 4954
§4.3). The controller keeps each mailer's token in memory."""
BEARER: Final = re.compile(rf"[!-~]{{1,{LONGEST_TOKEN}}}")
"""One line of visible ASCII, as RFC 6750 §2.1 asks; a line break would end a file or an SMTP command early."""
_GUID: Final = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
LATEST_INSTANT: Final = 253_402_300_800
"""The year 10000 in seconds since 1970. A larger claim is no instant, and may overflow arithmetic."""


@dataclass(frozen=True)
class Refusal:
    """A reference that we or Entra refused; `reason` is from the closed vocabulary."""

    ref: str
    reason: str
    message: str


@dataclass(frozen=True)
class Token:
    """A bearer token with its times, all UTC.

    `expires_at` is the moment before the request plus `expires_in`. So it is on our clock, which schedules the refresh
    too, and never later than the real end. It does not use the claim `exp`, because Microsoft documents access tokens
    as opaque to the client. Claims only serve for `roles` and for a warning about clocks.
    """

    value: str = field(repr=False)
    issued_at: datetime.datetime
    expires_at: datetime.datetime
    refresh_at: datetime.datetime | None
    """When Entra asks for a refresh (`refresh_in`), if it does."""
    credential_ref: str
    """What it was obtained with, such as `the Secret noreply/secret`."""
    refusals: tuple[Refusal, ...] = ()
    """Other references of the spec that were tried first and refused."""
    warnings: tuple[str, ...] = ()
    """For people: refusals in words, a wrong clock."""
    roles: frozenset[str] | None = None
    """The application rights in the token. None without any, which is right with Exchange's own App RBAC."""


def claims_of(value: str) -> dict[str, Any]:
    """The claims of a JWT (RFC 7519 §3), unverified; empty if it is none."""
    parts = value.split(".")
    if len(parts) != 3:
        return {}
    try:
        decoded = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):  # RecursionError: endless brackets
        return {}
    return decoded if isinstance(decoded, dict) else {}


def roles_in(claims: dict[str, Any]) -> frozenset[str] | None:
    """The claim `roles`; None if it is absent or not a list of texts."""
    roles = claims.get("roles")
    if isinstance(roles, list) and all(isinstance(role, str) for role in roles):
        return frozenset(roles)
    return None


def object_id_in(claims: dict[str, Any]) -> str:
    """The claim `oid`, the enterprise application's object id; empty if it is no GUID.

    It is shown in commands for an Exchange administrator. A user who may edit the token Secret may have written it.
    """
    found = claims.get("oid")
    return found if isinstance(found, str) and _GUID.fullmatch(found) else ""


def clock_warning(claims: dict[str, Any], expires_at: datetime.datetime) -> str | None:
    """A sentence if the token's own end is far from the computed one: one of the clocks is wrong."""
    exp = claims.get("exp")
    if not isinstance(exp, int | float) or not 0 < exp < LATEST_INSTANT:
        return None
    off = exp - expires_at.timestamp()
    if abs(off) <= CLOCK_TOLERANCE.total_seconds():
        return None
    return f"This clock and Entra's differ by {abs(off):.0f} s. Set the clock of this node right."
