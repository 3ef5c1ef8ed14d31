"""The format of a spooled message: what its document shows can be read, and what is spoilt is never taken for whole."""

import json
import re
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.spooled import RECEIVED, body, content_of, envelope

from o365mailer_sidecar.errors import Damaged, Refused
from o365mailer_sidecar.message.body import Body
from o365mailer_sidecar.message.envelope import ADDRESS, Envelope, Recipient, Sender, domains
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.smtp.commands import parse_recipient
from o365mailer_sidecar.spool import entry
from o365mailer_sidecar.spool.entry import Entry, Event, event_line, header_line

DOCUMENT = Path(__file__).parents[2] / "docs" / "spool.md"

CONTENT = b"Subject: test\r\n\r\nHello\r\n"
GIVEN = envelope("2990A37EA2F3", "a@example.com", "b@example.com")
EVENT = Event(at=RECEIVED, event="attempt", reply="432 4.3.2 \r\n\u2028 crowded", accepted=("b@example.com",))
FILE = header_line(Message(GIVEN, body(CONTENT), RECEIVED)) + CONTENT + event_line(EVENT)


def read(text: bytes) -> tuple[Entry, bytes]:
    """What the spool would send of a file like this. Raises Damaged."""
    with tempfile.NamedTemporaryFile(buffering=0) as file:
        file.write(text)
        found = entry.read(file.fileno())
        with Path(file.name).open("rb", buffering=0) as again:
            return found, content_of(found.body(again))


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
    assert (found.held, found.attempts, found.settled) == (True, 1, {"c@example.com"})
    assert found.due == datetime(2026, 11, 26, 0, 1, 39, tzinfo=UTC)
    assert found.unread == 0


def test_the_documents_command_saves_the_message(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "2990A37EA2F3").write_bytes(documented())
    command = re.search(r"^\$ (f=damaged/.*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert command
    subprocess.run(["bash", "-c", command[1]], cwd=tmp_path, check=True)
    assert (tmp_path / "saved.eml").read_bytes() == b"Subject: invoice\r\n\r\nHello\r\n"


@given(place=st.integers(0, len(FILE) - 1), byte=st.integers(0, 255))
def test_no_changed_byte_sends_another_message(place: int, byte: int) -> None:
    spoilt = bytearray(FILE)
    spoilt[place] = byte
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
def test_any_bytes_are_read_or_damaged(text: bytes) -> None:
    with pytest.raises(Damaged):
        read(text)


@given(st.binary(max_size=300))
def test_any_bytes_after_the_message_leave_it_as_it_was(text: bytes) -> None:
    found, message = read(FILE[: -len(event_line(EVENT))] + text)
    assert message == CONTENT
    assert found.header.envelope(settled=()) == GIVEN


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
paths = st.from_regex(ADDRESS, fullmatch=True).filter(lambda address: domains(address) < 2)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


@given(
    address=paths,
    to=st.lists(paths.filter(bool), min_size=1, max_size=4),
    words=st.lists(words, max_size=3),
    content=st.binary(max_size=200),
)
def test_any_envelope_comes_back(address: str, to: list[str], words: list[str], content: bytes) -> None:
    sent = Envelope(
        queue_id="A1",
        sender=Sender(address=address, parameters=tuple(words), smtputf8=True),
        recipients=tuple(Recipient(address=each, parameters=tuple(words)) for each in to),
        protocol="SMTP",
    )
    found, message = read(header_line(Message(sent, Body(content), RECEIVED)) + content)
    assert (found.header.envelope(settled=()), message) == (sent, content)
    assert found.header.received == RECEIVED


@given(st.one_of(st.from_regex(rb"TO:<[^>]*>( [A-Za-z0-9=;,@.]*)?", fullmatch=True), text.map(str.encode)))
@example(b'TO:<"a@b \\" c"@example.com> NOTIFY=NEVER ORCPT=rfc822;x@y')
@example("TO:<grüße@example.com>".encode())
@example(b"TO:<@relay.example:postmaster>")
def test_whatever_an_app_may_say_can_be_read_back(argument: bytes) -> None:
    try:
        to = parse_recipient(argument)
    except Refused:
        return
    sent = Envelope(queue_id="A1", sender=Sender(address=to.address), recipients=(to,), protocol="ESMTPA")
    assert read(header_line(Message(sent, Body(CONTENT), RECEIVED)) + CONTENT)[0].header.envelope(settled=()) == sent


def unchecked(**members: object) -> bytes:
    """A file with these members in its header, as a person would write it."""
    header, _, rest = FILE.partition(b"\n")
    return json.dumps({**json.loads(header), **members, "crc32": "unchecked"}).encode() + b"\n" + rest


@pytest.mark.promise("spool-sets-damaged-files-aside")
@pytest.mark.parametrize(
    "address",
    ["x@evil>\r\nRCPT TO:<a@contoso.com", "x@evil>\nDATA", "a\r@b.c", "a\0@b.c", "a\x7f@b.c", "a b@c.d", "a>@b.c",
     "a@b.c> NOTIFY=NEVER", "a@b@c.d", 'a"b@c.d', '"a\r\n"@b.c', "a\u2028@b.c", "a\u0085@b.c"],
)  # fmt: skip
def test_an_address_that_could_become_another_command_is_damaged(address: str) -> None:
    assert read(unchecked(recipients=[{"address": "a@example.com"}]))[1] == CONTENT
    spoilt = ({"sender": {"address": address}}, {"recipients": [{"address": "a@example.com"}, {"address": address}]})
    for members in spoilt:
        with pytest.raises(Damaged, match="its header holds an address or a parameter that SMTP cannot carry"):
            read(unchecked(**members))


@pytest.mark.promise("spool-sets-damaged-files-aside")
@pytest.mark.parametrize("word", ["NOTIFY=NEVER\r\nDATA", "NOTIFY=NEVER DATA", "", "X=\0", "X=ä"])
def test_a_parameter_that_could_become_another_command_is_damaged(word: str) -> None:
    to = {"address": "a@example.com"}
    for members in (
        {"sender": {"address": "a@example.com", "parameters": [word]}},
        {"recipients": [to, {**to, "parameters": [word]}]},
    ):
        with pytest.raises(Damaged, match="SMTP cannot carry"):
            read(unchecked(**members))


@pytest.mark.promise("spool-sets-damaged-files-aside")
def test_a_header_without_recipients_or_with_a_line_in_its_protocol_is_damaged() -> None:
    for members, reason in (
        ({"recipients": []}, "its header names no recipient"),
        ({"recipients": [{"address": ""}]}, "SMTP cannot carry"),
        ({"protocol": "ESMTP\r\nBcc: a@b.c"}, "SMTP cannot carry"),
    ):
        with pytest.raises(Damaged, match=reason):
            read(unchecked(**members))


def test_a_version_adds_members_and_ignores_those_it_does_not_know() -> None:
    added = FILE.replace(b'"eightBit"', b'"later":{"a":1},"eightBit"', 1)
    crc = added.index(b'"crc32":"') + 9
    assert read(added[:crc] + b"unchecked" + added[crc + 8 :])[1] == CONTENT
