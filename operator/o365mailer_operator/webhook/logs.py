"""Log lines as JSON, one an event. Fields are chosen one by one where they are logged: never an object's body."""

import datetime
import json
import logging
import sys
from typing import Final, TextIO

OWN: Final = "o365mailer_operator"
LEVELS: Final = ("debug", "info", "warning", "error")
STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message", …}` and what was passed in `extra`; of an exception its type and where it
    was raised, not its text, which may quote what it failed on."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in STANDARD},
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
            line["at"] = _innermost(record)
        return json.dumps(line, default=str)


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Everything is written to the stream: ours from this level up, the libraries' from warnings up."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(OWN).setLevel(level.upper())


def _innermost(record: logging.LogRecord) -> str:
    trace = record.exc_info[2] if record.exc_info else None
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
