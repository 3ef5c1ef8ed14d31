"""Waiting for what nobody announces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
PAUSE = 0.3
"""Seconds. Most questions start a kubectl, on a machine that has other work."""


def eventually(look: Callable[[], Found | None], what: str, *, within: float = 30.0, pause: float = PAUSE) -> Found:
    """What `look` finds, asked every `pause` seconds until it is something; fails with `what` was awaited, after
    `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(pause)
    return found
