"""When a spooled message is tried again: pure, by what the last attempt said, with the dice passed in.

What is not the message's own (upstream away, no token, the mailbox at rest) has no schedule here: the courier asks
upstream when an attempt is worth it again. What Exchange said to this message alone is its own, and holds up no other.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from o365mailer_sidecar.upstream.submit import Clock

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


# --- expiry --------------------
# When a message has been tried for long enough. Pure but for the clock that it is given.
#
# Age is a matter of the time of day, which can be wrong and be set right (a node that boots without NTP, a VM that
# was paused). So it is not enough: the attempt that has just failed must have begun since the clock last jumped.


JUMP: Final = 60.0
"""Seconds by which the time of day and the monotonic clock may part; NTP slews less, and steps what is more."""


class Expiry:
    """Notices jumps, and judges ages."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.anchor = clock.now(), clock.monotonic()
        self.jumped_at = clock.monotonic()
        self.jumped = False
        """Whether it ever has, since this process began."""

    def steady(self, *, within: float) -> bool:
        """Whether ages of so many seconds can be believed: the time of day has not jumped since."""
        self._look(self.clock.now())
        return not self.jumped or self.clock.monotonic() - self.jumped_at >= within

    def over(self, received: datetime, *, began: float, max_age: float) -> bool:
        """Whether a message of that age has had its last attempt, which began then (a time of the event loop)."""
        now = self.clock.now()
        self._look(now)
        return (now - received).total_seconds() >= max_age and began >= self.jumped_at

    def _look(self, now: datetime) -> None:
        then, monotonic = self.anchor
        passed = self.clock.monotonic() - monotonic
        if abs((now - then).total_seconds() - passed) > JUMP:
            self.jumped, self.jumped_at = True, self.clock.monotonic()
        self.anchor = now, monotonic + passed
