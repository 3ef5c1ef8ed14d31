"""4 KiB messages from ten apps that wait for every reply: messages per second, and the relay's processor time."""

from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, Final

from benchmarks import load
from benchmarks.emailproxy import EmailProxy
from benchmarks.peers import Peer
from benchmarks.rig import Rig

SIZE: Final = 4096
APPS: Final = 10

KINDS: Final[dict[str, Callable[..., Coroutine[Any, Any, None]]]] = {"kept": load.kept, "new": load.new}


def measure(rig: Rig) -> None:
    """Measure in interleaved rounds, so that other load on the machine affects all programs."""
    rig.results.conditions["throughput"] = {
        "bytes": SIZE,
        "apps": APPS,
        "rounds": rig.size.rounds,
        "messages": rig.size.messages,
        "messages of emailproxy on new connections": rig.size.logins,
    }
    with ExitStack() as running:
        sink = running.enter_context(rig.sink())
        peers = [
            running.enter_context(rig.sidecar(sink.port)),
            running.enter_context(rig.plain(sink.port)),
            running.enter_context(EmailProxy(sink.port, authority=rig.authority, folder=rig.folder)),
        ]
        for number in range(rig.size.rounds + 1):
            for kind in KINDS:
                for peer in peers:
                    _round(rig, kind, peer, counts=number > 0)  # the first warms up


def _round(rig: Rig, kind: str, peer: Peer, *, counts: bool) -> None:
    slow = peer.login and kind == "new"
    messages, apps = (rig.size.logins, 1) if slow else (rig.size.messages, APPS)
    before = peer.processor_seconds()
    seconds = load.timed(KINDS[kind](peer.port, apps=apps, messages=messages, size=SIZE, login=peer.login))
    used = peer.processor_seconds() - before
    if counts:
        rig.results.add(f"{kind}: messages a second", peer.name, messages / seconds)
        rig.results.add(f"{kind}: processor time a message (µs)", peer.name, used / messages * 1e6)
