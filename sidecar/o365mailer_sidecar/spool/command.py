"""Telling the process that has a slot to look at its files again: SIGHUP, and only to that process.

The sidecar's program is execute-only in its image, so that no other process can read what it has open. So its owner is
known by what it wrote into its lock file, its pid and its start, and by the lock itself, not by its descriptors.
"""

import argparse
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

import msgspec

from o365mailer_contract import names
from o365mailer_sidecar.errors import Damaged, WrongCommandLine
from o365mailer_sidecar.spool import inspect
from o365mailer_sidecar.spool.disk import Disk
from o365mailer_sidecar.spool.entry import Event, EventName
from o365mailer_sidecar.spool.inspect import SpoolFile, everything, named
from o365mailer_sidecar.spool.partition import LOCK, Owner, namespace, started


def holder(partition: Path) -> Owner | None:
    """Who wrote the lock file, whether it still lives or not."""
    try:
        return msgspec.json.decode((partition / LOCK).read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None


def locked(partition: Path) -> bool:
    """Whether a process has it now. Raises OSError."""
    with (partition / LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def told(partition: Path) -> str:
    """Send it the signal; what came of it, for a person. Nothing is lost either way: the files say what to do."""
    owner, nobody = (
        holder(partition),
        f"no process has partition {partition.name}: the next that starts on it sees the change",
    )
    if owner is None:
        return nobody
    if owner.namespace != namespace() or not owner.started or not started(os.getpid()):
        return (
            f"partition {partition.name} belonged last to process {owner.pid} of '{owner.host}', which cannot be told "
            "from here: it sees the change at the message's next attempt, or when it starts again"
        )
    if started(owner.pid) != owner.started:  # it has ended, and its pid may be another's by now
        return nobody
    try:
        if not locked(partition):  # it has let go: it is ending, and SIGHUP is not for it any more
            return nobody
        os.kill(owner.pid, signal.SIGHUP)
    except ProcessLookupError:
        return nobody
    except PermissionError:
        return f"process {owner.pid} is another user's and was not told; send it SIGHUP: kill -HUP {owner.pid}"
    return f"process {owner.pid} was told"


# --- spool_command --------------------
# `o365mailer-sidecar spool …`: the spool in a person's hands. Files, and a signal to the process; no other way in.
#
# Exit status: 0, 1 when a message could not be changed, 2 for a wrong command line or a directory that is no spool.


DISK: Final = Disk()

VERBS: Final = {
    "ls": "list the messages; dead letters and damaged ones too",
    "show": "all about one message but its body",
    "retry": "try now; also a dead letter, or a damaged file that was repaired",
    "hold": "keep, and do not try until it is released",
    "release": "try a held message again",
    "drop": "delete for good, unsent",
    "flush": "try all that wait now, but those on hold",
}


class Refusal(Exception):
    """One message cannot be changed so; the text says why."""


def main(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    output: TextIO | None = None,
) -> int:
    """Do what the arguments behind `spool` say."""
    chosen = parser().parse_args(arguments)
    out = output or sys.stdout
    try:
        directory = _directory(getattr(chosen, "spool_dir", None), environment)
        found = everything(directory)
        if chosen.verb == "ls":
            shown = [each for each in found if not chosen.state or each.state in chosen.state]
            text = (
                inspect.as_json([inspect.facts(each) for each in shown]) if chosen.json else inspect.table(shown, now())
            )
            out.write(text)
            return 0
        if chosen.verb == "show":
            one = named(chosen.queue_id, found)
            try:
                out.write(_shown(one, chosen, now()))
            except OSError as error:
                _complain(one, error)
                return 1
            return 0
        wanted = (
            [each for each in found if each.state == "queued"]
            if chosen.verb == "flush"
            else [named(queue_id, found) for queue_id in chosen.queue_ids]
        )
    except WrongCommandLine as error:
        sys.stderr.write(f"o365mailer-sidecar spool: {error}\n")
        return 2
    return _change(chosen.verb, wanted, now(), out)


def parser() -> argparse.ArgumentParser:
    """The verbs and their flags."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--spool-dir", metavar="DIR", help=f"the spool (default: ${names.ENV_SPOOL_DIR})")
    made = argparse.ArgumentParser(
        prog="o365mailer-sidecar spool",
        description="Look at the mail that waits, and decide about it.",
        parents=[common],
    )
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, text in VERBS.items():
        each = verbs.add_parser(verb, help=text, description=text, parents=[common])
        if verb in ("ls", "show"):
            each.add_argument("--json", action="store_true", help="for a program")
        if verb == "ls":
            each.add_argument("--state", action="append", choices=("queued", "held", "dead", "damaged"))
        elif verb == "show":
            each.add_argument("--headers", action="store_true", help="the message's own headers too")
            each.add_argument("queue_id", metavar="ID", help="a queue id, or its beginning")
        elif verb != "flush":
            each.add_argument("queue_ids", metavar="ID", nargs="+", help="queue ids, or their beginnings")
    return made


def _directory(given: str | None, environment: Mapping[str, str]) -> Path:
    text = given or environment.get(names.ENV_SPOOL_DIR)
    if not text:
        raise WrongCommandLine(
            f"which spool? --spool-dir DIR or {names.ENV_SPOOL_DIR} says so, as for the sidecar itself; "
            "a sidecar without either keeps no mail"
        )
    return Path(text)


def _shown(found: SpoolFile, chosen: argparse.Namespace, now: datetime) -> str:
    """All about it. Raises OSError when it is sent, or moved, in this moment."""
    if not chosen.json:
        return inspect.details(found, now, headers=chosen.headers)
    facts = inspect.facts(found) | {"history": found.history()}
    if chosen.headers:
        facts["headers"] = found.headers().decode("utf-8", "backslashreplace")
    return inspect.as_json(facts)


def _complain(found: SpoolFile, error: Exception) -> None:
    sys.stderr.write(f"o365mailer-sidecar spool: {inspect.plain(found.name)}: {_reason(error)}\n")


def _change(verb: str, wanted: Sequence[SpoolFile], now: datetime, out: TextIO) -> int:
    changed: list[SpoolFile] = []
    for each in wanted:
        try:
            CHANGES[verb](each, now)
        except (Refusal, Damaged, OSError) as error:
            _complain(each, error)
        else:
            changed.append(each)
    if verb == "flush":
        out.write(f"{len(changed)} waiting, {DONE[verb]}\n" if changed else "nothing waits\n")
    else:
        out.writelines(f"{inspect.plain(each.name)}: {DONE[verb]}\n" for each in changed)
    out.writelines(f"{told(partition)}\n" for partition in sorted({each.partition for each in changed}))
    return 1 if len(changed) < len(wanted) else 0


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it was sent, or moved, in this moment"
    if isinstance(error, PermissionError):
        return "not permitted: run this as the user that the sidecar runs as, or as root"
    return (error.strerror or "") if isinstance(error, OSError) else str(error)


def _retry(found: SpoolFile, now: datetime) -> None:
    if found.entry is not None and found.place != "damaged":
        found.add(Event(at=now, event="retry"), disk=DISK)
    if found.place != "queue":
        found.requeue(disk=DISK)


def _mark(found: SpoolFile, event: EventName, now: datetime, *, states: tuple[str, ...]) -> None:
    if found.state not in states:
        raise Refusal(f"it is {found.state}, not {' or '.join(states)}")
    found.add(Event(at=now, event=event), disk=DISK)


def _flush(found: SpoolFile, now: datetime) -> None:
    # Not synced: there may be thousands, and after a crash everything is looked at anyway.
    found.add(Event(at=now, event="note", reason="flush", due=now), disk=DISK, durable=False)


DONE: Final = {
    "retry": "will be tried now",
    "hold": "on hold",
    "release": "released, and will be tried now",
    "drop": "deleted",
    "flush": "all to be tried now",
}

CHANGES: Final[dict[str, Callable[[SpoolFile, datetime], None]]] = {
    "retry": _retry,
    "hold": lambda found, now: _mark(found, "hold", now, states=("queued",)),
    "release": lambda found, now: _mark(found, "release", now, states=("held",)),
    "drop": lambda found, _: found.drop(disk=DISK),
    "flush": _flush,
}
