"""Every state that a crash may leave on disk, and the real recovery of each: no acknowledged message is lost, and no
part of a message is sent.

kill -9 cannot prove this: what a process wrote survives it, synced or not.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.completeness import lacking
from support.seeds import SEED
from support.simulated_disk import EXHAUSTIVE, Crash, Operation, RecordingDisk, State
from support.spool_day import CONTENTS, MARKS, RECIPIENTS, a_rush, failed, recorded
from support.spooled import RECEIVED, Reports, body, content_of, envelope, spool_in

from o365mailer_sidecar.errors import Damaged
from o365mailer_sidecar.message import body as body_module
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool import entry, files, partition
from o365mailer_sidecar.spool.disk import Disk


class Unsynced(Disk):
    """Does not sync: there are thousands of recoveries."""

    def sync(self, file: int) -> None:
        """Nothing."""


class AtOnce(Executor):
    """Works in the calling thread: threads would only cost time."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments, **named))
        except BaseException as error:  # noqa: BLE001  # as an executor does it
            future.set_exception(error)
        return future


@dataclass
class Recovered:
    """The result of a recovery."""

    queued: dict[str, tuple[set[str], bytes]] = field(default_factory=dict)
    """Recipients who are due, and the bytes that would be sent."""
    dead: dict[str, bytes] = field(default_factory=dict)
    reports: Reports = field(default_factory=Reports)


