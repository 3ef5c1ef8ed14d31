"""When to ask for the next token. Pure: every instant and every random number is passed in.

Durations are seconds, instants are aware datetimes.
"""

import datetime
import hashlib
from typing import Final

from o365mailer_operator.token.errors import TokenError

URGENCY: Final = (
    (datetime.timedelta(days=1), "Renew it now"),
    (datetime.timedelta(days=7), "Renew it this week"),
    (datetime.timedelta(days=21), "Plan its renewal"),
)
"""The longest time before the end of a credential → what a person is told then. The alerts have the same steps
(charts/o365mailer/files/alerts.yaml)."""
EARLIEST_SHARE: Final = 0.60
LATEST_SHARE: Final = 0.75
"""Of the lifetime: late enough to ask seldom, early enough that an hour's token outlives an outage of 15 minutes."""
VALIDITY_KEPT: Final = datetime.timedelta(minutes=15)
"""What is left of a token when it is replaced: kubelet takes up to two minutes to deliver, and Entra may be away."""
SHORTEST_WAIT: Final = datetime.timedelta(minutes=1)
"""No `refresh_in` makes us ask more often than this (or than half of a shorter lifetime)."""

FIRST_WAIT: Final = 5.0
LONGEST_WAIT: Final = 60.0
GROWTH: Final = 1.5
JITTER: Final = 0.2
"""Of a wait, to either side, so that mailers which failed together do not retry together."""
FIRST_PERMANENT_WAIT: Final = 60.0
LONGEST_PERMANENT_WAIT: Final = 15 * 60.0
"""Seconds, doubling from the first to the longest. Entra takes minutes to replicate a new secret,
application or certificate, and until then refuses it with the same codes as a wrong one."""
LONGEST_RETRY_AFTER: Final = 3600.0
"""A longer Retry-After is cut: an hour is longer than any throttling that Microsoft documents."""


def refresh_due(
    *, issued_at: datetime.datetime, expires_at: datetime.datetime, refresh_at: datetime.datetime | None, uid: str
) -> datetime.datetime:
    """When to replace a token: 60 to 75 % into its life, by the hash of the mailer's UID.

    Earlier if Entra asks for it, or to keep 15 minutes of validity if that is in the second half of the lifetime; never
    within the first minute (or the first half of a shorter life).
    """
    lifetime = expires_at - issued_at
    due = issued_at + lifetime * (EARLIEST_SHARE + (LATEST_SHARE - EARLIEST_SHARE) * share_of(uid))
    if expires_at - VALIDITY_KEPT >= issued_at + lifetime / 2:
        due = min(due, expires_at - VALIDITY_KEPT)
    if refresh_at is not None:
        due = min(due, refresh_at)
    return max(due, issued_at + min(SHORTEST_WAIT, lifetime / 2))


def wait_after_failure(error: TokenError, *, failures: int, random: float) -> float:
    """Seconds until the next attempt, after `failures` in a row (1 or more); `random` is from [0, 1).

    After a transient failure: 5 s, then half as long again each time, up to 60 s. After any other: 1, 2, 4 and 8
    minutes, then 15 each time. Never before Retry-After. A changed spec or Secret does not wait.
    """
    repeated = min(failures - 1, 10)  # bounded: 1.5 ** failures overflows after a few days of an outage
    if error.transient:
        wait = min(LONGEST_WAIT, FIRST_WAIT * GROWTH**repeated)
    else:
        wait = min(LONGEST_PERMANENT_WAIT, FIRST_PERMANENT_WAIT * 2**repeated)
    wait *= 1 - JITTER + 2 * JITTER * random
    return max(wait, min(error.retry_after or 0.0, LONGEST_RETRY_AFTER))


def urgency(left: datetime.timedelta) -> str | None:
    """How urgent the renewal of a credential is that ends in `left`; None while it is no concern."""
    return next((told for limit, told in URGENCY if left <= limit), None)


def share_of(uid: str) -> float:
    """A number in [0, 1) that is always the same for a UID, and evenly spread over UIDs."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8]) / 2**64
