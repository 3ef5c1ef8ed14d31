"""Sessions that interleave, break off, and come in giant and tiny fragments: a state machine against the model.

What it finds it shrinks to the fewest steps; `test_hostile_input` and `make fuzz` run many more, unshrunk.
"""

import itertools
from collections.abc import Iterator

import pytest
from fuzz import run, vocabulary
from fuzz.model import ends_within
from fuzz.sessions import Crowd, Talk
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

commands = st.one_of(
    st.sampled_from(vocabulary.COMMANDS),
    st.sampled_from((*vocabulary.ENVELOPE, b"RSET\r\n")),  # twice as likely as the rest: order is what is at stake
    st.binary(max_size=40).map(lambda octets: octets.replace(b"\n", b"") + b"\r\n"),
)
lines = st.tuples(st.sampled_from(vocabulary.LINES), st.sampled_from(vocabulary.ENDS)).map(b"".join)
cuts = st.lists(st.integers(min_value=0, max_value=200), max_size=4) | st.just(list(range(200)))
"""Where the octets are cut into fragments; the last is every octet of its own, and no cut at all is one giant."""


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """In fragments."""
    edges = sorted({0, len(octets), *(place for place in places if place < len(octets))})
    return [octets[one:other] for one, other in itertools.pairwise(edges)]


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

    @rule(talk=talks, said=st.lists(commands, min_size=1, max_size=8), places=cuts)
    def command(self, talk: Talk, said: list[bytes], places: list[int]) -> None:
        """Some, pipelined; an app that was told 354 sends its message first."""
        if self._ready(talk):
            self.crowd.say(talk, said, cut(b"".join(said), places))

    @rule(talk=talks, said=st.sampled_from(vocabulary.FATAL), places=cuts)
    def blunder(self, talk: Talk, said: bytes, places: list[int]) -> None:
        """What ends a session."""
        if self._ready(talk):
            self.crowd.say(talk, [said], cut(said, places))

    @rule(talk=talks, content=st.lists(lines, max_size=8), giant=st.booleans(), places=cuts)
    def message(self, talk: Talk, content: list[bytes], giant: bool, places: list[int]) -> None:
        """From MAIL to the end of data."""
        if not self._ready(talk):
            return
        begin = [b"RSET\r\n", *vocabulary.ENVELOPE, b"DATA\r\n"]
        self.crowd.say(talk, begin, cut(b"".join(begin), places))
        if self.crowd.hear(talk) == "354":
            self._send(talk, content + [b"x" * 70_000] * giant, places)

    def _send(self, talk: Talk, content: list[bytes], places: list[int]) -> None:
        name = self.crowd.fresh_name()
        octets = b"Subject: %s\r\n\r\n%s\r\n.\r\n" % (name.encode(), b"".join(content))
        if ends_within(octets):  # it would be two messages, and the model knows of one
            octets = b"Subject: %s\r\n\r\n\r\n.\r\n" % name.encode()
        self.crowd.say_message(talk, octets, cut(octets, places), name)

    def _ready(self, talk: Talk) -> bool:
        """Whether it can say something now: it has heard everything, and is not over."""
        if self.crowd.hear(talk) == "354":
            self._send(talk, [], [])
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
        """Everybody hears what is due."""
        for talk in self.open:
            self.crowd.end(talk)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    with run.crowded_sidecar(tmp_path_factory.mktemp("hostile") / "mailer") as (sidecar, host):
        yield Crowd(sidecar, host)
        assert [line for line in sidecar.log if line["level"] == "error"] == []


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.timeout(400)  # a failure is shrunk
def test_sessions_agree_with_the_model_however_they_interleave(crowd: Crowd) -> None:
    run_state_machine_as_test(
        lambda: Sessions(crowd),
        settings=settings(
            max_examples=250, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert crowd.answered["250"] > 100
    assert crowd.answered["354"] > 10
