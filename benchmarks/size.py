"""How much is measured: enough for a figure, or just enough to see that it runs."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Size:
    """Counts."""

    rounds: int
    messages: int
    """A round of 4 KiB messages."""
    logins: int
    """Of emailproxy, a round: each costs it a quarter of a second."""
    timed: int
    """Messages whose delay is looked at."""
    large: int
    """A round of 1 MiB messages."""
    silence: float
    """Seconds in which wake-ups are counted."""
    spooled: int
    """A round."""
    backlog: int
    mailers: int
    starts: int
    """Of pods on a real node, each with and without a sidecar; 0: no cluster is started."""


FULL: Final = Size(
    rounds=5,
    messages=1000,
    logins=20,
    timed=200,
    large=60,
    silence=20,
    spooled=400,
    backlog=10_000,
    mailers=1000,
    starts=20,
)
QUICK: Final = Size(
    rounds=1, messages=50, logins=1, timed=4, large=3, silence=2, spooled=20, backlog=50, mailers=20, starts=0
)
