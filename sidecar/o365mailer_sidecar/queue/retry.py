"""When a spooled message is tried again, and when no more.

What Exchange said about one message sets that message's own schedule, and delays no other. A reason that is not the
message's own (no token, Exchange cannot be reached, sending is paused) has none here: the scheduler asks `Upstream`.
"""

from datetime import datetime
from typing import Final

from o365mailer_sidecar.backoff import Backoff
from o365mailer_sidecar.context import Clock

JITTER: Final = (0.5, 1.0)
"""Messages that failed together are not all tried again at the same moment."""

LONGEST: Final = 900.0
"""Seconds at most between two attempts: after an outage of hours every message is tried within a quarter of an hour."""

DEFERRED: Final = Backoff(15.0, LONGEST, JITTER)
"""Of one message that was deferred; greylisting and a backend's restart are over after the first pause."""

THROTTLED: Final = Backoff(4.0, 30.0, JITTER)
"""Three other submissions use the mailbox's connections, for about a second each (Microsoft, 432 4.3.2)."""

OUTAGE: Final = Backoff(2.0, 60.0, JITTER)
"""Between probes of an upstream that cannot be reached."""

JUMP: Final = 60.0
"""Seconds by which the time of day and the monotonic clock may part; NTP slews less, and steps what is more."""


class Expiry:
    """Judges ages by a time of day that may be wrong and be set right (a node without NTP, a VM that was paused).

    So age is not enough: the attempt that has just failed must have begun since the clock last jumped.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.anchor = clock.now(), clock.monotonic()
        self.jumped_at = clock.monotonic()
        self.jumped = False
        """Whether it ever has, since this process began."""

    def steady(self, *, within: float) -> bool:
        """Whether the time of day has not jumped for `within` seconds, so that ages up to that are right."""
        self._look(self.clock.now())
        return not self.jumped or self.clock.monotonic() - self.jumped_at >= within

    def over(self, received: datetime, *, began: float, max_age: float) -> bool:
        """Whether the attempt that began at `began`, a time of the event loop, was the last of this message.

        `max_age` is in seconds.
        """
        now = self.clock.now()
        self._look(now)
        return (now - received).total_seconds() >= max_age and began >= self.jumped_at

    def _look(self, now: datetime) -> None:
        then, monotonic = self.anchor
        passed = self.clock.monotonic() - monotonic
        if abs((now - then).total_seconds() - passed) > JUMP:
            self.jumped, self.jumped_at = True, self.clock.monotonic()
        self.anchor = now, monotonic + passed
