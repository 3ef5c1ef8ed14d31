"""How much of its mailbox one sidecar takes, learned from Exchange's answers. Pure: times in seconds are passed in.

Three submissions at once is all that a mailbox has, for every pod that uses it, and 432 is all that a pod ever hears of
the others. While it hears none it takes every connection that it may. From the first 432 on it shares:

- one connection, for a **turn** of a few seconds; with nothing left to send the connection goes at once;
- then a **rest** of most of its *interval*, the time from turn to turn as measured: whoever has just had a turn leaves
  the field to the others, and it is this that makes a fleet take turns;
- then attempts with a **pause** between them, which hardly grows with the interval, so that pods whose estimates differ
  still have the same chances; who is refused again and again tries sooner.

Where turns begin without a 432 in the way, the interval shrinks, and another connection is tried beside the first: when
it is taken both go on, when it is refused one 432 is all that it cost.

Rejected, by simulation with 50 pods: a window that doubles its pause with each 432 and shrinks it with each success.
Waiting times get a heavy tail, winners come back first, and Jain's index over 20 messages each is 0.5.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

TURN: Final = 4.0
"""Seconds of submitting for which a crowded pod keeps a connection: a few messages, so that the time until the next pod
finds the free slot is small beside it, and few enough that everybody's turn comes soon."""

LONGEST_TURN: Final = 20.0
"""The same while no 432 was heard: each turn is twice the last. A pod with one connection never hears of the others."""

BREATH: Final = (0.25, 0.75)
"""Seconds between two such turns: somebody who waits finds the slot."""

REST: Final = 0.75
"""Share of the interval that is rested through. Less means more attempts, and more 432; more leaves slots unused."""

FIRST_INTERVAL: Final = 40.0
"""Seconds from turn to turn that a pod assumes before it has measured any. One value for all: they start alike."""

PAUSE: Final = 10.0
PAUSE_INTERVAL: Final = 25.0
PAUSE_EXPONENT: Final = 0.15
"""Between attempts: so many seconds at that interval, and hardly more at a longer one."""

FIRST_PAUSE: Final = 5.0
"""Seconds after the very first 432, doubled with the next: a pod that wants little has soon got it."""

JITTER: Final = 0.2
"""Share of a pause or a rest by which it is longer or shorter."""

MISS: Final = 0.3
"""By how much sooner each further 432 lets the next attempt be, in the same wait."""

CLEAR: Final = 120.0
"""Seconds without a 432 after which a pod that gets its turn at once takes what it may again."""

SHARED: Final = 3600.0
"""Seconds after a 432 for which no connection is kept that nobody uses: others have use for it."""


class Next(Enum):
    """What becomes of a connection whose message was accepted."""

    KEEP = "keep"
    RENEW = "renew"
    """There is room: the turns of all connections begin anew."""
    YIELD = "yield"
    """Its turn is over: close it."""


class FairShare:
    """One sidecar's share. `uniform` gives a random number between two."""

    def __init__(self, *, uniform: Callable[[float, float], float]) -> None:
        self.uniform = uniform
        self.crowded = False
        self.resume_at = 0.0
        """When the next attempt may begin."""
        self.interval = FIRST_INTERVAL
        self.measured = False
        self.waiting_since = 0.0
        self.last_crowded = float("-inf")
        self.misses = 0
        """432 in this wait."""
        self.streak = 0
        """Turns in a row that began without one."""
        self.free_turn = TURN
        self.turn_used = 0.0
        self.probing = False
        self.probe_refused = False

    def share(self, *, limit: int) -> float:
        """Submissions at once that it allows itself; below one, on average over time."""
        return min(1.0, TURN / self.interval) if self.crowded else float(limit)

    def shared(self, *, now: float) -> bool:
        """Whether others use this mailbox too."""
        return self.crowded or now - self.last_crowded < SHARED

    def room(self, *, held: int, unproven: int, limit: int, now: float) -> bool:
        """Whether a connection may be opened beside the `held` ones, `unproven` of which have had no message taken."""
        if held >= limit:
            return False
        if not self.crowded or not held:
            return now >= self.resume_at and not (self.crowded and unproven)
        return self.probing and not unproven

    def wanted(self, *, now: float) -> None:
        """There is something to send, and there was not: waiting begins now."""
        if self.crowded and now > self.resume_at:  # else it has been wanted all the time
            if now - self.waiting_since > self.interval:  # what was measured is old
                self.interval, self.measured, self.streak = FIRST_INTERVAL, False, 0
            self.waiting_since, self.misses = now, 0

    def refused(self, *, held: int, now: float) -> None:
        """Exchange said 432; `held` other connections are open."""
        self.probing, self.last_crowded = False, now
        if not self.crowded:
            self.crowded, self.interval, self.measured = True, FIRST_INTERVAL, False
            self.waiting_since, self.misses, self.streak = now, 0, 0
        if held:
            self.probe_refused = True
            return
        self.misses += 1
        self._pause(self._between_attempts(), now=now)

    def _between_attempts(self) -> float:
        root: float = (self.interval / PAUSE_INTERVAL) ** PAUSE_EXPONENT
        pause = min(PAUSE * root, 0.9 * self.interval)
        pause /= min(1 + MISS * self.misses, 4)
        return pause if self.measured else min(pause, FIRST_PAUSE * 2.0 ** (self.misses - 1))

    def _pause(self, seconds: float, *, now: float) -> None:
        self.resume_at = max(self.resume_at, now + seconds * self.uniform(1 - JITTER, 1 + JITTER))

    def accepted(self, *, held: int, first: bool, seconds: float, used: float, limit: int, now: float) -> Next:
        """A message was taken after `seconds`; its connection, whose `first` it may be, is `used` so long by now."""
        if not self.crowded:
            return Next.YIELD if used >= self.free_turn else Next.KEEP
        if first and held > 1:
            self.probing = False
            self._perhaps_clear(now=now)
            return Next.RENEW
        if first:
            self._measure(now - seconds - self.waiting_since)
            self._perhaps_clear(now=now)
        if used < TURN - seconds:  # not yet the last of this turn
            return Next.KEEP
        if self.streak >= 2 and held < limit and not self.probe_refused and used < 2 * TURN:
            self.probing = True
            return Next.KEEP
        return Next.YIELD if used >= TURN else Next.KEEP

    def _measure(self, waited: float) -> None:
        """The mean of what was thought and what was seen; less where the rest alone was too long."""
        self.streak = 0 if self.misses else self.streak + 1
        self.interval = max((self.interval + waited + TURN) / 2, TURN)
        if self.streak >= 2:
            self.interval = max(0.6 * self.interval, TURN)
        self.measured, self.probe_refused = True, False

    def _perhaps_clear(self, *, now: float) -> None:
        if self.streak >= 2 and now - self.last_crowded > CLEAR:
            self.crowded, self.free_turn = False, TURN

    def yielded(self, *, held: int, used: float, now: float) -> None:
        """A connection was given up at that time, its turn over or nothing left to send; `held` are still open.

        Who has used only a part of a turn rests only a part of the time.
        """
        self.probing, self.turn_used = False, max(self.turn_used, used)
        if not self.crowded:
            self.free_turn = min(2 * self.free_turn, LONGEST_TURN)
            self.resume_at = max(self.resume_at, now + self.uniform(*BREATH))
        elif not held:
            self.waiting_since, self.misses, self.probe_refused = now, 0, False
            share, self.turn_used = min(self.turn_used / TURN, 1.0), 0.0
            self._pause(max(share * REST * (self.interval - TURN), BREATH[0]), now=now)
