"""The idle and the peak cost of a relay, in a fresh process for each round."""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Final

from benchmarks import load
from benchmarks.peers import Peer
from benchmarks.rig import Rig

SMALL: Final = 4096
LARGE: Final = 25 * 2**20
AT_ONCE: Final = 3
SETTLED: Final = 7.0
"""Seconds after a mail until the relay has closed its connection."""


def measure(rig: Rig) -> None:
    """Measure start, idle memory, peak memory and wake-ups."""
    rig.results.conditions["resources"] = {
        "rounds": rig.size.rounds,
        "large messages": f"{AT_ONCE} of {LARGE // 2**20} MiB at once",
        "silence": rig.size.silence,
    }
    with rig.sink() as sink:
        starts = (lambda: rig.sidecar(sink.port), lambda: rig.plain(sink.port))
        for _ in range(rig.size.rounds):
            for start in starts:
                _memory(rig, start)
        _silence(rig, starts)


def _memory(rig: Rig, start: Callable[[], Peer]) -> None:
    with start() as peer:
        rig.results.add("start until listening (ms)", peer.name, peer.listening_after * 1000)
        load.timed(load.kept(peer.port, apps=1, messages=1, size=SMALL))
        rig.results.add("idle memory (MiB)", peer.name, peer.memory("VmRSS"))
        load.timed(load.kept(peer.port, apps=AT_ONCE, messages=AT_ONCE, size=LARGE))
        rig.results.add("peak memory (MiB)", peer.name, peer.memory("VmHWM"))


def _silence(rig: Rig, starts: Iterable[Callable[[], Peer]]) -> None:
    """Measure memory after a mail, when the relay has closed its connection."""
    with ExitStack() as running:
        peers = [running.enter_context(start()) for start in starts]
        for peer in peers:
            load.timed(load.kept(peer.port, apps=1, messages=1, size=SMALL))
        time.sleep(SETTLED)
        before = [peer.wake_ups() for peer in peers]
        time.sleep(rig.size.silence)
        for peer, woken in zip(peers, before, strict=True):
            rig.results.add("wake-ups a second", peer.name, (peer.wake_ups() - woken) / rig.size.silence)
