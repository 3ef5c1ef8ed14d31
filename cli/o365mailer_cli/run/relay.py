"""The relay as a process: starts `o365mailer-sidecar`, reads its log, stops it.

The log is one JSON object per line on the relay's standard error. The contract names the events and exit statuses that
`o365mailer run` relies on.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from o365mailer_cli.errors import CliError, RelayFailed, WrongFlag
from o365mailer_contract.names import ENV_SPOOL_DIR, EXIT_MAIL_LEFT, EXIT_WRONG_USAGE

MODULE: Final = "o365mailer_sidecar.main"
PROGRAM: Final = "o365mailer-sidecar: "
HUNG: Final = "Timeout ("
"""The beginning of what the relay's watchdog writes about where the relay hung (`faulthandler`)."""
PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
LONGEST_LINE: Final = 2**16
"""The most bytes of one log line."""


class Relay:
    """A running relay process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.last_words = ""
        """The last line that is not an event. If the relay hung, all lines of its watchdog."""
        self.stopping = False

    @classmethod
    async def start(cls, *, directory: Path, spool: Path | None, flags: Sequence[str]) -> "Relay":
        """Start it. Neither its command line nor its environment contains a secret."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("O365MAILER_")}
        if spool is not None:
            environment[ENV_SPOOL_DIR] = str(spool)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # do not import modules from the user's current directory
            "-m",
            MODULE,
            "--mailer-dir",
            str(directory),
            *flags,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            limit=LONGEST_LINE,
            # A Ctrl-C in the terminal goes to the whole process group. We stop the relay ourselves, with its grace.
            start_new_session=True,
            preexec_fn=on_parents_death(signal.SIGTERM),
        )
        return cls(process)

    async def lines(self) -> AsyncIterator[tuple[bytes, Mapping[str, Any]]]:
        """Each line of its log, and the event in it (empty if the line is not an event). Ends with the relay."""
        reader = self.process.stderr
        while reader is not None:
            try:
                line = await reader.readline()
            except ValueError:  # longer than the limit: the reader has dropped it
                continue
            if not line:
                return
            event = _event_in(line)
            if not event and line.strip():
                text = line.decode(errors="replace").rstrip()
                self.last_words = f"{self.last_words}\n{text}" if self.last_words.startswith(HUNG) else text.lstrip()
            yield line, event

    async def ended(self) -> CliError | None:
        """Wait for its end. Returns what to tell the user, or None if it stopped because `stop` was called."""
        status = await self.process.wait()
        if self.stopping and status in (0, EXIT_MAIL_LEFT, -signal.SIGTERM, -signal.SIGKILL):
            return None
        words = self.last_words.removeprefix(PROGRAM) or "it left no message"
        if words.startswith(HUNG):
            return RelayFailed(
                "the relay did nothing for a minute, so it ended itself. Start it again: what waits in its spool is "
                f"sent then. This is a fault of the relay: please report where it hung:\n{words}"
            )
        if status == EXIT_WRONG_USAGE:
            return WrongFlag(words)
        if status < 0:
            return RelayFailed(
                f"the relay was killed by {_signal(-status)}; unless you did that, see whether memory ran out (dmesg). "
                "Start it again: what waits in its spool is sent then"
            )
        return RelayFailed(f"the relay ended with status {status}: {words}")

    def stop(self) -> None:
        """The first call lets it finish mail in flight and end. The second call ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL if self.stopping else signal.SIGTERM)
        self.stopping = True


def on_parents_death(number: signal.Signals) -> Callable[[], None] | None:
    """What the child runs between fork and exec, to get `number` when the calling thread ends. None off Linux.

    Otherwise a SIGKILL of this process would leave the relay running (prctl(2), PR_SET_PDEATHSIG). The standard library
    has no call for it, and a pipe whose end the relay watches would make the relay know of `o365mailer run`.
    """
    if sys.platform != "linux":
        return None
    # Look up everything here: between fork and exec of a program with threads, little is safe.
    prctl = ctypes.CDLL(None).prctl
    argument = ctypes.c_ulong(number)
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, argument)
        if os.getppid() != parent:  # it died before the call, and the kernel signals only later deaths
            os.kill(os.getpid(), number)

    return ask


def _signal(number: int) -> str:
    """`SIGKILL`."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _event_in(line: bytes) -> Mapping[str, Any]:
    try:
        decoded = msgspec.json.decode(line)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
