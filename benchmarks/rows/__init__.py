"""Each row measures one thing for all programs that it compares."""

from collections.abc import Callable
from typing import Final

from benchmarks.rig import Rig
from benchmarks.rows import (
    added_time,
    backlog,
    calls,
    cold_pool,
    hostile,
    injected_start,
    large_bodies,
    resources,
    spooled,
    throughput,
)

ROWS: Final[dict[str, Callable[[Rig], None]]] = {
    "throughput": throughput.measure,
    "added-time": added_time.measure,
    "cold-pool": cold_pool.measure,
    "large-bodies": large_bodies.measure,
    "resources": resources.measure,
    "hostile-sessions": hostile.measure,
    "calls": calls.measure,
    "spooled": spooled.measure,
    "backlog": backlog.measure,
    "injected-start": injected_start.measure,
}
"""The rows by their name in `--only`, in the order in which they run."""
