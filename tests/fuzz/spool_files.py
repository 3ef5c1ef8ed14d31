"""Files of the spool as a torn write, a bad disk or an unlucky hand leaves them."""

import os
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Final

from o365mailer_sidecar.errors import Damaged
from o365mailer_sidecar.message.body import Body
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool import entry
from o365mailer_sidecar.spool.entry import Event, event_line, header_line

NOW: Final = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TO: Final = tuple(
    Recipient(address=address, parameters=("NOTIFY=NEVER",)) for address in ("a@b.c", "grüße@x.de", "d@e.f")
)
ENVELOPE: Final = Envelope(queue_id="2990A37EA2F3", sender=Sender(address="noreply@contoso.com"), recipients=TO)
CONTENTS: Final = (b"", b"Subject: x\r\n\r\nbody\r\n", b"\n{}\n" * 20, b"\xff" * 5000, b"x" * 300_000)
EVENTS: Final = (
    Event(at=NOW, event="attempt", outcome="deferred", reply="451 4.7.0 later", due=NOW),
    Event(at=NOW, event="attempt", accepted=("a@b.c",), refused={"d@e.f": "550 no"}),
    Event(at=NOW, event="hold"),
    Event(at=NOW, event="release"),
)
ODD_LINES: Final = (
    *(b"", b"{}", b"null", b"[]", b'{"event":"hold"}', b"\0" * 600, b'{"at":1,"event":"hold"}', b"[" * 50_000),
    *(
        b'{"x":' * 50_000,
        b"\xff\xfe",
        b'{"at":"2026-11-25T12:00:00Z","event":"explode"}',
        b'{"at":"0001-01-01T00:00:00Z"',
    ),
)


class SpoolJudge:
    """`inputs` counts files, `told` how they were taken."""

    def __init__(self, die: random.Random) -> None:
        self.die, self.inputs = die, 0
        self.told: Counter[str] = Counter()

    def step(self) -> None:
        """One file: read as the message that was stored, whole, or Damaged. Raises AssertionError otherwise."""
        self.inputs += 1
        content = self.die.choice(CONTENTS[:-1]) if self.die.random() < 0.98 else CONTENTS[-1]
        line = header_line(Message(ENVELOPE, Body(content, not content.isascii()), NOW))
        events = b"".join(self._line() for _ in range(self.die.randrange(5)))
        octets = self._broken(line, content, events)
        if b"unchecked" in octets:
            return
        file = os.fdopen(os.memfd_create("spool"), "w+b", buffering=0)
        try:
            file.write(octets)
            self._read(file.fileno(), content)
        finally:
            file.close()

    def _read(self, file: int, content: bytes) -> None:
        try:
            found = entry.read(file)
            with os.fdopen(os.dup(file), "rb", buffering=0) as copy:
                body = found.body(copy)
                arrived = b"".join(body.blocks())
        except Damaged:
            self.told["damaged"] += 1
            return
        self.told["whole"] += 1
        assert arrived == content
        assert found.header.envelope(settled=()) == ENVELOPE
        stored = found.queued()
        assert 0 <= stored.recipients <= len(TO)
        assert {to.address for to in found.header.envelope(settled=found.settled).recipients} <= {
            to.address for to in TO
        }

    def _line(self) -> bytes:
        """What happened, or what a crash made of it."""
        if self.die.random() < 0.2:
            return self.die.choice(ODD_LINES) + b"\n"
        line = event_line(self.die.choice(EVENTS))
        return line if self.die.random() < 0.8 else line[: self.die.randrange(len(line))]

    def _broken(self, line: bytes, content: bytes, events: bytes) -> bytes:
        """Whole, cut off, with a hole of zeros, with octets changed, or with something else in a place."""
        octets = bytearray(line + content + events)
        place, kind = self.die.randrange(len(octets)), self.die.randrange(6)
        if kind == 1:
            del octets[place:]
        elif kind == 2:
            octets[place : place + 512] = bytes(min(512, len(octets) - place))
        elif kind == 3:
            octets[place] ^= 1 << self.die.randrange(8)
        elif kind == 4:
            octets[place : place + self.die.randrange(9)] = self.die.randbytes(self.die.randrange(9))
        elif kind == 5:
            return bytes(octets[:place]) + self.die.choice(ODD_LINES) + bytes(octets[place:])
        return bytes(octets)
