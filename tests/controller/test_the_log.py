"""The shape of a log line, which the controller and the webhook share."""

import io
import json
import logging

import pytest

from o365mailer_operator.logs import start_logging


@pytest.mark.promise("C17")
def test_a_line_is_one_object_and_an_exception_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    root, own = logging.getLogger(), logging.getLogger("o365mailer_operator")
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    levels = root.level, own.level
    start_logging("info", stream=stream)
    try:
        logging.getLogger("some.library").info("said too much")
        own.debug("not asked for")
        try:
            raise ValueError("the-secret-that-is-not-one")
        except ValueError:
            own.exception("it\nbroke", extra={"mailer": "team/noreply"})
    finally:
        root.setLevel(levels[0])
        own.setLevel(levels[1])
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
