"""`o365mailer-sidecar spool …`: a person looks at the spool and changes it, by its files and a signal to its process.

Exit status: 0, 1 when a message could not be changed, 2 for a wrong command line or a directory that is no spool.

After a change the process that has the partition gets SIGHUP, and no other process. The image's program is
execute-only, so that no process can read what another has open. The command knows the owner by what it wrote into its
lock file, its pid and its start, and by the lock itself.
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
from o365mailer_sidecar.spool.inspect import STATES, SpoolFile, everything, named
from o365mailer_sidecar.spool.partition import LOCK, Owner, namespace, started

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
    """This message cannot be changed in this way; the text says why."""


def main(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    output: TextIO | None = None,
) -> int:
    """Run the arguments after `spool`; the exit status."""
    chosen = parser().parse_args(arguments)
    out = output or sys.stdout
    try:
        found = everything(_directory(getattr(chosen, "spool_dir", None), environment))
        if chosen.verb == "ls":
            shown = [each for each in found if not chosen.state or each.state in chosen.state]
            facts = [inspect.facts(each) for each in shown]
            out.write(inspect.as_json(facts) if chosen.json else inspect.table(shown, now()))
            return 0
        if chosen.verb == "show":
            return _show(named(chosen.queue_id, found), chosen, now(), out)
        if chosen.verb == "flush":
            wanted = [each for each in found if each.state == "queued"]
        else:
            wanted = [named(queue_id, found) for queue_id in chosen.queue_ids]
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
            each.add_argument("--state", action="append", choices=STATES)
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


def _show(found: SpoolFile, chosen: argparse.Namespace, now: datetime, out: TextIO) -> int:
    try:
        if chosen.json:
            facts = inspect.facts(found) | {"history": found.history()}
            if chosen.headers:
                facts["headers"] = found.headers()
            text = inspect.as_json(facts)
        else:
            text = inspect.details(found, now, headers=chosen.headers)
        out.write(text)
    except OSError as error:
        _complain(found, error)
        return 1
    return 0


def _complain(found: SpoolFile, error: Exception) -> None:
    if isinstance(error, FileNotFoundError):
        reason = "it was sent, or moved, in this moment"
    elif isinstance(error, PermissionError):
        reason = "not permitted: run this as the user that the sidecar runs as, or as root"
    else:
        reason = (error.strerror or "") if isinstance(error, OSError) else str(error)
    sys.stderr.write(f"o365mailer-sidecar spool: {inspect.plain(found.name)}: {reason}\n")


def _change(verb: str, wanted: Sequence[SpoolFile], now: datetime, out: TextIO) -> int:
    change, done = CHANGES[verb]
    changed: list[SpoolFile] = []
    for each in wanted:
        try:
            change(each, now)
        except (Refusal, Damaged, OSError) as error:
            _complain(each, error)
        else:
            changed.append(each)
    if verb == "flush":
        out.write(f"{len(changed)} waiting, {done}\n" if changed else "nothing waits\n")
    else:
        out.writelines(f"{inspect.plain(each.name)}: {done}\n" for each in changed)
    out.writelines(f"{notify_owner(partition)}\n" for partition in sorted({each.partition for each in changed}))
    return 1 if len(changed) < len(wanted) else 0


def _retry(found: SpoolFile, now: datetime) -> None:
    if found.entry is not None and found.place != "damaged":
        found.add(Event(at=now, event="retry"), disk=DISK)
    if found.place != "queue":
        found.requeue(disk=DISK)


def _mark(found: SpoolFile, event: EventName, now: datetime, *, only: str) -> None:
    if found.state != only:
        raise Refusal(f"it is {found.state}, not {only}")
    found.add(Event(at=now, event=event), disk=DISK)


def _flush(found: SpoolFile, now: datetime) -> None:
    # Not synced: there may be thousands, and after a crash the relay looks at every message anyway.
    found.add(Event(at=now, event="note", reason="flush", due=now), disk=DISK, durable=False)


CHANGES: Final[dict[str, tuple[Callable[[SpoolFile, datetime], None], str]]] = {
    "retry": (_retry, "will be tried now"),
    "hold": (lambda found, now: _mark(found, "hold", now, only="queued"), "on hold"),
    "release": (lambda found, now: _mark(found, "release", now, only="held"), "released, and will be tried now"),
    "drop": (lambda found, _: found.drop(disk=DISK), "deleted"),
    "flush": (_flush, "all to be tried now"),
}
"""Of each verb: what it does, and what the command says then."""


def notify_owner(partition: Path) -> str:
    """Send SIGHUP to the process that has the partition; the result in words. Without it the files still count."""
    unowned = f"no process has partition {partition.name}: the next that starts on it sees the change"
    try:
        owner = msgspec.json.decode((partition / LOCK).read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return unowned
    if owner.namespace != namespace() or not owner.started or not started(os.getpid()):
        return (
            f"partition {partition.name} belonged last to process {owner.pid} of '{owner.host}', which cannot be told "
            "from here: it sees the change at the message's next attempt, or when it starts again"
        )
    if started(owner.pid) != owner.started:  # it has ended, and another process may have its pid by now
        return unowned
    try:
        if not _locked(partition):  # the process is ending, and must not get SIGHUP any more
            return unowned
        os.kill(owner.pid, signal.SIGHUP)
    except ProcessLookupError:
        return unowned
    except PermissionError:
        return f"process {owner.pid} is another user's and was not told; send it SIGHUP: kill -HUP {owner.pid}"
    return f"process {owner.pid} was told"


def _locked(partition: Path) -> bool:
    with (partition / LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
