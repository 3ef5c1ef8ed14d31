"""How much of its mailbox one relay takes, learned from Exchange's answers. Pure: times in seconds are passed in.

A mailbox has three concurrent submissions for all pods that use it, and 432 is all that a pod hears of the others.
`FairShare` decides when the pool may open a connection, and when it must close one; it is in one of four states:

| State   | Connections                                       | Leaves it                                            |
|---------|---------------------------------------------------|------------------------------------------------------|
| ALONE   | as many as `limits.connections`; each is closed   | 432 → WAITING, or SENDING if another is open         |
|         | for a short gap after a time slice                |                                                      |
| WAITING | none; one attempt at a time, from `resume_at` on  | a message is accepted → SENDING                      |
| SENDING | those that have had a message accepted            | slice nearly over, and there may be room → PROBING   |
|         |                                                   | the last one closed, or its 432 → WAITING            |
| PROBING | the same, and one more to be tried                | the other accepted or 432 → SENDING                  |

From WAITING, SENDING and PROBING back to ALONE: a time slice begins at once for the third time in a row, and there was
no 432 for two minutes.

- A **time slice** is a few seconds of submitting. The connection is **released** after it, or as soon as there is
  nothing left to send.
- Then comes a **gap** of most of the *interval*, the measured time from slice to slice. A pod that has just sent leaves
  the mailbox to the others; it is this gap that makes a fleet take turns.
- Then come attempts with a **pause** between them, which hardly grows with the interval, so that pods whose estimates
  differ still have the same chances; a pod that is refused again and again tries sooner.

Where slices begin without a 432 before them the interval shrinks, and another connection is tried as well. If it is
accepted, both go on; if not, one 432 is all that it cost.

Rejected, by simulation with 50 pods: a share that doubles its pause with each 432 and shrinks it with each success.
Waiting times get a heavy tail, winners come back first, and Jain's index over 20 messages each is 0.5.
"""

from enum import Enum
from typing import Final

from o365mailer_sidecar.backoff import Backoff, Dice

SLICE: Final = 4.0
"""Seconds of submitting for which a pod that shares keeps a connection: a few messages, so that the time until the next
pod finds the free connection is small in comparison, and few enough that every pod's turn comes soon."""

LONGEST_SLICE: Final = 20.0
"""The same while no 432 was heard: each slice is twice the last. A pod with one connection hears nothing of others."""

GAP: Final = (0.25, 0.75)
"""Seconds between two such slices: a pod that waits finds the connection."""

GAP_SHARE: Final = 0.75
"""The gap as a share of the interval. Less means more attempts, and more 432; more leaves connections unused."""

FIRST_INTERVAL: Final = 40.0
"""Seconds from slice to slice that a pod assumes before it has measured any. One value for all: they start alike."""

PAUSE: Final = 10.0
PAUSE_INTERVAL: Final = 25.0
PAUSE_EXPONENT: Final = 0.15
"""Seconds between attempts: PAUSE at an interval of PAUSE_INTERVAL, and little more at a longer one."""

FIRST_PAUSES: Final = Backoff(5.0, float("inf"))
"""After the very first 432s, while the interval is not measured: a pod that wants little has soon got it."""

JITTER: Final = (0.8, 1.2)
"""A pause or a gap is multiplied by a random number between these."""

MISS: Final = 0.3
"""After n times 432 in one wait the pause is divided by 1 + MISS · n, at most by 4: the next attempt comes sooner."""

CLEAR: Final = 120.0
"""Seconds without a 432 after which a pod whose slices begin at once takes what it may again."""

SHARED: Final = 3600.0
"""Seconds after a 432 for which no unused connection is kept: other pods have use for it."""

LINGER: Final = 0.3
"""Seconds for which an unused connection is kept then: an app that sends its next message when it has read 250 keeps
its slice."""

PATIENCE: Final = 5.0
"""Seconds within which an app that was told 451 tries again, and still waits for the same slice."""


class State(Enum):
    """What the relay does with its share; the text at the top explains each state."""

    ALONE = "alone"
    WAITING = "waiting"
    SENDING = "sending"
    PROBING = "probing"


