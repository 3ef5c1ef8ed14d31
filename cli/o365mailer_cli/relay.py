"""The relay as a process of its own: `o365mailer-sidecar`, started, listened to, stopped.

Its log comes as one JSON object a line on standard error. Two events are an interface: `listening` (protocol, host,
port), and `message` (outcome).
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from o365mailer_cli.death_signal import told_of_our_death
from o365mailer_cli.errors import CliError, RelayFailed, WrongFlag
from o365mailer_contract.names import ENV_SPOOL_DIR

MODULE: Final = "o365mailer_sidecar.main"
PROGRAM: Final = "o365mailer-sidecar: "
WRONG_COMMAND_LINE: Final = 2
"""Its exit status for a flag that cannot be used, which is one that the user gave to us."""
LEFT_BEHIND: Final = 75
"""Its exit status when it was stopped and mail stays in the spool, for the next one: no failure of anything."""
HUNG: Final = "Timeout ("
"""How the relay's watchdog begins its last words, which say where the relay hung (`faulthandler`)."""
LONGEST_LINE: Final = 2**16
"""Octets of one log line."""


class Relay:
    """A running relay."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.last_words = ""
        """The last line that is no event; of a relay that hung, all lines since its watchdog spoke."""
        self.stopping = False

    @classmethod
    async def start(cls, *, directory: Path, spool: Path | None, flags: Sequence[str]) -> "Relay":
        """Start it. It gets no secret: neither its command line nor its environment holds one."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("O365MAILER_")}
        if spool is not None:
            environment[ENV_SPOOL_DIR] = str(spool)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the directory that the user happens to be in holds no module of ours
            "-m",
            MODULE,
            "--mailer-dir",
            str(directory),
            *flags,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            limit=LONGEST_LINE,
            # A Ctrl-C in the terminal goes to the whole process group; the relay is told by us, with its grace.
            start_new_session=True,
            preexec_fn=told_of_our_death(signal.SIGTERM),
        )
        return cls(process)

    async def lines(self) -> AsyncIterator[tuple[bytes, Mapping[str, Any]]]:
        """Each line of its log as it came, and as an event (empty for what is none); ends when the relay does."""
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
        """Wait for its end; what to tell about it, None when it was asked to stop and did."""
        status = await self.process.wait()
        if self.stopping and status in (0, LEFT_BEHIND, -signal.SIGTERM, -signal.SIGKILL):
            return None
        words = self.last_words.removeprefix(PROGRAM) or "it left no message"
        if words.startswith(HUNG):
            return RelayFailed(
                "the relay did nothing for a minute, so it ended itself. Start it again: what waits in its spool is "
                f"sent then. This is a fault of the relay: please report where it hung:\n{words}"
            )
        if status == WRONG_COMMAND_LINE:
            return WrongFlag(words)
        if status < 0:
            return RelayFailed(
                f"the relay was killed by {_signal(-status)}; if nobody did that, see whether memory ran out (dmesg). "
                "Start it again: what waits in its spool is sent then"
            )
        return RelayFailed(f"the relay ended with status {status}: {words}")

    def stop(self) -> None:
        """Ask it to finish what is in flight and end; the second time, end it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL if self.stopping else signal.SIGTERM)
        self.stopping = True


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
