"""The sidecar's own process with an event loop whose clock a test can put forward.

Timeouts of five and ten minutes and pauses after failures are waited out in no time, and nothing in the sidecar is
patched: only the loop is asyncio's own instead of uvloop, and its clock runs ahead of the system's by what was skipped.

Run as a program it precedes the sidecar's command line, and skips the interpreter and the module in it.
"""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.sidecar_process import Sidecar, running

SOCKET = "TEST_CLOCK_SOCKET"
TESTS = Path(__file__).parents[1]


class SkippingLoop(asyncio.SelectorEventLoop):
    """Listens on a datagram socket for seconds to skip."""

    def __init__(self) -> None:
        self.ahead = 0.0
        super().__init__()
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.control.bind(os.environ[SOCKET])
        self.add_reader(self.control.fileno(), self._skip)

    def time(self) -> float:
        """The sidecar's time in seconds, with those that were skipped."""
        return super().time() + self.ahead

    def _skip(self) -> None:
        seconds, sender = self.control.recvfrom(100)
        self.ahead += float(seconds)
        self.control.sendto(b"done", sender)


class ClockedSidecar:
    """A sidecar, and its clock."""

    def __init__(self, sidecar: Sidecar, folder: Path) -> None:
        self.sidecar, self.folder = sidecar, folder
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.control.bind(str(folder / "test"))
        self.control.settimeout(20)

    def skip(self, seconds: float) -> None:
        """The sidecar's clock stands later by so many seconds when this returns."""
        self.control.sendto(str(seconds).encode(), str(self.folder / "clock"))
        assert self.control.recv(100) == b"done"


@contextmanager
def clocked(directory: Path, **options: Any) -> Iterator[ClockedSidecar]:
    """A sidecar with such a clock for the block."""
    with tempfile.TemporaryDirectory(prefix="clock-") as folder:  # short: a socket's path has 107 bytes
        environment = options.pop("environment", {}) | {SOCKET: f"{folder}/clock", "PYTHONPATH": str(TESTS)}
        prefix = [sys.executable, __file__]
        with running(directory, prefix=prefix, environment=environment, **options) as sidecar:
            clock = ClockedSidecar(sidecar, Path(folder))
            try:
                yield clock
            finally:
                clock.control.close()


def _main() -> int:
    import uvloop

    from o365mailer_sidecar.main import main

    def run(work: Any) -> Any:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            return runner.run(work)

    uvloop.run = run  # type: ignore[assignment]
    return main(sys.argv[4:])  # after this file: the interpreter, -m, the module


if __name__ == "__main__":
    sys.exit(_main())
