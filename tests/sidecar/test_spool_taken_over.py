"""What a process takes over from others that are gone: all that can be, whatever is wrong with the rest."""

import errno
import os
from pathlib import Path

import pytest
from support.spooled import RECEIVED, Reports, body, envelope, spool_in

from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool.disk import Disk


async def left(directory: Path, *queue_ids: str) -> None:
    """Each in a partition of its own, after the first free one."""
    with spool_in(directory) as spool:
        await spool.store(Message(envelope(queue_ids[0]), body(), RECEIVED))
        if queue_ids[1:]:
            await left(directory, *queue_ids[1:])


def descriptors() -> int:
    """That this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.promise("spool-survives-crash")
async def test_a_partition_from_a_backup_that_left_empty_directories_out_is_taken_over_too(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        await left(tmp_path, "A", "B")
        for partition in (tmp_path / "1", tmp_path / "2"):
            (partition / "dead").rmdir()
            (partition / "damaged").rmdir()
        before = descriptors()
        assert sorted(stored.queue_id for stored in await spool.take_over()) == ["A", "B"]
        assert descriptors() == before, "no lock is kept"


class Stuck(Disk):
    """Some files cannot be moved."""

    def rename(self, source: str, target: str) -> None:
        """Unless it is a B that another has left."""
        if source.endswith("/queue/B") and "/0/" in target:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().rename(source, target)


@pytest.mark.promise("spool-survives-crash")
async def test_a_file_that_cannot_be_moved_keeps_no_other_back(tmp_path: Path) -> None:
    reports = Reports()
    with spool_in(tmp_path, disk=Stuck(), reports=reports) as spool:
        with spool_in(tmp_path) as other:
            for queue_id in ("A", "B"):
                await other.store(Message(envelope(queue_id), body(), RECEIVED))
            await left(tmp_path, "C")
        taken = await spool.take_over()
        assert sorted(stored.queue_id for stored in taken) == ["A", "C"], "nobody would look for them again"
        assert reports.named("spool_unreadable") == [{"file": "B", "reason": "Input/output error"}]
