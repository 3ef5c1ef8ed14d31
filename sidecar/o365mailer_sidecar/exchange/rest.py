"""The mailbox at rest: shut after Exchange has blocked it, held while a quota is used up or the mailbox is full. Pure.

While it rests nothing is sent, and nobody is made to wait. Then one message goes ahead, a probe: accepted, everything
goes on; refused in the same way, the rest is twice as long. Fifty pods that were told the same at the same time must
not probe at the same time, so every rest has a random length, up to twice what it is at least.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from o365mailer_sidecar.exchange.judgement import Judgement, Outcome
from o365mailer_sidecar.reply import Reply

SHUT: Final = (3600.0, 4 * 3600.0)
"""Seconds at least, first and longest. How long Exchange locks is unpublished, and trying meanwhile may lengthen it; in
the longest, whoever has unlocked the mailbox waits no longer than half a day."""

HELD: Final = (300.0, 1800.0)
"""Quotas slide over a day, and a mailbox is full until somebody empties it: an hour is soon enough to notice."""

UNAUTHORIZED: Final = (300.0, 900.0)
"""A new right takes half an hour to two hours to be known everywhere."""

LENGTHS: Final = {Outcome.SHUT: SHUT, Outcome.HELD: HELD, Outcome.UNAUTHORIZED: UNAUTHORIZED}

TRIES: Final = 3
"""430 "mailbox logon failure" and its like are said for a moment's trouble too: so many in a row are none."""

PROBE_PATIENCE: Final = 10.0
"""Seconds after which to ask again while a probe is under way."""

SUSPECT: Final = {
    "throttled-send-as": "send-as",
    "throttled-recipients": "recipient",
    "throttled-too-many-recipients": "recipients",
}
"""Lock → the class of messages that led to it, which is not to be the first that Exchange sees again."""


class Resting(NamedTuple):
    """Why nothing is sent now, and until when."""

    reply: Reply
    judgement: Judgement
    until: float


class Rest:
    """The state of one mailbox. `uniform` gives a random number between two."""

    def __init__(self, *, uniform: Callable[[float, float], float]) -> None:
        self.uniform = uniform
        self.cause: tuple[Reply, Judgement] | None = None
        self.length = self.until = self.lasting = 0.0
        self.probing = False
        self.failures = 0

    @property
    def reason(self) -> str:
        """Why it rests; empty when it does not."""
        return self.cause[1].reason if self.cause else ""

    @property
    def suspect(self) -> str:
        """The class of messages that may not be the first; empty: none."""
        return SUSPECT.get(self.reason, "")

    def resting(self, *, now: float, suspect: bool = False) -> Resting | None:
        """Why a message may not go ahead; None when it may. `suspect`: it is of the class that led here.

        A suspect goes ahead only when nothing else has within twice the time: there may be nothing else.
        """
        if not self.cause:
            return None
        until = self.until + (self.lasting if suspect else 0.0)
        if now >= until and self.probing:
            until = now + PROBE_PATIENCE
        return Resting(*self.cause, until) if now < until else None

    def refused(self, reply: Reply, judgement: Judgement, *, now: float) -> bool:
        """Exchange has said what the whole mailbox is meant by; True when that is the beginning of a rest."""
        if judgement.outcome is Outcome.UNAUTHORIZED and not self.cause:
            self.failures += 1
            if self.failures < TRIES:
                return False
        if self.cause and now < self.until:
            return False  # the answer to a message that was on its way
        first, longest = LENGTHS[judgement.outcome]
        self.length = min(2 * self.length, longest) if self.reason == judgement.reason else first
        self.lasting = self.length * self.uniform(1, 2)
        self.cause, self.until = (reply, judgement), now + self.lasting
        return True

    def accepted(self) -> bool:
        """Exchange has taken a message; True when that ends a rest."""
        ended = self.cause is not None
        self.cause, self.length, self.until, self.failures = None, 0.0, 0.0, 0
        return ended