def materialized(state: State, root: Path) -> Path:
    """The state as a real directory."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for path, content in state.visible():
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)
    return root / "spool"


async def recovery(directory: Path, disk: Disk) -> Recovered:
    """The real one, up to the bytes that would be sent."""
    found = Recovered()
    with spool_in(directory, disk=disk, reports=found.reports) as spool:
        spool.threads.shutdown()
        spool.threads = AtOnce()
        for each in spool.recovered():
            with suppress(Damaged):  # which is reported
                opened = await spool.open(each)
                left, message = opened.envelope, opened.body
                found.queued[each.queue_id] = {to.address for to in left.recipients}, content_of(message)
        found.dead = dict(letters(spool.files.dead))
    return found


def letters(directory: str) -> Iterator[tuple[str, bytes]]:
    """Dead letters, and their content; nothing for one that is torn."""
    for letter in Path(directory).iterdir():
        with letter.open("rb", buffering=0) as file:
            try:
                yield letter.name, content_of(entry.read(file.fileno()).body(file))
            except Damaged:
                yield letter.name, b""


def complaints(past: Sequence[Operation], found: Recovered) -> Iterator[str]:
    """Promises that do not hold."""
    said = {(mark.kind, mark.path, b"".join(mark.pieces).decode()) for mark in past if mark.kind in MARKS}
    promised = {kind: {path for each, path, _ in said if each == kind} for kind in MARKS}
    for queue_id in promised["acknowledged"] - promised["removing"] - found.queued.keys() - found.dead.keys():
        yield f"{queue_id} was acknowledged and is lost"
    for queue_id, content in found.dead.items():
        if queue_id not in promised["failing"] or content != CONTENTS[queue_id]:
            yield f"{queue_id} is dead, and was not refused as it is"
    for queue_id, (due, content) in found.queued.items():
        if content != CONTENTS[queue_id]:
            yield f"a part of {queue_id} would be sent"
        for address in RECIPIENTS:
            if address not in due and ("settling", queue_id, address) not in said:
                yield f"{queue_id} is not sent to {address}"
            if address in due and ("settled", queue_id, address) in said:
                yield f"{queue_id} is sent again to {address}, and that it need not be was on disk"
    yield from (f"a false alarm: {event}" for event in found.reports)


@dataclass
class Proof:
    """Goes through the moments of a recording and recovers each state once."""

    scratch: Path
    samples: int = 50
    seed: int = SEED
    recoveries: dict[object, Recovered] = field(default_factory=dict)
    sampled: bool = False

    def __post_init__(self) -> None:
        print(f"seed {self.seed}")
        self.dice = random.Random(self.seed)

    async def go(self, operations: Sequence[Operation]) -> list[str]:
        """All complaints."""
        found: list[str] = []
        for moment in range(len(operations) + 1):
            past = operations[:moment]
            crash = Crash(State(), past)
            self.sampled |= len(crash.unsynced) > EXHAUSTIVE
            for state in crash.states(self.dice, samples=self.samples):
                found += complaints(past, await self._recovered(state))
        return found

    async def go_twice(self, operations: Sequence[Operation]) -> list[str]:
        """The complaints after crashes in the middle of the recovery from some of the crashes."""
        found: list[str] = []
        for moment in range(len(operations) + 1):
            past = operations[:moment]
            states = list(Crash(State(), past).states(self.dice, samples=50))
            for first in self.dice.sample(states, min(len(states), 5)):
                disk = RecordingDisk(materialized(first, self.scratch).parent)
                await recovery(disk.root / "spool", disk)
                for again in range(len(disk.operations) + 1):
                    for state in Crash(disk.base, disk.operations[:again]).states(self.dice, samples=5):
                        found += complaints(past, await self._recovered(state))
        return found

    async def _recovered(self, state: State) -> Recovered:
        key = state.visible()
        if key not in self.recoveries:
            self.recoveries[key] = await recovery(materialized(state, self.scratch), Unsynced())
        return self.recoveries[key]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Directory entries are synced often, and a message of 3,000 bytes takes the way of large ones, in blocks."""
    monkeypatch.setattr(files, "BATCH", 3)
    monkeypatch.setattr(body_module, "MEMORY", 1_000)
    monkeypatch.setattr(body_module, "BLOCK", 500)
    monkeypatch.setattr(entry, "MEMORY", 1_000)


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where states are made and recovered: in memory, which a spool refuses."""
    monkeypatch.setattr(partition, "mounted", str)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory, "root")


@pytest.mark.promise("spool-survives-crash")
@pytest.mark.timeout(300)
async def test_no_crash_loses_an_acknowledged_message_or_sends_a_part_of_one(tmp_path: Path, scratch: Path) -> None:
    proof = Proof(scratch)
    assert await proof.go(await recorded(tmp_path)) == []
    assert proof.sampled, "a large message has too many states to try them all"
    assert len(proof.recoveries) > 500, "the control: there was something to recover"


@pytest.mark.promise("spool-survives-crash")
@pytest.mark.timeout(300)
async def test_no_crash_does_so_while_messages_come_and_go_at_once(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BATCH", 6)
    proof = Proof(scratch)
    assert await proof.go(await recorded(tmp_path, script=a_rush)) == []
    assert len(proof.recoveries) > 500


@pytest.mark.promise("spool-survives-crash")
@pytest.mark.timeout(300)
async def test_a_crash_during_the_recovery_from_a_crash_loses_nothing_either(tmp_path: Path, scratch: Path) -> None:
    proof = Proof(scratch)
    assert await proof.go_twice(await recorded(tmp_path)) == []
    assert len(proof.recoveries) > 100


@pytest.mark.promise("spool-survives-crash")
@pytest.mark.timeout(300)
async def test_a_crash_while_another_relays_messages_are_taken_over_loses_none(tmp_path: Path, scratch: Path) -> None:
    with spool_in(tmp_path / "spool") as first, spool_in(tmp_path / "spool") as second:
        for spool, queue_id in ((first, "A"), (second, "B"), (second, "C")):
            await spool.store(Message(envelope(queue_id, *RECIPIENTS), body(CONTENTS[queue_id]), RECEIVED))
        await failed(second, RecordingDisk(tmp_path), "C")
    disk = RecordingDisk(tmp_path)
    with spool_in(tmp_path / "spool", disk=disk):
        pass
    assert "rename" in {operation.kind for operation in disk.operations}
    proof = Proof(scratch)
    for moment in range(len(disk.operations) + 1):
        for state in Crash(disk.base, disk.operations[:moment]).states(proof.dice, samples=100):
            found = await recovery(materialized(state, proof.scratch), Unsynced())
            assert (set(found.queued), set(found.dead), list(found.reports)) == ({"A", "B"}, {"C"}, [])


@pytest.mark.parametrize("left_out", ["sync file", "sync directory"])
@pytest.mark.timeout(300)
async def test_the_proof_notices_a_sync_that_is_left_out(tmp_path: Path, scratch: Path, left_out: str) -> None:
    """The control."""
    found = await Proof(scratch, samples=5).go((await recorded(tmp_path, deaf_to=left_out))[:27])
    assert "A was acknowledged and is lost" in found


CALLS = "openat,creat,write,writev,pwrite64,pwritev,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,\
mkdirat,link,linkat,symlink,ftruncate,truncate,fallocate,copy_file_range,sendfile,sync,syncfs,sync_file_range"

CALL = re.compile(r'^\d+ +(\w+)\((?:AT_FDCWD<[^>]*>, |\d+<([^>]+)>)?(?:"([^"]*)")?(?:, (?:\S+, )?"([^"]*)")?(.*)')


def traced(line: str, root: Path) -> tuple[str, str, str] | None:
    """A system call in the words of the recording; None if it changes nothing in `root`."""
    call, opened, path, target, rest = CALL.match(line).groups("")  # type: ignore[union-attr]
    if not (opened or path).startswith(str(root)) or (call == "openat" and "O_EXCL" not in rest):
        return None
    relative, kind = os.path.relpath(opened or path, root), call
    if call in ("fsync", "fdatasync"):
        kind = "sync file" if "." in relative.split("/")[-1][1:] or len(relative.split("/")) == 4 else "sync directory"
    kind = {"openat": "create", "writev": "write", "unlink": "remove"}.get(kind, kind)
    return kind, relative, os.path.relpath(target, root) if target else ""


def test_the_recording_is_what_the_kernel_was_asked(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        lacking("no strace", "make setup-node")
    trace, root = tmp_path / "trace", tmp_path / "root"
    root.mkdir()
    command = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={CALLS}", "-o", str(trace)]
    ended = subprocess.run(
        [*command, sys.executable, "-m", "support.spool_day", str(root)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = [tuple(each) for each in json.loads(ended.stdout)]
    lines = [line for line in trace.read_text().splitlines() if " resumed>" not in line and "(" in line]
    lock = str(Path("spool", "0", "lock"))
    seen = [call for line in lines if (call := traced(line, root)) and call[1] != lock]
    assert seen[: len(told)] == told
    assert {kind for kind, _, _ in seen[len(told) :]} == {"remove"}, "preallocated files are removed when it ends"
    assert {kind for kind, _, _ in told} >= {"sync file", "sync directory", "rename", "create"}, "the control"
