"""The clocks of a process. Tests and benchmarks pass others."""

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass


def utc_now() -> datetime.datetime:
    """The wall clock, aware of its time zone."""
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Clock:
    """The wall clock, and one that never jumps."""

    now: Callable[[], datetime.datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    """Seconds."""
