"""A message in the spool: stored, read, marked, sent, moved to the dead letters, and found again after a restart."""

import asyncio
import os
import threading
import tracemalloc
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from support.spooled import RECEIVED, Reports, body, content_of, envelope, files, recovered, spool_in

from o365mailer_sidecar.errors import Damaged, Gone, SpoolFull, StoreFailed
from o365mailer_sidecar.message.body import MEMORY, Body
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool.disk import Disk
from o365mailer_sidecar.spool.entry import Event, QueueEntry, header_line

BODIES = {
    "small": b"Subject: small\r\n\r\n.dots\r\n..\r\n",
    "empty": b"",
    "8-bit": "Subject: ä\r\n\r\n€\r\n".encode(),
    "like a record": b'{"at":"2026-11-25T12:00:00Z","event":"hold"}\r\n',
    "as large as memory": b"x" * (MEMORY - 2) + b"\r\n",
    "large": b"Subject: large\r\n\r\n" + b"".join(b"%075d\r\n" % number for number in range(9_000)),
}


@pytest.mark.parametrize("content", BODIES.values(), ids=BODIES)
async def test_every_byte_is_the_same_after_a_restart(tmp_path: Path, content: bytes) -> None:
    with spool_in(tmp_path) as spool:
        await spool.store(Message(envelope(), body(content), RECEIVED))
    with spool_in(tmp_path) as spool:
        (stored,) = spool.recovered()
        opened = await spool.open(stored)
        found, message = opened.envelope, opened.body
        assert found == envelope()
        assert (stored.received, stored.size, stored.attempts) == (RECEIVED, len(content), 0)
        assert (len(message), message.eight_bit) == (len(content), not content.isascii())
        assert message.content == content[:MEMORY]
        assert b"".join(message.blocks(start=5)) == content[5:]
        assert content_of(message) == content


@pytest.mark.promise("spool-sets-damaged-files-aside", "spool-survives-crash")
async def test_a_large_message_that_changes_while_it_is_stored_is_not_acknowledged(tmp_path: Path) -> None:
    large = body(BODIES["large"])
    assert large.file

    class Meddling(Disk):
        """Changes the scratch file after it was read for the checksum."""

        meddles = True

        def write(self, file: int, pieces: Sequence[bytes | bytearray]) -> None:
            """The header's line comes first."""
            if self.meddles:
                self.meddles = False
                assert large.file
                os.pwrite(large.file.fileno(), b"X", len(large) - 5)
            super().write(file, pieces)

    with spool_in(tmp_path, disk=Meddling()) as spool:
        with pytest.raises(StoreFailed, match="it cannot be read back: its checksum is wrong"):
            await spool.store(Message(envelope(), large, RECEIVED))
        assert (files(tmp_path), len(spool.messages)) == ({}, 0)
        await spool.store(Message(envelope(), large, RECEIVED))
    with spool_in(tmp_path) as spool:
        (found,) = spool.recovered()
        assert content_of((await spool.open(found)).body) == content_of(large)


