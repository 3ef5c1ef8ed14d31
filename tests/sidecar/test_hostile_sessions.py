"""Sessions that interleave, break off, and come in giant and tiny fragments: a state machine against the model.

What it finds it shrinks to the fewest steps. `make fuzz` runs many more of them.
"""

from pathlib import Path

import pytest
from fuzz import vocabulary
from fuzz.model import ends_within
from fuzz.sessions import Crowd, Disagreement, Talk, crowded
from fuzz.vocabulary import bodies, commands, cut, cuts, heads
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.sidecar_process import Wire


class Sessions(RuleBasedStateMachine):
    """Up to four apps at once. Each hears what it is owed before it says more."""

    talks = Bundle("talks")
    opened = 0

    def __init__(self, crowd: Crowd) -> None:
        super().__init__()
        self.crowd = crowd
        self.open: list[Talk] = []

    @precondition(lambda self: len(self.open) < 4)
    @rule(target=talks)
    def connect(self) -> Talk:
        """Another app."""
        self.open.append(self.crowd.open())
        return self.open[-1]

    @rule(talk=talks, depth=st.integers(0, 3), said=st.lists(commands, min_size=1, max_size=8), places=cuts)
    def command(self, talk: Talk, depth: int, said: list[bytes], places: list[int]) -> None:
        """Some, pipelined, so deep in a transaction; an app that was told 354 sends its message first."""
        if self._ready(talk):
            said = [*vocabulary.ENVELOPE[:depth], *said]
            self.crowd.say(talk, said, cut(b"".join(said), places))

    @rule(talk=talks, said=st.sampled_from(vocabulary.FATAL), places=cuts)
    def blunder(self, talk: Talk, said: bytes, places: list[int]) -> None:
        """What ends a session."""
        if self._ready(talk):
            self.crowd.say(talk, [said], cut(said, places))

    @rule(talk=talks, head=heads, body=bodies, places=cuts)
    def message(self, talk: Talk, head: bytes, body: bytes, places: list[int]) -> None:
        """From MAIL to the end of data."""
        if not self._ready(talk):
            return
        begin = [b"RSET\r\n", *vocabulary.ENVELOPE, b"DATA\r\n"]
        self.crowd.say(talk, begin, cut(b"".join(begin), places))
        if self.crowd.hear(talk) == "354":
            self._send(talk, head + b"\r\n" + body, places)

    def _send(self, talk: Talk, content: bytes, places: list[int]) -> None:
        name = self.crowd.fresh_name()
        whole = b"Subject: %s\r\n%s\r\n.\r\n" % (name.encode(), content)
        if ends_within(whole):  # it would be two messages, and the model knows of one
            whole = b"Subject: %s\r\n\r\n\r\n.\r\n" % name.encode()
        self.crowd.say_message(talk, whole, cut(whole, places), name)

    def _ready(self, talk: Talk) -> bool:
        """Whether it can say something now: it has heard everything, and is not over."""
        if self.crowd.hear(talk) == "354":
            self._send(talk, b"\r\n", [])
            self.crowd.hear(talk)
        return not (talk.model.closed or talk.half_closed)

    @rule(talk=talks)
    def half_close(self, talk: Talk) -> None:
        """It says nothing more, whatever it is owed."""
        if not talk.model.closed:
            self.crowd.half_close(talk)

    @rule(talk=consumes(talks))
    def leave(self, talk: Talk) -> None:
        """It closes."""
        self.open.remove(talk)
        self.crowd.end(talk)

    def teardown(self) -> None:
        """Read all due replies."""
        for talk in self.open:
            self.crowd.end(talk)


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.timeout(3600)  # `make fuzz`, and shrinking what was found
def test_sessions_agree_with_the_model_however_they_interleave(tmp_path: Path) -> None:
    with crowded(tmp_path) as crowd:
        run_state_machine_as_test(
            lambda: Sessions(crowd),
            settings=settings(
                max_examples=3 * settings().max_examples,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert crowd.answered.keys() >= {"250", "354", "421", "500", "501", "503", "552", "553", "554", "555"}
        assert crowd.answered["250"] > 100
        assert crowd.answered["354"] > 10


def test_the_model_notices_a_wrong_answer(tmp_path: Path) -> None:
    """The control: an answer that is not the model's is a disagreement, and so is a message that went astray."""
    with crowded(tmp_path) as crowd, Wire(crowd.sidecar.port) as wire:
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
