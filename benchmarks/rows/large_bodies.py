"""1 MiB messages from three apps, compared with a client that sends them over three connections itself."""

import subprocess
import sys
from typing import Final

from benchmarks import load
from benchmarks.cores import on_the_relays
from benchmarks.rig import Rig

SIZE: Final = 2**20
CONNECTIONS: Final = 3


def measure(rig: Rig) -> None:
    """Measure MiB per second, one figure per round. The raw client has the relay's core."""
    rig.results.conditions["large-bodies"] = {
        "bytes": SIZE,
        "connections": CONNECTIONS,
        "messages": rig.size.large,
        "rounds": rig.size.rounds,
    }
    volume = rig.size.large * SIZE / 2**20
    with rig.sink() as sink, rig.sidecar(sink.port) as sidecar:
        for number in range(rig.size.rounds + 1):
            spent = load.timed(load.kept(sidecar.port, apps=CONNECTIONS, messages=rig.size.large, size=SIZE))
            raw = _raw(sink.port, str(rig.authority), messages=rig.size.large)
            if number:  # the first warms up
                rig.results.add("1 MiB bodies: MiB a second", "sidecar", volume / spent)
                rig.results.add("1 MiB bodies: MiB a second", "raw client", volume / raw)


def _raw(port: int, authority: str, *, messages: int) -> float:
    numbers = [str(number) for number in (CONNECTIONS, messages, SIZE)]
    command = [sys.executable, "-m", "benchmarks.raw_client", str(port), authority, *numbers]
    with on_the_relays():
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
