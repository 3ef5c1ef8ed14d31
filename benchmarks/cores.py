"""The relay has a core for itself; the apps and the host share the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ALL: Final = sorted(os.sched_getaffinity(0))
RELAY: Final = {ALL[0]}
OTHERS: Final = set(ALL[1:]) or RELAY
"""On a machine with one core the relay shares it. The results say how many cores there are."""


def leave_the_relays() -> None:
    """Keep this process and its later children off the relay's core."""
    os.sched_setaffinity(0, OTHERS)


@contextmanager
def on_the_relays() -> Iterator[None]:
    """A process that is started in this block is a relay: it and its children run on the relay's core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, RELAY)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