class FairShare:
    """One relay's share. The pool tells it of each connection that it opens and closes, by any value that names it."""

    def __init__(self, *, dice: Dice) -> None:
        self.dice = dice
        self.state = State.ALONE
        self.open = 0
        """Connections that are open or being opened."""
        self.used: dict[object, float] = {}
        """Seconds of submitting in this slice, of each connection that has had a message accepted."""
        self.spent: set[object] = set()
        """Connections to be released when they come back: the slice is over, or Exchange said 432."""
        self.resume_at = 0.0
        """When the next attempt may begin."""
        self.interval, self.measured = FIRST_INTERVAL, False
        self.wanted_at = self.last_throttled = float("-inf")
        self.waiting_since = 0.0
        self.misses = 0
        """How often Exchange said 432 in this wait."""
        self.streak = 0
        """Slices in a row that began without a 432."""
        self.lone_slice = SLICE
        self.slice_used = 0.0
        self.probe_refused = False

    @property
    def sharing(self) -> bool:
        """Whether other pods are known to use this mailbox now."""
        return self.state is not State.ALONE

    def share(self, *, limit: int) -> float:
        """Submissions at once that it allows itself, as the metric shows it; below one, on average over time."""
        return min(1.0, SLICE / self.interval) if self.sharing else float(limit)

    def linger(self, *, now: float) -> float:
        """Seconds for which an unused connection may be kept."""
        return LINGER if self.sharing or now - self.last_throttled < SHARED else float("inf")

    # --- When to open a connection ----------------------------------------------------------------------------------

    def may_open(self, *, limit: int, now: float) -> bool:
        """Whether a connection may be opened in addition to those that are open, at most `limit`."""
        if self.open >= limit:
            return False
        if self.state is State.PROBING:
            return self.open <= len(self.used)  # the others are not attempts themselves
        return now >= self.resume_at and (self.state is State.ALONE or not self.open)

    def wanted(self, *, anew: bool, now: float) -> None:
        """There is a message to send. `anew`: there was none before, so waiting begins now, unless it just ended."""
        if anew and self.sharing and now - self.wanted_at > PATIENCE and now > self.resume_at:
            if now - self.waiting_since > self.interval:  # what was measured is old
                self.interval, self.measured, self.streak = FIRST_INTERVAL, False, 0
            self.waiting_since, self.misses = now, 0
        self.wanted_at = now

    def opening(self) -> None:
        """The pool opens a connection."""
        self.open += 1

    # --- What Exchange says -----------------------------------------------------------------------------------------

    def throttled(self, connection: object | None, *, now: float) -> None:
        """Exchange said 432 on this connection; None: to the AUTH of one that is being opened."""
        self.last_throttled = now
        if connection is not None:
            self.spent.add(connection)
        if not self.sharing:
            self.interval, self.measured = FIRST_INTERVAL, False
            self.waiting_since, self.misses, self.streak = now, 0, 0
        if self.open > 1:
            self.state, self.probe_refused = State.SENDING, True
            return
        self.state = State.WAITING
        self.misses += 1
        self._pause(self._between_attempts(), now=now)

    def _between_attempts(self) -> float:
        root: float = (self.interval / PAUSE_INTERVAL) ** PAUSE_EXPONENT
        pause = min(PAUSE * root, 0.9 * self.interval) / min(1 + MISS * self.misses, 4)
        return pause if self.measured else min(pause, FIRST_PAUSES.pause(self.misses))

    def _pause(self, seconds: float, *, now: float) -> None:
        self.resume_at = max(self.resume_at, now + seconds * self.dice(*JITTER))

    def accepted(self, connection: object, *, seconds: float, limit: int, now: float) -> None:
        """Exchange accepted a message on this connection, after `seconds`."""
        first = connection not in self.used
        used = self.used[connection] = self.used.get(connection, 0.0) + seconds
        if not self.sharing:
            if used >= self.lone_slice:
                self.spent.add(connection)
            return
        if first:
            beside_another = self.open > 1
            if not beside_another:
                self._measure(now - seconds - self.waiting_since)
            self.state = State.SENDING
            if self.streak >= 2 and now - self.last_throttled > CLEAR:
                self.state, self.lone_slice = State.ALONE, SLICE
            if beside_another:  # there is room: the slices of all connections begin anew
                self.used = dict.fromkeys(self.used, 0.0)
                return
        if used < SLICE - seconds:  # not yet the last of this slice
            return
        if self.streak >= 2 and self.open < limit and not self.probe_refused and used < 2 * SLICE:
            self.state = State.PROBING if self.sharing else State.ALONE
        elif used >= SLICE:
            self.spent.add(connection)

    def _measure(self, waited: float) -> None:
        """The mean of the assumed and the measured interval; less if the gap alone was too long."""
        self.streak = 0 if self.misses else self.streak + 1
        self.interval = max((self.interval + waited + SLICE) / 2, SLICE)
        if self.streak >= 2:
            self.interval = max(0.6 * self.interval, SLICE)
        self.measured, self.probe_refused = True, False

    # --- When a connection is closed --------------------------------------------------------------------------------

    def keeps(self, connection: object) -> bool:
        """Whether the pool may keep this connection for the next message."""
        return connection not in self.spent

    def released(self, connection: object, *, at: float) -> None:
        """The pool closes a connection in good order, which was last used then.

        After a part of a slice the gap is a part of the gap.
        """
        over, used = connection in self.spent, self.used.get(connection)
        self.lost(connection)
        if used is None and over:
            return  # it was no slice: its first answer was 432
        if not self.sharing:
            if over:
                self.lone_slice = min(2 * self.lone_slice, LONGEST_SLICE)
                self.resume_at = max(self.resume_at, at + self.dice(*GAP))
            return
        self.slice_used = max(self.slice_used, used or 0.0)
        self.state = State.SENDING if self.open else State.WAITING
        if not self.open:
            self.waiting_since, self.misses, self.probe_refused = at, 0, False
            share, self.slice_used = min(self.slice_used / SLICE, 1.0), 0.0
            self._pause(max(share * GAP_SHARE * (self.interval - SLICE), GAP[0]), now=at)

    def lost(self, connection: object | None) -> None:
        """A connection is gone, or could not be opened (None). That does not end a slice."""
        self.open -= 1
        self.used.pop(connection, None)
        self.spent.discard(connection)
        if self.sharing and not self.open:
            self.state = State.WAITING
