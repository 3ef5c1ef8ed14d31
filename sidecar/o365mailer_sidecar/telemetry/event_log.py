"""The log: one JSON object per line, from fields that are named and harmless; never bodies or tokens.

The code that logs an event chooses its fields. Texts of exceptions are not logged, because a library may have put what
it was given into them: a failure is logged as its type and the places in the code that it passed.
"""

import logging
import os
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""By name, in ascending order, with the figures of Python's logging."""

Value = str | int | float | bool | None


class EventLog:
    """Writes events at or above `level`.

    A line that cannot be written (the disk is full, the reader of the log is gone or too slow) is dropped, and mail
    goes on. A line that counts the dropped ones comes before the next that can be written.
    """

    def __init__(self, *, write: Callable[[bytes], object], now: Callable[[], datetime], level: str = "info") -> None:
        self.write, self.now, self.level = write, now, level
        self.dropped = 0
        """Lines since the last one that was written."""

    def event(self, name: str, *, level: str = "info", always: bool = False, **fields: Value) -> None:
        """Write one line. `name` is a word that a search can be built on; with `always`, whatever the level."""
        if not always and LEVELS[level] < LEVELS[self.level]:
            return
        try:
            if self.dropped:
                self._write("log_lines_dropped", "warning", {"lines": self.dropped})
                self.dropped = 0
            self._write(name, level, fields)
        except OSError:
            self.dropped += 1

    def _write(self, name: str, level: str, fields: dict[str, Value]) -> None:
        stamp = self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.write(msgspec.json.encode({"time": stamp, "level": level, "event": name, **fields}) + b"\n")

    def failure(self, name: str, error: BaseException) -> None:
        """Log a defect of the relay: the exception's type and where it passed, not its text."""
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
    """Logs what libraries log: the logger's name and the exception's type, no text."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log a library's record."""
        if record.exc_info and record.exc_info[1]:
            self.log.failure(f"{record.name}_failed", record.exc_info[1])
        else:
            self.log.event("library_message", level="warning", logger=record.name, place=record.funcName)


def capture(log: EventLog) -> None:
    """Send Python's logging to the event log."""
    logging.basicConfig(handlers=[LibraryLog(log)], level=logging.WARNING, force=True)
