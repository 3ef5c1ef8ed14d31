"""Waiting for what no event announces."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def eventually(
    look: Callable[[], Found | None], what: str = "it", *, within: float = 30.0, pause: float = 0.05
) -> Found:
    """The first answer that is true, asked for every `pause` seconds.

    AssertionError that names `what` after `within` seconds.
    """
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(pause)
    return found
