"""A few messages in a spool, and what was promised about each at which moment; also a program, for a test with strace.

python -m support.spool_day DIRECTORY prints the operations that the recording disk has seen.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool import files
from o365mailer_sidecar.spool.entry import Event
from o365mailer_sidecar.spool.spool import Spool
from support.simulated_disk import Operation, RecordingDisk
from support.spooled import RECEIVED, body, envelope, spool_in

MARKS = frozenset({"acknowledged", "settling", "settled", "removing", "failing"})
"""Kinds of recorded operations that are promises, not calls."""

SIZES = {"A": 1, "B": 50, "C": 400, "D": 3_000, "E": 10, "F": 1} | {f"M{number}": number for number in range(6)}
CONTENTS = {name: f"Subject: {name}\r\n\r\n{name * size}\r\n".encode() for name, size in SIZES.items()}
RECIPIENTS = ("one@example.com", "two@example.com")

Script = Callable[[Spool, RecordingDisk], Awaitable[None]]


async def stored(spool: Spool, disk: RecordingDisk, queue_id: str) -> None:
    """Acknowledged only once `store` has returned."""
    await spool.store(Message(envelope(queue_id, *RECIPIENTS), body(CONTENTS[queue_id]), RECEIVED))
    disk.mark("acknowledged", queue_id)


async def settled(spool: Spool, disk: RecordingDisk, queue_id: str, address: str, *, durable: bool) -> None:
    """One recipient has the message."""
    disk.mark("settling", queue_id, address.encode())
    event = Event(at=RECEIVED, event="attempt", accepted=(address,))
    await spool.record(spool.messages[queue_id], event, durable=durable)
    if durable:
        disk.mark("settled", queue_id, address.encode())


async def removed(spool: Spool, disk: RecordingDisk, queue_id: str) -> None:
    """The message is delivered."""
    disk.mark("removing", queue_id)
    await spool.remove(spool.messages[queue_id])


async def failed(spool: Spool, disk: RecordingDisk, queue_id: str) -> None:
    """The message is refused for good."""
    disk.mark("failing", queue_id)
    refused = dict.fromkeys(RECIPIENTS, "550 no")
    await spool.move_to_dead(spool.messages[queue_id], Event(at=RECEIVED, event="attempt", refused=refused))


async def a_day(spool: Spool, disk: RecordingDisk) -> None:
    """Everything that happens to messages, one after another and two at once."""
    await stored(spool, disk, "A")
    await asyncio.gather(stored(spool, disk, "B"), stored(spool, disk, "C"))
    await settled(spool, disk, "B", "one@example.com", durable=True)
    await removed(spool, disk, "A")
    await stored(spool, disk, "D")
    await failed(spool, disk, "C")
    await settled(spool, disk, "D", "two@example.com", durable=False)
    await asyncio.gather(stored(spool, disk, "E"), stored(spool, disk, "F"))
    await removed(spool, disk, "E")
    spool.files.unsynced.add("F")  # as if an fsync of it had failed: it is copied
    await settled(spool, disk, "F", "one@example.com", durable=True)


async def a_rush(spool: Spool, disk: RecordingDisk) -> None:
    """Several at once, and some of them sent while others come."""
    await asyncio.gather(*(stored(spool, disk, f"M{number}") for number in range(3)))
    coming = [stored(spool, disk, f"M{number}") for number in range(3, 6)]
    going = [removed(spool, disk, "M0"), failed(spool, disk, "M1")]
    await asyncio.gather(*coming, *going, settled(spool, disk, "M2", RECIPIENTS[0], durable=True))


async def recorded(root: Path, *, script: Script = a_day, deaf_to: str = "") -> list[Operation]:
    """The calls of the real code."""
    disk = RecordingDisk(root, deaf_to=deaf_to)
    with spool_in(root / "spool", disk=disk) as spool:
        await script(spool, disk)
        return list(disk.operations)


if __name__ == "__main__":
    files.BATCH = 4  # type: ignore[misc]  # so that files are preallocated twice, and some are left
    seen = asyncio.run(recorded(Path(sys.argv[1])))
    print(json.dumps([(each.kind, each.path, each.target) for each in seen if each.kind not in MARKS]))
