"""Random numbers for whoever must not act at the same moment as the others. `random` would cost 0.5 MB of memory."""

import os


def uniform(low: float, high: float) -> float:
    """One between the two."""
    return low + (high - low) * int.from_bytes(os.urandom(7), "big") / 2**56
