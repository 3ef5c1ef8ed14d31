"""When a spooled message is tried again: pure, by what the last attempt said, with the dice passed in.

What is not the message's own (upstream away, no token, the mailbox at rest) has no schedule here: the courier asks
upstream when an attempt is worth it again. What Exchange said to this message alone is its own, and holds up no other.
"""

from collections.abc import Callable
from typing import Final

FIRST: Final = 15.0
"""Seconds at most until the first retry; greylisting and a backend's restart are over by then."""

LONGEST: Final = 900.0
"""Seconds at most between two attempts: an outage of hours ends for every message within a quarter of an hour."""

CROWDED_FIRST: Final = 4.0
CROWDED_LONGEST: Final = 30.0
"""Seconds: three others hold the mailbox's connections, for about a second each (Microsoft, 432 4.3.2)."""

OUTAGE_FIRST: Final = 2.0
OUTAGE_LONGEST: Final = 60.0
"""Seconds between looks at an upstream that cannot be reached: one message is the probe, the others wait."""

Dice = Callable[[], float]
"""A number from 0 up to, but not including, 1."""


def after_deferral(attempts: int, dice: Dice) -> float:
    """Seconds until the next attempt of a message that was deferred `attempts` times: 7 to 15 s, then doubling."""
    return _jittered(FIRST, LONGEST, attempts, dice)


def after_crowding(attempts: int, dice: Dice) -> float:
    """The same for a mailbox whose connections are all in use: within seconds, 30 at most."""
    return _jittered(CROWDED_FIRST, CROWDED_LONGEST, attempts, dice)


def after_outage(failures: int, dice: Dice) -> float:
    """Seconds until upstream is looked at again after so many failures in a row."""
    return _jittered(OUTAGE_FIRST, OUTAGE_LONGEST, failures, dice)


def _jittered(first: float, longest: float, count: int, dice: Dice) -> float:
    """The upper half of an interval that doubles: what failed together does not come back together."""
    step = min(first * 2.0 ** min(max(count, 1) - 1, 30), longest)
    return step * (0.5 + dice() / 2)
