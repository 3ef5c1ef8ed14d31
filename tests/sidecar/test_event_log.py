"""The log where it cannot be written: on a real pipe that is full, torn, or without a reader."""

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from o365mailer_sidecar.telemetry.event_log import EventLog, LogFile

PAGE = 4096
"""Bytes: what a pipe takes again after a page of it was read (pipe(7))."""


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that waits for nothing."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def fill(writer: int) -> None:
    """Until it takes nothing more."""
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n" * PAGE)


def read(reader: int) -> list[str]:
    """The lines in the pipe."""
    return os.read(reader, 2**20).decode().split("\n")


def event_log(writer: int) -> EventLog:
    return EventLog(write=LogFile(writer).write, now=lambda: datetime.now(UTC))


def test_lines_that_cannot_be_written_are_dropped_and_counted_in_the_next() -> None:
    with pipe() as (reader, writer):
        log = event_log(writer)
        fill(writer)
        for _ in range(3):
            log.event("lost")
        read(reader)
        log.event("kept")
        log.event("kept")
        events = [json.loads(line) for line in read(reader) if line]
    assert [event["event"] for event in events] == ["log_lines_dropped", "kept", "kept"]
    assert (events[0]["lines"], events[0]["level"]) == (3, "warning")


def test_a_torn_line_spoils_no_other() -> None:
    with pipe() as (reader, writer):
        log = event_log(writer)
        fill(writer)
        os.read(reader, PAGE)
        log.event("torn", text="x" * 2 * PAGE)
        assert os.read(reader, 2**20).lstrip(b"\n").startswith(b'{"time"')
        log.event("kept")
        lines = read(reader)
    assert [json.loads(line)["event"] for line in lines if line] == ["log_lines_dropped", "kept"]


def test_a_reader_that_has_gone_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"the control")
    log = event_log(writer)
    log.event("lost")
    log.event("lost")
    os.close(writer)
    assert log.dropped == 2
