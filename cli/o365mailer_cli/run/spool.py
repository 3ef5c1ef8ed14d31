"""Where `o365mailer run` queues mail: in the user's state directory.

The path names mailer, host and mailbox. Another mailer with the same name must not send this mail, and mail for an
emulator must not reach the real host.
"""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from o365mailer_cli.document import Document
from o365mailer_cli.errors import CliError, WrongFlag, WrongInput
from o365mailer_contract.names import SPOOL_QUEUE

STATE_HOME: Final = "XDG_STATE_HOME"
"""A relative path is ignored (XDG Base Directory Specification 0.8)."""
PRIVATE: Final = 0o700
WAY_OUT: Final = "Name a directory on a disk with --spool-dir, or send without a spool: --no-spool."


class SpoolDirectory:
    """A spool, seen from outside: the relay alone writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def waiting(self) -> int:
        """How many messages wait in all partitions; a message that is being written is not counted."""
        try:
            partitions = [each for each in self.path.iterdir() if each.name.isdigit()]
        except OSError:
            return 0
        return sum(_entries(partition / SPOOL_QUEUE) for partition in partitions)


def usual_place(mailer: Document, environment: Mapping[str, str]) -> Path:
    """The directory of this mailer, host and mailbox in the user's state. Raises WrongInput where there is no such."""
    state, home = environment.get(STATE_HOME, ""), environment.get("HOME", "")
    if Path(state).is_absolute():
        base = Path(state)
    elif Path(home).is_absolute():
        base = Path(home, ".local", "state")
    else:
        raise WrongInput(f"--spool-dir: neither {STATE_HOME} nor HOME says where mail could wait. {WAY_OUT}")
    host = mailer.spec.endpoints.submission_host.rstrip(".").lower()
    return base / "o365mailer" / mailer.name / host / _file_name(mailer.spec.mailbox.lower())


def open_spool(path: Path) -> SpoolDirectory:
    """The spool in this directory, which is created with its parents, for its owner only. Raises WrongInput."""
    try:
        _make(path.absolute())
    except OSError as error:
        raise WrongInput(f"--spool-dir: {path} cannot be made: {error.strerror}. {WAY_OUT}") from None
    return SpoolDirectory(path.absolute())


def with_way_out(problem: CliError) -> CliError:
    """Adds the remedy to the relay's refusal of the default spool directory, which the user did not name."""
    if isinstance(problem, WrongFlag) and problem.flag == "--spool-dir":
        return WrongInput(f"{str(problem).rstrip('.')}. {WAY_OUT}")
    return problem


def _make(path: Path) -> None:
    """Creates the directory and syncs each new entry, so that a power cut does not remove a spool with mail in it."""
    if path.is_dir():
        return
    if path.exists():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    _make(path.parent)
    path.mkdir(mode=PRIVATE, exist_ok=True)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _entries(queue: Path) -> int:
    try:
        with os.scandir(queue) as entries:
            return sum(not entry.name.startswith(".") for entry in entries)
    except OSError:
        return 0


def _file_name(mailbox: str) -> str:
    """The address as a file name: an address may contain a slash, a file name may not."""
    return mailbox.replace("%", "%25").replace("/", "%2F")
