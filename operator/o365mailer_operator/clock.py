"""The clocks of a process. Tests and benchmarks pass others."""

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass


def utc_now() -> datetime.datetime:
    """The wall clock, aware of its time zone."""
    return datetime.datetime.now(datetime.UTC)


def to_the_second(instant: datetime.datetime) -> datetime.datetime:
    """Kubernetes writes times in whole seconds: what is read back then equals what was written."""
    return instant.replace(microsecond=0)


@dataclass(frozen=True)
class Clock:
    """The wall clock, and one that never jumps."""

    now: Callable[[], datetime.datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    """Seconds."""
