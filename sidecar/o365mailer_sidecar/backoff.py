"""A pause that doubles with each failure: the one rule for every retry of the relay. Pure; chance is passed in."""

import os
from collections.abc import Callable
from typing import NamedTuple

Dice = Callable[[float, float], float]
"""Gives a random number between two."""


def uniform(low: float, high: float) -> float:
    """The dice of a real process. Importing `random` for this would cost each pod 0.5 MB of memory."""
    return low + (high - low) * int.from_bytes(os.urandom(7), "big") / 2**56


class Backoff(NamedTuple):
    """All in seconds."""

    first: float
    longest: float
    jitter: tuple[float, float] = (1.0, 1.0)
    """A pause is multiplied by a random number between these, so that pods that failed together retry apart."""

    def pause(self, failures: int, dice: Dice = uniform) -> float:
        """How long to wait after so many failures in a row; `first`, but for the jitter, after one."""
        return min(self.first * 2.0 ** min(max(failures - 1, 0), 60), self.longest) * dice(*self.jitter)
