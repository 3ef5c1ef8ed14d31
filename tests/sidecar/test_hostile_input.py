"""Hostile input: sessions against a model of them, mailer directories and spool files broken in every way.

A share of what `make fuzz` runs, from one seed a commit; a failure names it.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz import run
from fuzz.run import Result
from fuzz.sessions import Crowd, Disagreement
from support.seeds import SEED
from support.sidecar_process import Wire

AT_MOST = 20.0
"""Seconds for each kind; the counts take a fraction of it."""


def repeatable(kind: Callable[..., Result], *arguments: Path, inputs: int) -> Result:
    """Run it; what it raises says how to have it again."""
    try:
        return kind(*arguments, seed=SEED, inputs=inputs, until=time.monotonic() + AT_MOST)
    except BaseException as found:
        found.add_note(f"python -m fuzz --seed {SEED} has it again")
        raise


@pytest.mark.promise("hostile-input-ends-its-own-session")
def test_every_session_is_answered_as_the_model_says_and_what_was_accepted_arrives_once(tmp_path: Path) -> None:
    result = repeatable(run.sessions, tmp_path / "mailer", inputs=15_000)
    assert result.inputs > 1_000
    assert result.taken.keys() >= {"250", "354", "421", "500", "501", "503", "552", "553", "554", "555"}


@pytest.mark.promise("hostile-input-ends-its-own-session")
def test_a_broken_mailer_directory_is_never_fatal_and_never_half_used(tmp_path: Path) -> None:
    result = repeatable(run.documents, tmp_path / "documents", inputs=8_000)
    assert result.taken.keys() >= {"taken", "InvalidSettings", "UnknownRestriction", "NewerSchema", "file"}


@pytest.mark.promise("hostile-input-ends-its-own-session")
def test_a_spool_file_is_the_message_that_was_stored_or_is_called_damaged() -> None:
    result = repeatable(run.spool_files, inputs=8_000)
    assert result.taken["whole"] > 1_000
    assert result.taken["damaged"] > 1_000


def test_the_model_notices_a_wrong_answer(tmp_path: Path) -> None:
    """The control: an answer that is not the model's is a disagreement, and so is a message that went astray."""
    with run.crowded_sidecar(tmp_path) as (sidecar, host), Wire(sidecar.port) as wire:
        crowd = Crowd(sidecar, host)
        talk = crowd.open()
        wire.begin()
        crowd.say(talk, [b"NOOP\r\n"], [b"EXPN\r\n"])
        with pytest.raises(Disagreement, match="was answered 502, not"):
            crowd.hear(talk)
        talk.wire = wire
        talk.model.greeted, talk.model.transaction, talk.model.recipients = True, True, 1
        crowd.say(talk, [b"DATA\r\n"], [b"DATA\r\n"])
        assert crowd.hear(talk) == "354"
        crowd.say_message(talk, b"Subject: a\r\n\r\n.\r\n", [b"Subject: b\r\n\r\n.\r\n"], "a")
        with pytest.raises(Disagreement, match="was answered 250, and arrived as"):
            crowd.hear(talk)
