"""Files of the spool after a torn write, on a bad disk or edited by hand: the message that was stored, or damaged."""

import os
from collections import Counter
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

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


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """What happened, or what a crash made of it."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(ODD_LINES)) + b"\n"
    line = event_line(draw(st.sampled_from(EVENTS)))
    return line[: draw(st.integers(0, len(line) - 1))] if draw(st.integers(0, 4)) == 0 else line


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """Whole, cut off, with a hole of zeros, with bytes changed, or with something else in a place."""
    content, place = bytearray(whole), draw(st.integers(0, len(whole) - 1))
    match draw(st.integers(0, 5)):
        case 1:
            del content[place:]
        case 2:
            content[place : place + 512] = bytes(min(512, len(content) - place))
        case 3:
            content[place] ^= 1 << draw(st.integers(0, 7))
        case 4:
            content[place : place + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
        case 5:
            content[place:place] = draw(st.sampled_from(ODD_LINES))
    return bytes(content)


def read(file: int, content: bytes) -> str:
    """How the file is taken; if it is whole, it holds what was stored."""
    try:
        found = entry.read(file)
        with os.fdopen(os.dup(file), "rb", buffering=0) as copy:
            arrived = b"".join(found.body(copy).blocks())
    except Damaged:
        return "damaged"
    assert arrived == content
    assert found.header.envelope(settled=()) == ENVELOPE
    assert 0 <= found.queued().recipients <= len(TO)
    left = found.header.envelope(settled=found.settled).recipients
    assert {to.address for to in left} <= {to.address for to in TO}
    return "whole"


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.timeout(3600)  # `make fuzz`
def test_a_spool_file_is_the_message_that_was_stored_or_is_called_damaged() -> None:
    told: Counter[str] = Counter()

    @settings(max_examples=10 * settings().max_examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data(), st.sampled_from(CONTENTS), st.lists(lines(), max_size=4).map(b"".join))
    def judge(data: st.DataObject, content: bytes, events: bytes) -> None:
        line = header_line(Message(ENVELOPE, Body(content, not content.isascii()), NOW))
        stored = data.draw(broken(line + content + events))
        assume(b"unchecked" not in stored)
        with os.fdopen(os.memfd_create("spool"), "w+b", buffering=0) as file:
            file.write(stored)
            told[read(file.fileno(), content)] += 1

    judge()
    assert min(told["whole"], told["damaged"]) > 3 * settings().max_examples
