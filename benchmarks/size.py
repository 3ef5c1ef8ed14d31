"""How much a run measures: enough for a figure, or just enough to see that it runs."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Size:
    """The counts of a run."""

    rounds: int
    messages: int
    """4 KiB messages per round."""
    logins: int
    """Messages per round on new connections of emailproxy, which needs a quarter of a second for each."""
    timed: int
    """Messages whose added time is measured."""
    large: int
    """1 MiB messages per round."""
    silence: float
    """Seconds in which wake-ups are counted."""
    spooled: int
    """A round."""
    backlog: int
    starts: int
    """Starts of pods on a real node, each with and without a sidecar; 0: start no cluster."""


FULL: Final = Size(
    rounds=5,
    messages=1000,
    logins=20,
    timed=200,
    large=60,
    silence=20,
    spooled=400,
    backlog=10_000,
    starts=20,
)
QUICK: Final = Size(rounds=1, messages=50, logins=1, timed=4, large=3, silence=2, spooled=20, backlog=50, starts=0)
