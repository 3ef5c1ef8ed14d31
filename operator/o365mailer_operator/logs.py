"""Logs as JSON, one object a line, which log collectors read without configuration.

Only our own loggers use the configured level. Libraries log warnings and errors only: at debug they log requests and
answers, and with them secrets and tokens. For the same reason a traceback is a list of places in the code, without the
exception's text and the lines of code, and an object is logged member by member, never whole.
"""

import datetime
import json
import logging
import sys
import traceback
from types import TracebackType
from typing import Final, TextIO

LEVELS: Final = ("debug", "info", "warning", "error")
OWN: Final = "o365mailer_operator"
_ENCODER: Final = json.JSONEncoder(default=str)
"""Made once: `json.dumps` would make one for each line."""
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One record as one line. The members of `extra` become members."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
            line["at"] = _places(record.exc_info[2])
        return _ENCODER.encode(line)


class LineHandler(logging.StreamHandler[TextIO]):
    """Continues after a line that cannot be written (a full disk, a closed pipe).

    logging's own handler would print the record's arguments and the error's text to standard error.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Name the logger and the error's type, unless nothing can be written at all."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            words = {"name": record.name, "levelname": "ERROR", "msg": f"a log line failed: {type(error).__name__}"}
            super().emit(logging.makeLogRecord(words))


def start_logging(level: str, *, stream: TextIO = sys.stderr) -> None:
    """Sends all logs to `stream`. `level`, one of LEVELS, is for our own loggers."""
    handler = LineHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("kubernetes").setLevel(logging.ERROR)  # its warnings repeat our errors
    logging.getLogger(OWN).setLevel(level.upper())


def _places(trace: TracebackType | None) -> list[str]:
    """The places of a traceback, the outermost first: `file:line function`."""
    return [f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in traceback.walk_tb(trace)]
