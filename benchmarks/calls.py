"""Counts what one small mail on a warm connection runs through in the sidecar: `python -m benchmarks.calls MAILER_DIR`.

The relay and an app that sends three mails share one process and one event loop, so that a profile function sees every
call. It counts from the reply to the second mail to the reply to the third, and only functions of the sidecar's own
packages. Prints a line of JSON; with `--functions`, one line per function as well.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections import Counter
from datetime import UTC, datetime
from itertools import count
from types import FrameType
from typing import Any, Final

import uvloop

from benchmarks.load import message, script, session
from o365mailer_sidecar.app import Service
from o365mailer_sidecar.config import options
from o365mailer_sidecar.telemetry.event_log import EventLog

OURS: Final = ("/o365mailer_sidecar/", "/o365mailer_contract/")
MAILS: Final = 3


class Calls:
    """A profile function that counts (`sys.setprofile`)."""

    def __init__(self) -> None:
        self.functions: Counter[tuple[str, str]] = Counter()
        """By module and qualified name; a coroutine counts again each time it is resumed."""
        self.depth = 0
        """Frames of the sidecar on top of each other, at most."""

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """A call, if it is one of the sidecar's."""
        module = _module(frame)
        if event != "call" or not module:
            return
        self.functions[module, frame.f_code.co_qualname] += 1
        depth, caller = 0, frame
        while caller := caller.f_back:  # type: ignore[assignment]
            depth += bool(_module(caller))
        self.depth = max(self.depth, depth + 1)

    def figures(self) -> dict[str, int]:
        """What is printed."""
        modules = len({module for module, _ in self.functions})
        return {
            "calls": self.functions.total(),
            "functions": len(self.functions),
            "modules": modules,
            "depth": self.depth,
        }


def _module(frame: FrameType) -> str:
    """Within the sidecar's packages; empty for any other."""
    path = frame.f_code.co_filename
    return next((path.rpartition(package)[2] for package in OURS if package in path), "")


async def counted(mailer_dir: str) -> Calls:
    """Start the relay, send the mails, and end it."""
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def note(line: bytes) -> None:
        event = json.loads(line)
        if event["event"] == "listening" and event["protocol"] == "smtp":
            listening.set_result(event["port"])

    log = EventLog(write=note, now=lambda: datetime.now(UTC))
    arguments = ["--mailer-dir", mailer_dir, "--listen", "127.0.0.1:0", "--health", "127.0.0.1:0"]
    relay = asyncio.ensure_future(Service(options(arguments, {}), log=log).run())
    calls, accepted = Calls(), count(1)

    def heard(said: bytes, _: bytes) -> None:
        if said.endswith(b"\r\n.\r\n"):
            mail = next(accepted)
            sys.setprofile(calls if mail == MAILS - 1 else None)

    await session(await listening, script(message(100), messages=MAILS), heard=heard)
    signal.raise_signal(signal.SIGTERM)
    await relay
    return calls


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("mailer_dir")
    parser.add_argument("--functions", action="store_true")
    given = parser.parse_args()
    found = uvloop.run(counted(given.mailer_dir))
    sys.stdout.write(json.dumps(found.figures()) + "\n")
    for (module, name), number in sorted(found.functions.items()) if given.functions else ():
        sys.stdout.write(f"{number:4} {module} {name}\n")
