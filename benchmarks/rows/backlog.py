"""A spool of 10,000 messages: filled through a sidecar whose host is away, and found again after a crash.

What is looked at: the memory of the one that filled it, and of the one that finds it, and how long a restart takes
until the host gets the first of them.
"""

from typing import Final

from benchmarks import load
from benchmarks.peers import free_port
from benchmarks.rig import Rig
from benchmarks.rows.spooled import arrived

SIZE: Final = 4096
CLIENTS: Final = 10


def measure(rig: Rig) -> None:
    """Measure one figure each."""
    rig.results.conditions["backlog"] = {"bytes": SIZE, "messages": rig.size.backlog}
    port, spool = free_port(), rig.folder / "backlog"
    spool.mkdir()
    with rig.spooling(port, spool) as filler:
        load.timed(load.kept(filler.port, apps=CLIENTS, messages=rig.size.backlog, size=SIZE))
        rig.results.add("backlog: memory with it (MiB)", filler.name, filler.memory("VmHWM"))
        filler.kill()
    with rig.sink(port=port) as sink, rig.spooling(port, spool) as finder:
        came = arrived(sink, 1)
        rig.results.add("backlog: restart until the first delivery (s)", finder.name, came["first"] - finder.began)
        arrived(sink, rig.size.backlog)
        rig.results.add("backlog: memory with it (MiB)", finder.name, finder.memory("VmHWM"))
