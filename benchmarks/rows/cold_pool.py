"""One mail of a relay without an open connection, to a host 30 ms away: round trips, compared with the bare exchange.

The bare exchange is what RFC 5321, 3207 and 4954 ask for and nothing else, each command when the one before was
answered. A client that pipelines (RFC 2920) saves MAIL's and RCPT's: that is measured too, and the relay does so.
"""

import base64
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks import load
from benchmarks.peers import Peer
from benchmarks.rig import Rig

ROUND_TRIP: Final = 0.03
SIZE: Final = 4096
XOAUTH2: Final = base64.b64encode(f"user={load.MAILBOX}\1auth=Bearer token-not-a-secret\1\1".encode())


def measure(rig: Rig) -> None:
    """Measure round trips and milliseconds, one figure per round."""
    rig.results.conditions["cold-pool"] = {"round trip": ROUND_TRIP, "bytes": SIZE}
    for _ in range(rig.size.rounds):
        with rig.sink() as sink, distance(sink.port) as wire, rig.sidecar(wire.port) as sidecar:
            spent = load.timed(load.kept(sidecar.port, apps=1, messages=1, size=SIZE))
            note(rig, sidecar.name, wire.told()["turns"], spent)
        for pipelined in (False, True):
            with rig.sink() as sink, distance(sink.port) as wire:
                began = time.perf_counter()
                with bare(wire.port, str(rig.authority), pipelined=pipelined):
                    spent = time.perf_counter() - began
                    note(rig, "bare, pipelined" if pipelined else "bare", wire.told()["turns"], spent)


def note(rig: Rig, whose: str, turns: int, seconds: float) -> None:
    """Run one round."""
    rig.results.add("cold pool: round trips", whose, turns)
    rig.results.add("cold pool: one mail (ms)", whose, seconds * 1000)


def distance(port: int) -> Peer:
    """A connection with delay to this port."""
    return Peer("distance", ["-m", "benchmarks.distance", str(port), str(ROUND_TRIP)])


@contextmanager
def bare(port: int, authority: str, *, pipelined: bool) -> Iterator[None]:
    """Send one mail with only the required commands. The block begins when the host has it."""
    context = ssl.create_default_context(cafile=authority)
    with socket.create_connection(("127.0.0.1", port)) as clear:
        clear.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as asyncio does: EHLO must not wait for an ack
        _reply(clear)
        for command in (b"EHLO bare\r\n", b"STARTTLS\r\n"):
            _ask(clear, command)
        with context.wrap_socket(clear, server_hostname="127.0.0.1") as secured:
            _ask(secured, b"EHLO bare\r\n")
            _ask(secured, b"AUTH XOAUTH2 " + XOAUTH2 + b"\r\n")
            envelope = [f"MAIL FROM:<{load.MAILBOX}>\r\n".encode(), b"RCPT TO:<a@example.com>\r\n", b"DATA\r\n"]
            if pipelined:
                _ask(secured, b"".join(envelope), replies=len(envelope))
            else:
                for command in envelope:
                    _ask(secured, command)
            _ask(secured, load.message(SIZE))
            yield


def _ask(peer: socket.socket, content: bytes, *, replies: int = 1) -> None:
    peer.sendall(content)
    _reply(peer, count=replies)


def _reply(peer: socket.socket, *, count: int = 1) -> None:
    heard = b""
    while sum(line[3:4] == b" " for line in heard.split(b"\r\n")[:-1]) < count:
        part = peer.recv(4096)
        if not part:
            raise ConnectionError("the host hung up")
        heard += part
