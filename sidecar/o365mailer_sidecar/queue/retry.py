"""When a spooled message is tried again: pure, by what the last attempt said, with the dice passed in.

What is not the message's own (upstream away, no token, the mailbox at rest) has no schedule here: the courier asks
upstream when an attempt is worth it again. What Exchange said to this message alone is its own, and holds up no other.
"""

from datetime import datetime
from typing import Final

from o365mailer_sidecar.backoff import Backoff
from o365mailer_sidecar.context import Clock

JITTER: Final = (0.5, 1.0)
"""What failed together does not come back together."""

LONGEST: Final = 900.0
"""Seconds at most between two attempts: an outage of hours ends for every message within a quarter of an hour."""

DEFERRED: Final = Backoff(15.0, LONGEST, JITTER)
"""Of one message that was deferred; greylisting and a backend's restart are over after the first pause."""

THROTTLED: Final = Backoff(4.0, 30.0, JITTER)
"""Three others hold the mailbox's connections, for about a second each (Microsoft, 432 4.3.2)."""

OUTAGE: Final = Backoff(2.0, 60.0, JITTER)
"""Between looks at an upstream that cannot be reached: one message is the probe, the others wait."""


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
