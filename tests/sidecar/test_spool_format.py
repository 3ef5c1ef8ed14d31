"""The format of a spooled message: what its document shows can be read, and what is spoilt is never taken for whole."""

import re
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spooled import RECEIVED, body, envelope, octets

from o365mailer_sidecar.errors import Damaged
from o365mailer_sidecar.mail.body import Body
from o365mailer_sidecar.mail.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.spool import entry
from o365mailer_sidecar.spool.entry import Entry
from o365mailer_sidecar.spool.record import Event, event_line, header_line

DOCUMENT = Path(__file__).parents[2] / "docs" / "spool.md"

CONTENT = b"Subject: test\r\n\r\nHello\r\n"
GIVEN = envelope("2990A37EA2F3", "a@example.com", "b@example.com")
EVENT = Event(at=RECEIVED, event="attempt", reply="432 4.3.2 \r\n\u2028 crowded", accepted=("b@example.com",))
FILE = header_line(GIVEN, body(CONTENT), received=RECEIVED) + CONTENT + event_line(EVENT)


def read(text: bytes) -> tuple[Entry, bytes]:
    """What the spool would send of a file like this. Raises Damaged."""
    with tempfile.NamedTemporaryFile(buffering=0) as file:
        file.write(text)
        found = entry.read(file.fileno())
        with Path(file.name).open("rb", buffering=0) as again:
            return found, octets(found.body(again))


def documented() -> bytes:
    """The example, with the line ends of mail."""
    block = re.search(r"```\n(\{.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert block
    header, *message, first, second = block[1].splitlines()
    return "\n".join([header, *(f"{line}\r" for line in message), first, second, ""]).encode()


def test_the_example_of_the_document_is_read_as_it_says() -> None:
    found, message = read(documented())
    assert message == b"Subject: invoice\r\n\r\nHello\r\n"
    assert [to.parameters for to in found.header.recipients] == [("NOTIFY=FAILURE",), ()]
    assert (found.standing.held, found.standing.attempts, found.standing.settled) == (True, 1, {"c@example.com"})
    assert found.standing.due == datetime(2026, 11, 26, 0, 1, 39, tzinfo=UTC)
    assert found.unread == 0


def test_the_documents_command_saves_the_message(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "2990A37EA2F3").write_bytes(documented())
    command = re.search(r"^\$ (f=damaged/.*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert command
    subprocess.run(["bash", "-c", command[1]], cwd=tmp_path, check=True)
    assert (tmp_path / "saved.eml").read_bytes() == b"Subject: invoice\r\n\r\nHello\r\n"


@given(place=st.integers(0, len(FILE) - 1), octet=st.integers(0, 255))
def test_no_octet_that_was_changed_sends_another_message(place: int, octet: int) -> None:
    spoilt = bytearray(FILE)
    spoilt[place] = octet
    try:
        found, message = read(bytes(spoilt))
    except Damaged:
        assert spoilt != FILE
        return
    assert message == CONTENT
    assert found.header.envelope(settled=()) == GIVEN


@given(end=st.integers(0, len(FILE)), padding=st.integers(0, 200))
def test_no_file_that_was_cut_sends_a_part(end: int, padding: int) -> None:
    try:
        found, message = read(FILE[:end] + bytes(padding))
    except Damaged:
        assert end < len(FILE)
        return
    assert message == CONTENT
    assert found.header.envelope(settled=()) == GIVEN


@given(st.binary(max_size=300))
def test_any_octets_are_read_or_damaged(text: bytes) -> None:
    with pytest.raises(Damaged):
        read(text)


@given(st.binary(max_size=300))
def test_any_octets_behind_the_message_leave_it_as_it_was(text: bytes) -> None:
    found, message = read(FILE[: -len(event_line(EVENT))] + text)
    assert message == CONTENT
    assert found.header.envelope(settled=()) == GIVEN


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(address=text, to=st.lists(text, max_size=4), words=st.lists(text, max_size=3), content=st.binary(max_size=200))
def test_any_envelope_comes_back(address: str, to: list[str], words: list[str], content: bytes) -> None:
    sent = Envelope(
        queue_id="A1",
        sender=Sender(address=address, parameters=tuple(words), smtputf8=True),
        recipients=tuple(Recipient(address=each, parameters=tuple(words)) for each in to),
        protocol="SMTP",
    )
    found, message = read(header_line(sent, Body(content), received=RECEIVED) + content)
    assert (found.header.envelope(settled=()), message) == (sent, content)
    assert found.header.received == RECEIVED


def test_a_version_adds_members_and_ignores_those_it_does_not_know() -> None:
    added = FILE.replace(b'"eightBit"', b'"later":{"a":1},"eightBit"', 1)
    crc = added.index(b'"crc32":"') + 9
    assert read(added[:crc] + b"unchecked" + added[crc + 8 :])[1] == CONTENT
