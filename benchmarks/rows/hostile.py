"""The memory that hostile headers take, when all but one of the possible sessions send one at once."""

import socket
from itertools import cycle, islice
from typing import Final

from benchmarks import load
from benchmarks.load import MAILBOX
from benchmarks.rig import Rig

SESSIONS: Final = 99
ALMOST: Final = 2**18 - 2**10
"""The largest message, in bytes, that the relay keeps in memory."""
DELAY: Final = 0.05
"""Seconds until the host has accepted a message. All others wait meanwhile."""
MEMBERS: Final = {
    "senders": {"onMismatch": "Rewrite"},
    "limits": {"connections": 1},
    "delivery": {"confirmWithin": "10m"},
}
"""One connection, which an ordinary message has just opened: the relay reads the headers of all before it does anything
else, and on a busy machine another connection would time out meanwhile."""
PATIENCE: Final = 120.0


def filled(before: bytes, repeated: bytes, after: bytes, *, size: int = ALMOST) -> bytes:
    """A header of so many bytes, nearly all of it one repeated text."""
    return before + repeated * ((size - len(before) - len(after)) // len(repeated)) + after + b"\r\n"


FIELD: Final = 2**16 - 2**8
"""Bytes of a field of addresses that the relay reads."""

LONG: Final = filled(b"X: ", b"y", b"", size=ALMOST - FIELD)
HEADERS: Final = (
    filled(b"X: y\r\nfrom", b" ", b""),
    filled(b"From:", b"\r\n ", MAILBOX.encode(), size=FIELD) + LONG,
    filled(b"X: y\r\n", b"\r\n ", b"x"),
    filled(b"From: a@b.c\r\n", b"Bcc:\r\nX:\r\n", b"Y: z"),
    filled(b"From: a@b.c\r\n", b"Reply-To:\r\n", b"Y: z"),
    filled(b"From: ", b"a,", b"1@b", size=FIELD) + LONG,
    filled(b"From: ", b"1@b,", b"1@b", size=3_600) + LONG,
    filled(b'From: "', b"\\a", b'" <a@b.c>', size=FIELD) + LONG,
)
"""Headers for which a careless parser takes many times the memory of the message."""


def measure(rig: Rig) -> None:
    """Measure peak memory. Every message must get a 250 or a 5xx."""
    rig.results.conditions["hostile-sessions"] = {"sessions": SESSIONS, "rounds": rig.size.rounds}
    for _ in range(rig.size.rounds):
        with rig.sink(delay=DELAY) as sink, rig.sidecar(sink.port, members=MEMBERS) as sidecar:
            apps = [_begun(sidecar.port, header) for header in islice(cycle(HEADERS), SESSIONS)]
            load.timed(load.kept(sidecar.port, apps=1, messages=1, size=4096))
            for app in apps:
                app.sendall(b".\r\n")
            answers = [_reply(app) for app in apps]
            rig.results.add("99 hostile sessions: peak memory (MiB)", "sidecar", sidecar.memory("VmHWM"))
            for app in apps:
                app.close()
        assert {answer[:1] for answer in answers} <= {b"2", b"5"}, answers


def _begun(port: int, header: bytes) -> socket.socket:
    """A session that has sent its message except the end of data."""
    app = socket.create_connection(("127.0.0.1", port), PATIENCE)
    _reply(app)
    for command in (b"HELO x", b"MAIL FROM:<%s>" % MAILBOX.encode(), b"RCPT TO:<a@example.com>", b"DATA"):
        app.sendall(command + b"\r\n")
        _reply(app)
    app.sendall(header + b"\r\nbody\r\n")
    return app


def _reply(app: socket.socket) -> bytes:
    answer = b""
    while not answer.endswith(b"\n"):
        answer += app.recv(2**12)
    return answer
