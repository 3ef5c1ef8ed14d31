"""A relay whose event loop hangs says where it hangs, and ends: kubelet starts it again.

faulthandler's own thread needs neither the event loop nor the interpreter's lock, so a loop that hangs in C code is
ended too. What it writes are files, lines and function names, and no values.

A process that was stopped (SIGSTOP, `docker pause`) for longer than the limit looks like one that hung, and ends when
it continues. A message that got a 250 is safe, as after any crash. A suspended machine does not count: the
thread waits by CLOCK_MONOTONIC, which stands still meanwhile. That holds on Linux. Elsewhere Python waits by the time
of day, and a laptop that wakes up would end its relay, so there is no watchdog.
"""

import asyncio
import faulthandler
import sys
from typing import Final

LIMIT: Final = 60.0
"""Seconds without a turn of the event loop. The longest steps are a few seconds, of a slow disk."""


def watch(loop: asyncio.AbstractEventLoop, limit: float = LIMIT) -> None:
    """End the process, with status 1, as soon as this loop has not run for that many seconds."""
    if sys.platform == "linux":
        faulthandler.dump_traceback_later(limit, exit=True)
        loop.call_later(limit / 4, watch, loop, limit)
