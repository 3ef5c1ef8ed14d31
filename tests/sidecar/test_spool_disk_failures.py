"""A disk that fails or fills up: nothing is acknowledged that is not kept, and nothing is lost that was."""

import asyncio
import errno
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from support.completeness import lacking
from support.spooled import RECEIVED, Reports, body, content_of, envelope, files, recovered, spool_in

from o365mailer_sidecar.errors import SpoolFull, StoreFailed
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool.disk import Disk
from o365mailer_sidecar.spool.entry import Event
from o365mailer_sidecar.spool.files import BATCH
from o365mailer_sidecar.spool.spool import Spool

CONTENT = b"Subject: test\r\n\r\n" + b"x" * 5_000 + b"\r\n"


class Failing(Disk):
    """Fails once at one kind of call, and counts the syncs of each file by its path."""

    def __init__(self) -> None:
        self.fails: tuple[str, int] = ("", 0)
        self.paths: dict[int, str] = {}
        self.synced: Counter[str] = Counter()

    def _meet(self, kind: str) -> None:
        if self.fails[0] == kind:
            code, self.fails = self.fails[1], ("", 0)
            raise OSError(code, os.strerror(code))

    def create(self, path: str) -> int:
        """Or not."""
        self._meet("create")
        file = super().create(path)
        self.paths[file] = path
        return file

    def open_directory(self, path: str) -> int:
        """Always."""
        file = super().open_directory(path)
        self.paths[file] = path
        return file

    def reopen(self, path: str) -> int:
        """Always."""
        file = super().reopen(path)
        self.paths[file] = path
        return file

    def write(self, file: int, pieces: Sequence[bytes | bytearray]) -> None:
        """Half of it, or all."""
        if self.fails[0] == "write":
            super().write(file, [pieces[-1][: len(pieces[-1]) // 2]])
        self._meet("write")
        super().write(file, pieces)

    def sync(self, file: int) -> None:
        """Or not."""
        self.synced[self.paths[file]] += 1
        self._meet("sync directory" if Path(self.paths[file]).is_dir() else "sync file")
        super().sync(file)

    def rename(self, source: str, target: str) -> None:
        """Or not."""
        self._meet("rename")
        super().rename(source, target)

    def synced_files(self) -> dict[str, int]:
        """Of files in the queue, and how often."""
        return {path: times for path, times in self.synced.items() if "/queue/" in path}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["create", "sync directory", "write", "sync file", "rename"])
@pytest.mark.promise("memory-and-disk-are-bounded", "spool-survives-crash")
async def test_a_call_that_fails_means_not_kept_and_is_never_tried_again_on_the_same_file(
    tmp_path: Path, call: str, code: int
) -> None:
    disk, reports = Failing(), Reports()
    with spool_in(tmp_path, disk=disk, reports=reports) as spool:
        disk.fails = call, code
        with pytest.raises(SpoolFull if code != errno.EIO else StoreFailed) as failure:
            await spool.store(Message(envelope("A"), body(CONTENT), RECEIVED))
        assert isinstance(failure.value, SpoolFull) == (code != errno.EIO)
        assert reports.named("spool_failed")
        assert (len(spool.messages), spool.size, spool.storing_size, files(tmp_path)) == (0, 0, 0, {})
        await spool.store(Message(envelope("B"), body(CONTENT), RECEIVED))
        assert set(disk.synced_files().values()) <= {1}, "no file is synced twice"
    with spool_in(tmp_path) as spool:
        assert recovered(spool).keys() == {"B"}


async def test_trouble_with_the_disk_is_told_once_and_again_after_it_was_over(tmp_path: Path) -> None:
    disk, reports = Failing(), Reports()
    with spool_in(tmp_path, disk=disk, reports=reports) as spool:
        for queue_id, code in (("A", 28), ("B", 28), ("C", 5), ("D", 0), ("E", 5)):
            disk.fails = "write" if code else "", code
            with suppress(StoreFailed):
                await spool.store(Message(envelope(queue_id), body(), RECEIVED))
    told = [fields["reason"] for fields in reports.named("spool_failed")]
    assert told == [
        "no room, or no inode, is left on the spool's file system",
        "Input/output error",
        "Input/output error",
    ]


async def test_entries_whose_directory_was_not_synced_are_never_used(tmp_path: Path) -> None:
    disk = Failing()
    with spool_in(tmp_path, disk=disk) as spool:
        disk.fails = "sync directory", errno.EIO
        with pytest.raises(StoreFailed):
            await spool.store(Message(envelope("A"), body(), RECEIVED))
        assert list((tmp_path / "0" / "queue").iterdir()) == []
        await spool.store(Message(envelope("A"), body(), RECEIVED))
        assert len(spool.files.preallocated.ready) == BATCH - 1


async def test_a_few_entries_are_used_where_there_is_room_for_no_more(tmp_path: Path) -> None:
    class Three(Disk):
        """Makes three."""

        made = 0

        def create(self, path: str) -> int:
            """The first ones."""
            self.made += 1
            if self.made > 3:
                raise OSError(errno.ENOSPC, "no inode")
            return super().create(path)

    with spool_in(tmp_path, disk=Three()) as spool:
        for queue_id in ("A", "B", "C"):
            await spool.store(Message(envelope(queue_id), body(), RECEIVED))
        with pytest.raises(SpoolFull, match="no room, or no inode, is left"):
            await spool.store(Message(envelope("D"), body(), RECEIVED))
    assert files(tmp_path).keys() == {"A", "B", "C"}


async def test_an_event_that_cannot_be_kept_leaves_the_message_as_safe_as_it_was(tmp_path: Path) -> None:
    disk = Failing()
    with spool_in(tmp_path, disk=disk) as spool:
        stored = await spool.store(Message(envelope("A"), body(CONTENT), RECEIVED))
        for call in ("write", "sync file"):
            disk.fails = call, errno.EIO
            with pytest.raises(StoreFailed):
                await spool.record(stored, Event(at=RECEIVED, event="attempt"), durable=True)
            disk.fails = "sync directory", errno.EIO
            assert content_of((await spool.open(stored)).body) == CONTENT
    with spool_in(tmp_path) as spool:
        assert recovered(spool).keys() == {"A"}


@pytest.mark.promise("spool-survives-crash")
async def test_a_file_whose_sync_failed_for_an_event_is_copied_before_the_next(tmp_path: Path) -> None:
    disk = Failing()
    with spool_in(tmp_path, disk=disk) as spool:
        stored = await spool.store(Message(envelope("A", "a@x.y", "b@x.y"), body(CONTENT), RECEIVED))
        file = tmp_path / "0" / "queue" / "A"
        doubted = file.stat().st_ino
        await spool.record(stored, Event(at=RECEIVED, event="attempt", accepted=("a@x.y",)), durable=True)
        assert file.stat().st_ino == doubted
        disk.fails = "sync file", errno.EIO
        with pytest.raises(StoreFailed):
            await spool.record(stored, Event(at=RECEIVED, event="attempt"), durable=True)
        disk.fails = "sync file", errno.EIO
        with pytest.raises(StoreFailed):
            await spool.record(stored, Event(at=RECEIVED, event="attempt"), durable=True)
        assert file.stat().st_ino == doubted, "the copy could not be synced either, and was not taken"
        await spool.record(stored, Event(at=RECEIVED, event="note"), durable=True)
        assert file.stat().st_ino != doubted
    with spool_in(tmp_path) as spool:
        (stored,) = spool.recovered()
        assert (stored.attempts, stored.recipients) == (2, 1)
        assert content_of((await spool.open(stored)).body) == CONTENT


@pytest.mark.parametrize("call", ["sync file", "rename"])
async def test_an_event_whose_try_failed_after_it_was_written_counts_once(tmp_path: Path, call: str) -> None:
    disk = Failing()
    refused = Event(at=RECEIVED, event="attempt", refused={"a@example.com": "550 5.1.1 no"})
    with spool_in(tmp_path, disk=disk) as spool:
        stored = await spool.store(Message(envelope("A"), body(), RECEIVED))
        disk.fails = call, 5
        with pytest.raises(StoreFailed):
            await spool.move_to_dead(stored, refused)
        await spool.record(stored, refused, durable=True)
        assert stored.attempts == 1
    with spool_in(tmp_path) as spool:
        assert recovered(spool) == {}
    assert files(tmp_path, "dead")["A"].count(b'"attempt"') == 1


async def test_a_copy_that_a_crash_left_unfinished_does_not_replace_the_file(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        stored = await spool.store(Message(envelope("A"), body(CONTENT), RECEIVED))
        before = files(tmp_path)["A"]
        await spool.record(stored, Event(at=RECEIVED, event="attempt"), durable=True)
    (tmp_path / "0" / "queue" / ".spare.x.1").write_bytes(before)
    with spool_in(tmp_path) as spool:
        assert recovered(spool)["A"].attempts == 1


async def test_one_client_pays_one_fsync_a_message_and_two_for_32_entries(tmp_path: Path) -> None:
    disk = Failing()
    with spool_in(tmp_path, disk=disk) as spool:
        disk.synced.clear()
        for number in range(2 * BATCH):
            await spool.store(Message(envelope(f"A{number}"), body(), RECEIVED))
        assert disk.synced.pop(spool.files.queue) == 2
    assert set(disk.synced.values()) == {1}
    assert len(disk.synced) == 2 * BATCH


@pytest.mark.promise("spool-survives-crash")
async def test_concurrent_stores_share_the_fsync_of_the_directory(tmp_path: Path) -> None:
    disk = Failing()

    async def client(name: int) -> None:
        for number in range(20):
            await spool.store(Message(envelope(f"A{name}x{number}"), body(), RECEIVED))

    with spool_in(tmp_path, disk=disk) as spool:
        disk.synced.clear()
        await asyncio.gather(*(client(name) for name in range(10)))
        assert disk.synced[spool.files.queue] <= 200 // BATCH + 1
        assert len(disk.synced_files()) == 200


def mounted(image: Path, point: Path, *, inodes: int) -> None:
    """A small ext4 of its own."""
    program = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or not program:
        lacking("a file system of its own needs root and mkfs.ext4", "as root: make setup-node")
    with image.open("wb") as file:
        file.truncate(2**22)
    point.mkdir()
    made = [program, "-q", "-N", str(inodes), "-m", "0", "-O", "^has_journal", str(image)]
    subprocess.run(made, check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(point)], capture_output=True).returncode:
        lacking("no image can be mounted here", "a machine with loop devices")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """4 MiB, 128 inodes."""
    point = tmp_path / "mounted"
    mounted(tmp_path / "image", point, inodes=128)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


async def filled(spool: Spool, content: bytes) -> tuple[dict[str, bytes], str]:
    """Stored until there is no room; what was kept, and what was said then."""
    kept: dict[str, bytes] = {}
    for number in range(1_000):
        try:
            await spool.store(Message(envelope(f"A{number}"), body(content), RECEIVED))
        except SpoolFull as full:
            return kept, str(full)
        kept[f"A{number}"] = content
    raise AssertionError("there is no end to it")


@pytest.mark.promise("memory-and-disk-are-bounded")
async def test_a_disk_that_is_really_full_loses_nothing_and_takes_mail_again_when_there_is_room(
    small_disk: Path,
) -> None:
    large = b"x" * 200_000 + b"\r\n"
    with spool_in(small_disk) as spool:
        kept, said = await filled(spool, large)
        assert 5 < len(kept) < 25
        assert said.startswith("no room")
        await spool.remove(spool.messages["A0"])
        del kept["A0"]
        await spool.store(Message(envelope("B"), body(large), RECEIVED))
        kept["B"] = large
    with spool_in(small_disk) as spool:
        assert {stored.queue_id: content_of((await spool.open(stored)).body) for stored in spool.recovered()} == kept


@pytest.mark.promise("memory-and-disk-are-bounded")
async def test_a_disk_without_inodes_says_so_and_loses_nothing(small_disk: Path) -> None:
    with spool_in(small_disk) as spool:
        kept, said = await filled(spool, b"Subject: small\r\n\r\n")
        assert "no inode" in said
        assert 80 < len(kept) < 128, "the spares too hold messages"
    with spool_in(small_disk) as spool:
        assert recovered(spool).keys() == kept.keys()
