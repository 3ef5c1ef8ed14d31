"""Telling the process that has a slot to look at its files again: SIGHUP, and only to that process.

The sidecar's program is execute-only in its image, so that no other process can read what it has open. So its owner is
known by what it wrote into its lock file, its pid and its start, and by the lock itself, not by its descriptors.
"""

import fcntl
import os
import signal
from pathlib import Path

import msgspec

from o365mailer_sidecar.spool.slot import LOCK, Owner, namespace, started


def holder(slot: Path) -> Owner | None:
    """Who wrote the lock file, whether it still lives or not."""
    try:
        return msgspec.json.decode((slot / LOCK).read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None


def locked(slot: Path) -> bool:
    """Whether a process has it now. Raises OSError."""
    with (slot / LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def told(slot: Path) -> str:
    """Send it the signal; what came of it, for a person. Nothing is lost either way: the files say what to do."""
    owner, nobody = holder(slot), f"no process has slot {slot.name}: the next that starts on it sees the change"
    if owner is None:
        return nobody
    if owner.namespace != namespace() or not owner.started or not started(os.getpid()):
        return (
            f"slot {slot.name} belonged last to process {owner.pid} of '{owner.host}', which cannot be told from here: "
            "it sees the change at the message's next attempt, or when it starts again"
        )
    if started(owner.pid) != owner.started:  # it has ended, and its pid may be another's by now
        return nobody
    try:
        if not locked(slot):  # it has let go: it is ending, and SIGHUP is not for it any more
            return nobody
        os.kill(owner.pid, signal.SIGHUP)
    except ProcessLookupError:
        return nobody
    except PermissionError:
        return f"process {owner.pid} is another user's and was not told; send it SIGHUP: kill -HUP {owner.pid}"
    return f"process {owner.pid} was told"
