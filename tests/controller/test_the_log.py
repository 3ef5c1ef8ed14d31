"""The shape of a log line, which the controller and the webhook share."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator

import pytest

from o365mailer_operator.logs import start_logging


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """Our logger; afterwards logging is as it was."""
    root, own = logging.getLogger(), logging.getLogger("o365mailer_operator")
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    levels = root.level, own.level
    yield own
    root.setLevel(levels[0])
    own.setLevel(levels[1])


@pytest.mark.promise("secrets-stay-secret")
def test_a_line_is_one_object_and_an_exception_is_told_without_its_text(own: logging.Logger) -> None:
    stream = io.StringIO()
    start_logging("info", stream=stream)
    logging.getLogger("some.library").info("said too much")
    own.debug("not asked for")
    try:
        raise ValueError("the-secret-that-is-not-one")
    except ValueError:
        own.exception("it\nbroke", extra={"mailer": "team/noreply"})
    (text,) = stream.getvalue().splitlines()
    line = json.loads(text)
    assert line.pop("time").endswith("+00:00")
    (place,) = line.pop("at")
    assert place.endswith(" test_a_line_is_one_object_and_an_exception_is_told_without_its_text")
    assert line == {
        "level": "error",
        "logger": "o365mailer_operator",
        "message": "it\nbroke",
        "mailer": "team/noreply",
        "exception": "ValueError",
    }


@pytest.mark.promise("secrets-stay-secret")
def test_a_line_that_cannot_be_written_is_told_nowhere_else(
    own: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = open("/dev/full", "w")  # noqa: SIM115, PTH123  # closing it fails too
    start_logging("info", stream=stream)
    own.info("%s", "the-secret-that-is-not-one")
    with contextlib.suppress(OSError):
        stream.close()
    assert capsys.readouterr().err == ""


@pytest.mark.promise("secrets-stay-secret")
def test_a_line_that_cannot_be_formatted_is_told_without_its_arguments(
    own: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    start_logging("info", stream=(stream := io.StringIO()))
    own.info("%d", "the-secret-that-is-not-one")
    own.info("the next")
    lines = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert lines == ["a log line failed: TypeError", "the next"]
    assert capsys.readouterr().err == ""
