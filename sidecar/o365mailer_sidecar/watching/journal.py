"""The log: one JSON object a line, from fields that are named and harmless; never bodies, tokens or addresses of mail.

An event's fields are written by whoever knows what is in them. Texts of exceptions are not written at all, because a
library may have put what it was given into them: a failure is its type and the places in the code that it passed.
"""

import logging
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

LEVELS: Final = ("debug", "info", "warning", "error")

Value = str | int | float | bool | None


class Journal:
    """Writes events at or above `level`."""

    def __init__(self, *, write: Callable[[bytes], object], now: Callable[[], datetime], level: str = "info") -> None:
        self.write, self.now, self.level = write, now, level

    def event(self, name: str, *, level: str = "info", always: bool = False, **fields: Value) -> None:
        """One line. `name` is a word that a search can be built on; with `always`, whatever the level."""
        if not always and LEVELS.index(level) < LEVELS.index(self.level):
            return
        stamp = self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = msgspec.json.encode({"time": stamp, "level": level, "event": name, **fields})
        try:
            self.write(line + b"\n")
        except OSError:
            self.write = len  # whoever read the log has gone; mail goes on

    def failure(self, name: str, error: BaseException) -> None:
        """A defect of ours: its type and where it passed, not its text."""
        places = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        self.event(name, level="error", error=type(error).__name__, places=" ".join(places))


class LibraryLog(logging.Handler):
    """Carries what libraries log into the journal: the logger's name and the exception's type, no text."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self.journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        if record.exc_info and record.exc_info[1]:
            self.journal.failure(f"{record.name}_failed", record.exc_info[1])
        else:
            self.journal.event("library_message", level="warning", logger=record.name, place=record.funcName)


def capture(journal: Journal) -> None:
    """Send Python's logging to the journal."""
    logging.basicConfig(handlers=[LibraryLog(journal)], level=logging.WARNING, force=True)
