"""Telling the process that has a slot to look at its files again: SIGHUP, and only to that process."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import msgspec

from o365mailer_sidecar.spool.slot import LOCK, Owner, namespace

PROCESSES = Path("/proc")


def holder(slot: Path) -> Owner | None:
    """Who wrote the lock file, whether it still lives or not."""
    try:
        return msgspec.json.decode((slot / LOCK).read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None


def holds(pid: int, lock: Path) -> bool:
    """Whether that process has the lock file open: a pid alone may be anybody's by now. Raises PermissionError."""
    try:
        wanted = lock.stat()
        descriptors = list((PROCESSES / str(pid) / "fd").iterdir())
    except FileNotFoundError:
        return False
    for descriptor in descriptors:
        with suppress(FileNotFoundError):
            if os.path.samestat(descriptor.stat(), wanted):
                return True
    return False


def told(slot: Path) -> str:
    """Send it the signal; what came of it, for a person. Nothing is lost either way: the files say what to do."""
    owner = holder(slot)
    if owner is None:
        return f"no process has slot {slot.name}: the next that starts on it sees the change"
    if owner.namespace != namespace():
        return (
            f"slot {slot.name} belonged last to process {owner.pid} of '{owner.host}', which cannot be told from here: "
            "it sees the change at the message's next attempt, or when it starts again"
        )
    try:
        if not holds(owner.pid, slot / LOCK):
            return f"no process has slot {slot.name}: the next that starts on it sees the change"
        os.kill(owner.pid, signal.SIGHUP)
    except PermissionError:
        return f"process {owner.pid} is another user's and was not told; send it SIGHUP: kill -HUP {owner.pid}"
    return f"process {owner.pid} was told"
