"""The log: one JSON object a line, from fields that are named and harmless; never bodies, tokens or addresses of mail.

An event's fields are written by whoever knows what is in them. Texts of exceptions are not written at all, because a
library may have put what it was given into them: a failure is its type and the places in the code that it passed.
"""

import logging
import os
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

LEVELS: Final = ("debug", "info", "warning", "error")

Value = str | int | float | bool | None


class EventLog:
    """Writes events at or above `level`.

    A line that cannot be written (a full disk, a reader that went away or lags) is dropped, and mail goes on. The next
    line that can be written stands after one that counts the dropped ones.
    """

    def __init__(self, *, write: Callable[[bytes], object], now: Callable[[], datetime], level: str = "info") -> None:
        self.write, self.now, self.level = write, now, level
        self.dropped = 0
        """Lines since the last one that was written."""

    def event(self, name: str, *, level: str = "info", always: bool = False, **fields: Value) -> None:
        """One line. `name` is a word that a search can be built on; with `always`, whatever the level."""
        if not always and LEVELS.index(level) < LEVELS.index(self.level):
            return
        try:
            if self.dropped:
                self.write(self._line("log_lines_dropped", level="warning", lines=self.dropped))
                self.dropped = 0
            self.write(self._line(name, level=level, **fields))
        except OSError:
            self.dropped += 1

    def _line(self, name: str, *, level: str, **fields: Value) -> bytes:
        stamp = self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return msgspec.json.encode({"time": stamp, "level": level, "event": name, **fields}) + b"\n"

    def failure(self, name: str, error: BaseException) -> None:
        """A defect of ours: its type and where it passed, not its text."""
        places = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        self.event(name, level="error", error=type(error).__name__, places=" ".join(places))


class LogFile:
    """Writes whole lines to a file descriptor, where the system may take only a part of one."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.torn = False
        """Whether the last line has only a beginning: the next one must not continue it."""

    def write(self, line: bytes) -> None:
        """Raises OSError."""
        rest = memoryview(b"\n" + line if self.torn else line)
        while rest:
            written = os.write(self.descriptor, rest)
            rest = rest[written:]
            self.torn = bool(rest)


class LibraryLog(logging.Handler):
    """Carries what libraries log into the journal: the logger's name and the exception's type, no text."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        if record.exc_info and record.exc_info[1]:
            self.log.failure(f"{record.name}_failed", record.exc_info[1])
        else:
            self.log.event("library_message", level="warning", logger=record.name, place=record.funcName)


def capture(log: EventLog) -> None:
    """Send Python's logging to the journal."""
    logging.basicConfig(handlers=[LibraryLog(log)], level=logging.WARNING, force=True)