@pytest.mark.promise("spool-sets-damaged-files-aside")
async def test_a_file_that_is_set_aside_replaces_no_other(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for _ in range(3):
            stored = await spool.store(Message(envelope("A"), body(), RECEIVED))
            (tmp_path / "0" / "queue" / "A").write_bytes(b"spoilt")
            with pytest.raises(Damaged):
                await spool.open(stored)
    assert files(tmp_path, "damaged").keys() == {"A", "A.1", "A.2"}


async def test_a_directory_that_a_person_has_removed_is_empty_until_the_next_start(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        (tmp_path / "0" / "dead").rmdir()
        (tmp_path / "0" / "damaged").rmdir()
        assert (spool.dead, spool.damaged, spool.expire_dead(keep=0)) == (0, 0, 0)
    with spool_in(tmp_path):
        assert files(tmp_path, "dead") == files(tmp_path, "damaged") == {}


async def test_a_file_that_could_not_be_read_is_tried_again_and_told_once(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        await spool.store(Message(envelope("A"), body(), RECEIVED))
    file, away = tmp_path / "0" / "queue" / "A", tmp_path / "away"
    file.rename(away)
    file.symlink_to(file)
    reports = Reports()
    with spool_in(tmp_path, reports=reports) as spool:
        assert recovered(spool) == {}
        assert await spool.take_over() == []
        away.rename(file)
        (found,) = await spool.take_over()
        assert content_of((await spool.open(found)).body) == content_of(body())
        file.rename(away)
        file.symlink_to(file)
        for _ in range(2):
            with pytest.raises(StoreFailed, match="Too many levels of symbolic links"):
                await spool.open(found)
    told = {"file": "A", "reason": "Too many levels of symbolic links"}
    assert reports.named("spool_unreadable") == [told, told], "once a time, with the file's name"
    assert reports.named("spool_failed") == []


async def test_everything_of_the_envelope_comes_back(tmp_path: Path) -> None:
    given = Envelope(
        queue_id="ABC123",
        sender=Sender(address="jörg@contoso.com", smtputf8=True, parameters=("RET=HDRS", "ENVID=x+3D1")),
        recipients=(
            Recipient(address='"a \\" b"@example.com', parameters=("NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;a@b")),
            Recipient(address="ü@example.com"),
        ),
        protocol="ESMTPA",
    )
    with spool_in(tmp_path) as spool:
        stored = await spool.store(Message(given, body(), RECEIVED))
        opened = await spool.open(stored)
        found, message = opened.envelope, opened.body
        message.close()
    assert found == given


async def test_what_happened_to_a_message_is_known_after_a_restart(tmp_path: Path) -> None:
    due = RECEIVED + timedelta(minutes=5)
    with spool_in(tmp_path) as spool:
        stored = await spool.store(Message(envelope("A", "a@x.y", "b@x.y", "c@x.y"), body(), RECEIVED))
        await spool.record(stored, Event(at=RECEIVED, event="attempt", accepted=("b@x.y",)), durable=True)
        event = Event(at=RECEIVED, event="attempt", refused={"c@x.y": "550 no such user"}, due=due)
        await spool.record(stored, event, durable=False)
        assert (stored.attempts, stored.due, stored.recipients, stored.refused) == (2, due, 1, 1)
    with spool_in(tmp_path) as spool:
        (again,) = spool.recovered()
        assert (again.attempts, again.due, again.recipients, again.refused) == (2, due, 1, 1)
        assert again.file_size == spool.size == len(files(tmp_path)["A"])
        opened = await spool.open(again)
        left, message = opened.envelope, opened.body
        message.close()
    assert [to.address for to in left.recipients] == ["a@x.y"]


async def test_a_message_that_is_sent_leaves_nothing(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        stored = await spool.store(Message(envelope(), body(), RECEIVED))
        assert (len(spool.messages), spool.oldest) == (1, RECEIVED)
        await spool.remove(stored)
        assert (len(spool.messages), spool.size, spool.oldest) == (0, 0, None)
        with pytest.raises(Gone):
            await spool.open(stored)
    assert not list((tmp_path / "0" / "queue").iterdir()), "spares are removed too"


async def test_a_dead_letter_keeps_the_message_and_its_reason(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        stored = await spool.store(Message(envelope(), body(BODIES["small"]), RECEIVED))
        refused = {"a@example.com": "550 5.1.1 unknown"}
        await spool.move_to_dead(stored, Event(at=RECEIVED, event="attempt", outcome="refused", refused=refused))
        assert (len(spool.messages), spool.size, spool.dead) == (0, 0, 1)
    (letter,) = files(tmp_path, "dead").values()
    assert BODIES["small"] in letter
    assert b"550 5.1.1 unknown" in letter
    with spool_in(tmp_path) as spool:
        assert not recovered(spool), "a dead letter is not tried again"


async def test_a_message_that_was_refused_for_some_becomes_a_dead_letter_when_no_recipient_is_due(
    tmp_path: Path,
) -> None:
    with spool_in(tmp_path) as spool:
        stored = await spool.store(Message(envelope("A", "a@x.y", "b@x.y"), body(), RECEIVED))
        await spool.record(stored, Event(at=RECEIVED, event="attempt", refused={"a@x.y": "550 no"}), durable=True)
        await spool.record(stored, Event(at=RECEIVED, event="attempt", accepted=("b@x.y",)), durable=True)
        other = await spool.store(Message(envelope("B", "a@x.y", "b@x.y"), body(), RECEIVED))
        await spool.record(
            other, Event(at=RECEIVED, event="attempt", accepted=("a@x.y",), refused={"b@x.y": "550 no"}), durable=True
        )
        await spool.remove(stored)
    with spool_in(tmp_path) as spool:
        assert not recovered(spool), "the process died before it removed the other: nobody is due there either"
    assert files(tmp_path, "dead").keys() == {"A", "B"}


async def test_dead_letters_are_deleted_after_their_time(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for queue_id in ("OLD", "NEW"):
            await spool.move_to_dead(await spool.store(Message(envelope(queue_id), body(), RECEIVED)))
        os.utime(tmp_path / "0" / "dead" / "OLD", (0, 0))
        assert spool.expire_dead(keep=7 * 86400.0) == 1
    assert files(tmp_path, "dead").keys() == {"NEW"}


async def test_the_longest_untouched_message_comes_first(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for second, queue_id in enumerate(("C", "A", "B")):
            await spool.store(Message(envelope(queue_id), body(), RECEIVED))
            os.utime(tmp_path / "0" / "queue" / queue_id, (second, second))  # a file system's clock is coarse
    with spool_in(tmp_path) as spool:
        assert [stored.queue_id for stored in spool.recovered()] == ["C", "A", "B"]


async def test_what_is_stored_while_the_rest_is_recovered_is_not_recovered_too(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for queue_id in ("A", "B"):
            await spool.store(Message(envelope(queue_id), body(), RECEIVED))
    with spool_in(tmp_path) as spool:
        found = spool.recovered()
        assert next(found).queue_id == "A"
        await spool.store(Message(envelope("C"), body(), RECEIVED))
        assert [stored.queue_id for stored in found] == ["B"]
        assert len(spool.messages) == 3


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[:-3], "it is shorter than its header says"),
        (lambda text: text.replace(b"Hello", b"Hullo"), "its checksum is wrong"),
        (lambda text: text.replace(b"a@example.com", b"b@example.com"), "its checksum is wrong"),
        (lambda text: text[:40], "its header does not end"),
        (lambda text: text.replace(b'"sender"', b"\0\0\0\0\0\0\0\0"), "its header cannot be read"),
        (lambda text: text.replace(b'"size":', b'"size":-'), "its header makes no sense"),
        (lambda text: text.replace(b"2990A37EA2F3", b"2990A37EA2F4"), "its name is not its queue id"),
        (lambda text: text.replace(b"2990A37EA2F3", b"../../../etc"), "its header makes no sense"),
        (
            lambda text: text.replace(b'"o365mailer":1', b'"o365mailer":2'),
            "it is of version 2, and this sidecar reads 1",
        ),
        (lambda _: b"", "its header does not end"),
        (lambda text: b"\0" * len(text), "its header does not end"),
    ],
)
@pytest.mark.promise("spool-sets-damaged-files-aside")
async def test_a_damaged_message_is_set_aside_and_never_sent(tmp_path: Path, damage: object, reason: str) -> None:
    with spool_in(tmp_path) as spool:
        await spool.store(Message(envelope(), body(), RECEIVED))
        await spool.store(Message(envelope("WHOLE"), body(), RECEIVED))
    file = tmp_path / "0" / "queue" / "2990A37EA2F3"
    damaged = damage(file.read_bytes())  # type: ignore[operator]
    file.write_bytes(damaged)
    reports = Reports()
    with spool_in(tmp_path, reports=reports) as spool:
        for stored in spool.recovered():
            try:
                (await spool.open(stored)).body.close()
            except Damaged:
                assert stored.queue_id == "2990A37EA2F3"
            else:
                assert stored.queue_id == "WHOLE"
        assert (len(spool.messages), spool.damaged) == (1, 1)
        assert spool.size == len(files(tmp_path)["WHOLE"])
    assert reports.named("spool_damaged") == [{"queue_id": "2990A37EA2F3", "reason": reason}]
    assert files(tmp_path, "damaged") == {"2990A37EA2F3": damaged}, "as it was, for a person to look at"


async def test_a_message_that_is_damaged_while_it_waits_is_set_aside_when_it_is_touched(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for queue_id in ("A", "B", "C"):
            stored = await spool.store(Message(envelope(queue_id), body(), RECEIVED))
            (tmp_path / "0" / "queue" / queue_id).write_bytes(b"overwritten")
            touch = {
                "A": spool.open(stored),
                "B": spool.record(stored, Event(at=RECEIVED, event="attempt"), durable=False),
                "C": spool.move_to_dead(stored, Event(at=RECEIVED, event="attempt")),
            }
            for name, work in touch.items():
                if name != queue_id:
                    work.close()
            with pytest.raises(Damaged):
                await touch[queue_id]
        assert (len(spool.messages), spool.size, spool.damaged) == (0, 0, 3)


async def test_a_message_repaired_by_hand_is_sent(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        await spool.store(Message(envelope(), body(), RECEIVED))
    file = tmp_path / "0" / "queue" / "2990A37EA2F3"
    text = file.read_bytes().replace(b"a@example.com", b"somebody@example.com")
    before, _, after = text.partition(b'"crc32":"')
    file.write_bytes(before + b'"crc32":"unchecked' + after[8:])
    with spool_in(tmp_path) as spool:
        (stored,) = spool.recovered()
        opened = await spool.open(stored)
        found, message = opened.envelope, opened.body
        message.close()
    assert [to.address for to in found.recipients] == ["somebody@example.com"]


async def test_a_line_that_a_crash_tore_spoils_no_other(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        stored = await spool.store(Message(envelope(), body(), RECEIVED))
        await spool.record(stored, Event(at=RECEIVED, event="attempt"), durable=True)
    file = tmp_path / "0" / "queue" / "2990A37EA2F3"
    with file.open("ab") as torn:
        torn.write(b'{"at":"2026-11-25T12:00:00Z","event":"att')
    with spool_in(tmp_path) as spool:
        (stored,) = spool.recovered()
        assert stored.attempts == 1
        await spool.record(stored, Event(at=RECEIVED, event="attempt"), durable=True)
        assert stored.attempts == 2
    assert file.read_bytes().endswith(b'"event":"att\n{"at":"2026-11-25T12:00:00.123456Z","event":"attempt"}\n')


@pytest.mark.promise("memory-and-disk-are-bounded")
async def test_the_limits_hold_also_for_what_is_being_stored(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        spool.max_size, spool.max_messages = 2**20, 2
        jobs = [spool.store(Message(envelope(f"A{number}"), body(), RECEIVED)) for number in range(3)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["QueueEntry", "QueueEntry", "SpoolFull"]
        first = next(result for result in results if isinstance(result, QueueEntry))
        await spool.remove(first)
        await spool.store(Message(envelope("B"), body(), RECEIVED))
        spool.max_size, spool.max_messages = spool.size + 100, 100
        with pytest.raises(SpoolFull, match=r"bytes \(delivery\.spool\.maxSize\)"):
            await spool.store(Message(envelope("C"), body(b"x" * 99 + b"\r\n"), RECEIVED))
        assert spool.storing_size == spool.storing == 0
        await spool.store(Message(envelope("D"), body(b"x" * 98 + b"\r\n"), RECEIVED))


async def test_a_store_that_no_app_waits_for_any_more_leaves_nothing(tmp_path: Path) -> None:
    class Slow(Disk):
        """Holds a message's fsync until it is told."""

        def __init__(self) -> None:
            self.reached, self.go_on, self.slow = threading.Event(), threading.Event(), False

        def sync(self, file: int) -> None:
            """Later."""
            if self.slow:
                self.reached.set()
                assert self.go_on.wait(20)
            super().sync(file)

    disk = Slow()
    with spool_in(tmp_path, disk=disk) as spool:
        await spool.store(Message(envelope("A"), body(), RECEIVED))
        disk.slow = True
        waiting = asyncio.ensure_future(spool.store(Message(envelope("B"), body(), RECEIVED)))
        await asyncio.get_running_loop().run_in_executor(None, disk.reached.wait, 20)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        disk.go_on.set()
        spool.threads.shutdown()
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(spool.messages) == 1
        assert files(tmp_path).keys() == {"A"}


def test_ten_thousand_messages_take_little_memory(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for number in range(10_000):
            given = envelope(f"{number:012X}")
            line = header_line(Message(given, body(), RECEIVED + timedelta(seconds=number)))
            Path(spool.files.queue, given.queue_id).write_bytes(line + bytes(body().content))
        tracemalloc.start()
        found = list(spool.recovered())
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert len(found) == 10_000
    assert taken < 10 * 2**20


def test_a_body_in_the_middle_of_a_file_ends_where_it_ends(tmp_path: Path) -> None:
    file = tmp_path / "spooled"
    file.write_bytes(b"header\n" + b"x" * 100_000 + b"record\n")
    with file.open("rb", buffering=0) as opened:
        message = Body(b"x" * 10, False, opened, 100_000, 7)
        assert b"".join(message.blocks()) == b"x" * 100_000
        assert b"".join(message.blocks(start=99_999)) == b"x"
        assert list(message.blocks(start=100_000)) == []
        message.close()
        assert opened.closed
