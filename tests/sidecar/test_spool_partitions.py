"""Where a spool may be, and which process has which partition of it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.spooled import RECEIVED, body, envelope, files, recovered, spool_in

from o365mailer_sidecar.errors import SpoolUnusable, WrongCommandLine
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool.disk import kind

HOLD = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from o365mailer_sidecar.spool.spool import Spool
spool = Spool(Path(sys.argv[1]), now=lambda: datetime.now(UTC), report=print)
print(spool.partition.path.name, len(list(spool.recovered())), flush=True)
sys.stdin.read()
"""


def another(directory: Path) -> "subprocess.Popen[str]":
    """A process with a partition, until its standard input ends."""
    command = [sys.executable, "-c", HOLD, str(directory)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    """Its partition, and how many messages it found there."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.promise("spool-survives-crash")
async def test_processes_that_share_a_directory_have_a_partition_each_and_take_over_what_the_dead_have_left(
    tmp_path: Path,
) -> None:
    with spool_in(tmp_path):
        second = another(tmp_path)
        assert said(second) == "1 0"
        third = another(tmp_path)
        assert said(third) == "2 0"
        second.communicate()
        third.kill()
        third.communicate()
    with spool_in(tmp_path) as spool:
        assert spool.partition.path.name == "0"
        with spool_in(tmp_path) as other:
            await other.store(Message(envelope(), body(), RECEIVED))
    with spool_in(tmp_path) as spool:
        assert spool.partition.path.name == "1", "the one with the message before the first"
        assert len(recovered(spool)) == 1


@pytest.mark.promise("spool-survives-crash")
async def test_a_process_that_lives_takes_what_others_have_left(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        assert await spool.take_over() == []
        for queue_ids in (("A", "B"), ("C", "D")):
            with spool_in(tmp_path) as other:
                assert other.partition.path.name == "1"
                for queue_id in queue_ids:
                    stored = await other.store(Message(envelope(queue_id), body(), RECEIVED))
                await other.move_to_dead(stored)
                assert await spool.take_over() == [], "it still runs"
            (taken,) = await spool.take_over()
            assert taken.queue_id == queue_ids[0]
            assert await spool.take_over() == []
            (await spool.open(taken)).body.close()
        assert len(spool.messages) == 2
        assert files(tmp_path).keys() == {"A", "C"}
        assert files(tmp_path, "dead").keys() == {"B", "D"}


async def test_the_only_process_that_starts_again_takes_what_all_have_left(tmp_path: Path) -> None:
    with spool_in(tmp_path) as first, spool_in(tmp_path) as second, spool_in(tmp_path) as third:
        for spool, queue_id in ((first, "A"), (second, "B"), (third, "C")):
            await spool.store(Message(envelope(queue_id), body(), RECEIVED))
    with spool_in(tmp_path) as spool:
        assert recovered(spool).keys() == {"A", "B", "C"}


async def test_a_killed_process_leaves_its_partition_and_its_messages_to_the_next(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        await spool.store(Message(envelope(), body(), RECEIVED))
    first = another(tmp_path)
    assert said(first) == "0 1"
    first.kill()
    first.communicate()
    next_one = another(tmp_path)
    assert said(next_one) == "0 1"
    next_one.communicate()


def test_the_lock_says_who_has_the_partition(tmp_path: Path) -> None:
    with spool_in(tmp_path):
        owner = json.loads((tmp_path / "0" / "lock").read_text())
    assert owner["pid"] == os.getpid()
    assert owner["namespace"] == str(Path("/proc/self/ns/pid").readlink())


async def test_no_other_user_can_read_what_is_stored(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with spool_in(tmp_path / "spool") as spool:
            await spool.store(Message(envelope(), body(), RECEIVED))
    finally:
        os.umask(before)
    assert files(tmp_path / "spool")
    for path in (tmp_path / "spool", *(tmp_path / "spool").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def refused(directory: Path) -> SpoolUnusable:
    """Why it cannot be a spool."""
    with pytest.raises(SpoolUnusable) as refusal, spool_in(directory):
        pass
    return refusal.value


def test_a_spool_in_memory_is_refused() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        refusal = refused(Path(directory))
    assert f"--spool-dir: '{directory}' is in memory (tmpfs), and a spool must outlive" in str(refusal)
    assert isinstance(refusal, WrongCommandLine), "exit status 2"


def test_a_directory_that_cannot_be_made_or_written_to_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "no" / "parent", Path("/proc/1")):
        assert str(refused(wrong)).startswith(f"--spool-dir: '{wrong}' is not a directory that can be written to")


def test_a_file_system_is_told_by_its_device_and_not_told_where_there_is_no_proc(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = f"22 1 0:99 / /x rw - tmpfs none rw\n23 1 {number} /a /b\\040c rw,relatime shared:1 - ext9 /dev/x rw\n"
    assert kind(tmp_path, mounts=mounts) == "ext9"
    assert kind(tmp_path, mounts="") == ""
