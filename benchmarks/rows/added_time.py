"""The time that the relay adds to the host's reply: one app, one message at a time, an open connection to the host.

The host says in its reply how long it took; the rest of the time between the app's MAIL and its 250 is the relay's, the
app's three round trips with it included.
"""

import asyncio
import re
import time
from typing import Final

import uvloop

from benchmarks import load
from benchmarks.peers import Peer
from benchmarks.rig import Rig

SIZE: Final = 4096
DELAY: Final = 0.05
"""Seconds that the host waits before its reply."""
PAUSE: Final = 0.15
"""Seconds between messages: about five a second. What counts is that the relay has nothing else to do and its
connection is warm, as at one a second; 200 seconds are saved."""
TOOK: Final = re.compile(rb"taken after ([0-9.]+)")


def measure(rig: Rig) -> None:
    """Measure milliseconds, one figure per message."""
    rig.results.conditions["added-time"] = {"bytes": SIZE, "delay": DELAY, "pause": PAUSE}
    with rig.sink(delay=DELAY) as sink, rig.sidecar(sink.port) as sidecar:
        figures = uvloop.run(_send(sidecar, count=rig.size.timed + 2))
    # The first opens the connection, the second is the first in one flight.
    rig.results.add("time added (ms)", sidecar.name, *figures[2:])


async def _send(peer: Peer, *, count: int) -> list[float]:
    figures: list[float] = []
    for _ in range(count):
        began = [0.0]
        spent = [0.0, 0.0]

        def heard(said: bytes, reply: bytes, began: list[float] = began, spent: list[float] = spent) -> None:
            if said.startswith(b"EHLO"):  # what is said next is MAIL
                began[0] = time.monotonic()
            elif took := TOOK.search(reply):
                spent[:] = time.monotonic() - began[0], float(took[1])

        script = load.script(load.message(SIZE), messages=1)
        await load.session(peer.port, script, heard=heard)
        figures.append((spent[0] - spent[1]) * 1000)
        await asyncio.sleep(PAUSE)
    return figures
