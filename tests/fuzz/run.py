"""So many inputs of each kind from one seed, and what must be true at the end of them."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from support.cutting_host import CuttingHost
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

from fuzz.documents import Judge
from fuzz.model import SIZE_LIMIT
from fuzz.sessions import Crowd, Dice
from fuzz.spool_files import SpoolJudge

SHARES: Final = {"sessions": 0.6, "documents": 0.3, "spool files": 0.1}
GROWTH: Final = 24 * 1024
"""KiB that the sidecar may have grown: what it keeps of messages at once, and no more."""


class Kind(Protocol):
    """A source of inputs."""

    inputs: int

    def step(self) -> None:
        """Some more."""


@dataclass
class Result:
    """What was run of one kind, how fast, and how it was taken."""

    kind: str
    inputs: int
    seconds: float
    taken: Counter[str]


@contextmanager
def crowded_sidecar(folder: Path) -> Iterator[tuple[Sidecar, CuttingHost]]:
    """One that says nothing of messages in its log, before a host that takes everything."""
    directory = MailerDirectory(folder)
    with CuttingHost() as host:
        host.describe(directory, logLevel="warning", limits={"messageSize": str(SIZE_LIMIT)})
        with running(directory.path) as sidecar:
            yield sidecar, host


def sessions(folder: Path, *, seed: int, inputs: int, until: float) -> Result:
    """Raises AssertionError when something was answered wrong, the process grew, or it logged a defect of its own."""
    began = time.monotonic()
    with crowded_sidecar(folder) as (sidecar, host), Wire(sidecar.port) as bystander:
        crowd = Crowd(sidecar, host)
        dice = Dice(crowd, random.Random(seed))
        warm = 0
        while crowd.inputs < inputs and time.monotonic() < until:
            dice.step()
            if not warm and crowd.inputs >= min(inputs // 2, 20_000):
                warm = _resident(sidecar)
                assert bystander.ask("NOOP").startswith("250"), "another session noticed"
        dice.finish()
        assert bystander.ask("NOOP").startswith("250"), "another session noticed"
        assert sidecar.process.poll() is None
        assert [line for line in sidecar.log if line["level"] == "error"] == []
        assert _resident(sidecar) - warm < GROWTH
    return Result("sessions", crowd.inputs, time.monotonic() - began, crowd.answered)


def _resident(sidecar: Sidecar) -> int:
    """KiB in memory."""
    status = Path(f"/proc/{sidecar.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def documents(folder: Path, *, seed: int, inputs: int, until: float) -> Result:
    """Raises what the reader of a mailer directory should not have raised, or AssertionError."""
    folder.mkdir()
    judge = Judge(folder, random.Random(seed))
    return Result("documents", *_driven(judge, inputs=inputs, until=until), judge.told)


def spool_files(*, seed: int, inputs: int, until: float) -> Result:
    """Likewise for files of the spool."""
    judge = SpoolJudge(random.Random(seed))
    return Result("spool files", *_driven(judge, inputs=inputs, until=until), judge.told)


def _driven(kind: Kind, *, inputs: int, until: float) -> tuple[int, float]:
    began = time.monotonic()
    while kind.inputs < inputs and time.monotonic() < until:
        kind.step()
    return kind.inputs, time.monotonic() - began


def everything(folder: Path, *, seed: int, inputs: int, seconds: float) -> Iterator[Result]:
    """Each kind's share of the inputs and of the time."""
    now = time.monotonic()
    ends, counts = {}, {kind: int(inputs * share) for kind, share in SHARES.items()}
    for kind, share in SHARES.items():
        now += seconds * share
        ends[kind] = now
    yield sessions(folder / "mailer", seed=seed, inputs=counts["sessions"], until=ends["sessions"])
    yield documents(folder / "documents", seed=seed, inputs=counts["documents"], until=ends["documents"])
    yield spool_files(seed=seed, inputs=counts["spool files"], until=ends["spool files"])
