"""Messages that go to disk before their 250, compared with Postfix's queue: one disk, both sync file and entry.

The host is away, so every message goes to disk on both sides; then it comes back, and the queue is drained.
"""

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol

from benchmarks import load
from benchmarks.missing import NotMeasured
from benchmarks.peers import Peer, free_port
from benchmarks.postfix import Postfix
from benchmarks.rig import Rig

SIZE: Final = 4096
CLIENTS: Final = (1, 10)
PATIENCE: Final = 300.0
"""Seconds within which the host must have everything."""


class Queue(Protocol):
    """A relay with a queue on disk."""

    @property
    def name(self) -> str:
        """The name of the program."""

    @property
    def port(self) -> int:
        """The port of the queue."""


def measure(rig: Rig) -> None:
    """Accept messages while the host is away, drain them when it is back; interleaved rounds."""
    rig.results.conditions["spooled"] = {
        "bytes": SIZE,
        "clients": list(CLIENTS),
        "messages": rig.size.spooled,
        "rounds": rig.size.rounds,
    }
    hosts = {"sidecar": free_port(), "postfix": free_port()}
    with ExitStack() as running:
        queues: list[Queue] = [running.enter_context(rig.spooling(hosts["sidecar"], _emptied(rig, "spool")))]
        try:
            postfix = Postfix(hosts["postfix"], authority=rig.authority, folder=_emptied(rig, "postfix"))
            queues.append(running.enter_context(postfix))
            rig.results.conditions["postfix"] = postfix.configuration
        except NotMeasured as why:
            rig.results.missing["postfix"] = str(why)
        for number in range(rig.size.rounds + 1):
            for clients in CLIENTS:
                for queue in queues:
                    _accepted(rig, queue, clients, counts=number > 0)  # the first warms up
        for queue in queues:
            _drained(rig, queue, hosts[queue.name])


def _emptied(rig: Rig, name: str) -> Path:
    folder = rig.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _accepted(rig: Rig, queue: Queue, clients: int, *, counts: bool) -> None:
    seconds = load.timed(load.kept(queue.port, apps=clients, messages=rig.size.spooled, size=SIZE))
    if counts:
        rig.results.add(f"to disk, {clients} at once: messages a second", queue.name, rig.size.spooled / seconds)


def _drained(rig: Rig, queue: Queue, port: int) -> None:
    """Seconds from the first message that the host gets to the last."""
    expected = rig.size.spooled * (rig.size.rounds + 1) * len(CLIENTS)
    with rig.sink(port=port) as sink:
        if isinstance(queue, Postfix):
            queue.flush()
        came = arrived(sink, expected)
    rig.results.add("drained: messages a second", queue.name, (expected - 1) / (came["last"] - came["first"]))
    rig.results.add("drained: messages a connection", queue.name, expected / came["connections"])


def arrived(sink: Peer, expected: int) -> dict[str, float]:
    """The host's counts, once it has so many messages."""
    deadline = time.monotonic() + PATIENCE
    while (came := sink.told())["messages"] < expected:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{came['messages']} of {expected} messages after {PATIENCE:.0f} s")
        time.sleep(0.05)
    return came
