"""The relay has a core for itself; the apps and the host share the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ALL: Final = sorted(os.sched_getaffinity(0))
RELAY: Final = {ALL[0]}
OTHERS: Final = set(ALL[1:]) or RELAY
"""On a machine of one core nobody has one for itself; the results say how many there are."""


def leave_the_relays() -> None:
    """From here on this process, and what it starts, stays off the relay's core."""
    os.sched_setaffinity(0, OTHERS)


@contextmanager
def on_the_relays() -> Iterator[None]:
    """What is started in this block is a relay, with all its threads and children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, RELAY)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
