"""The connection to Office 365 ends after each single byte of either side: what the app saw, what arrived, how often.

Whatever the byte: 250 if and only if the message arrived, once, or the reply says that it may have; and where the
reply says that nothing was sent, nothing arrived.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.clocked_sidecar import ClockedSidecar, clocked
from support.cutting_host import SIDES, Cut, CuttingHost, Ending
from support.sidecar_process import MailerDirectory, Wire

TOLD = {
    "250 2.0.0 Queued here, not with Office 365 yet: ": "queued",
    "250 2.0.0 Office 365 has it: taken [": "accepted",
    "451 4.4.1 Office 365 cannot be reached: ": "nothing was sent",
    "451 4.4.2 The connection to Office 365 broke (": "nothing was sent",
    "451 4.4.2 No verdict from Office 365 (": "may have arrived",
}
PAUSE = 60.0
"""Seconds that are skipped between two cases: the host is asked again, and over a new connection."""

Seen = dict[str, set[tuple[str, int]]]
"""How far the conversation had come → what the app was told, and how often the message arrived."""

NOT_SENT = {("nothing was sent", 0)}
UNKNOWN = {("may have arrived", 0)}
REPLACED = {("accepted", 1)}
"""Over another connection."""
VERDICT = {("may have arrived", 1), ("accepted", 1)}
"""Accepted with the last byte of 250."""

NEW: Seen = {
    **dict.fromkeys(("connect", "EHLO", "STAR", "AUTH", "MAIL", "RCPT"), NOT_SENT),
    "DATA": NOT_SENT | UNKNOWN,  # with the last byte of 354 it leaves
    "content": UNKNOWN,
    "verdict": VERDICT,
}
USED: Seen = {
    **dict.fromkeys(("next", "MAIL", "RCPT"), REPLACED),
    "DATA": REPLACED | UNKNOWN,  # with the last byte of 354 it leaves
    "content": UNKNOWN,
    "verdict": VERDICT,
}
"""A host may end such a connection at any moment: before the message has left, another takes its place unseen."""


def told(reply: str) -> str:
    """Which of the four it is."""
    (kind,) = [kind for start, kind in TOLD.items() if reply.startswith(start)]
    return kind


class Bench:
    """One app, one sidecar, one host."""

    def __init__(self, host: CuttingHost, clock: ClockedSidecar) -> None:
        self.host, self.clock = host, clock
        self.number = 0
        self.expected: dict[str, int] = {}
        """How often each message must have arrived in the end."""

    def mail(self) -> tuple[str, int]:
        """One message: the kind of reply, and how often it had arrived by then."""
        self.number += 1
        name = f"{self.number:04}"
        head = f"Subject: {name}\r\nDate: Mon, 23 Nov 2026 20:00:00 +0000\r\nMessage-ID: <{name}@x>\r\n\r\n"
        with Wire(self.clock.sidecar.port) as app:
            app.begin()
            kind, arrived = told(app.deliver(head.encode())), self.host.arrived(name)
        self.expected[name] = arrived + (kind == "queued")
        return kind, arrived

    def settle(self) -> None:
        """Puts the clock forward until what was queued has arrived."""
        name = f"{self.number:04}"
        for _ in range(200):
            if self.host.arrived(name) >= self.expected[name]:
                return
            self.clock.skip(PAUSE)
            threading.Event().wait(0.005)
        raise AssertionError(f"{name} never arrived: {self.clock.sidecar.stderr()[-2000:]}")

    def cut_everywhere(
        self, case: Callable[[], tuple[str, int]], *, message: int, ending: Ending = "reset", step: int = 1
    ) -> Seen:
        """Each prefix of either side's bytes; the last is that of the whole conversation."""
        seen: Seen = defaultdict(set)
        for side in SIDES:
            size, whole = 0, False
            while not whole:
                self.host.cut = Cut(side, size, message, ending)
                result = case()
                talk = self.host.cut_talks[-1]
                whole = not talk.cut_short
                if not whole:
                    seen[talk.stage].add(result)
                self.settle()
                self.clock.skip(PAUSE)
                size += step
        return dict(seen)


def assert_as(expected: Seen, seen: Seen) -> None:
    """Every stage was reached, and nothing was seen that the table does not allow."""
    assert seen.keys() == expected.keys()
    assert {stage: results - expected[stage] for stage, results in seen.items() if results - expected[stage]} == {}
    assert ("accepted", 1) in seen["verdict"], "the control: a whole reply is heard though a reset follows it"


@contextmanager
def bench(directory: MailerDirectory, *arguments: str) -> Iterator[Bench]:
    with CuttingHost() as host:
        host.describe(directory)
        with clocked(directory.path, arguments=arguments) as clock:
            made = Bench(host, clock)
            yield made
        assert {name: host.arrived(name) for name in made.expected} == made.expected


@pytest.mark.promise("truth-after-a-cut")
@pytest.mark.timeout(300)
def test_on_a_new_connection(directory: MailerDirectory) -> None:
    with bench(directory) as made:
        assert_as(NEW, made.cut_everywhere(made.mail, message=1))


@pytest.mark.promise("truth-after-a-cut")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("ending", ["reset", "close"])
@pytest.mark.parametrize("idle", [0, 4], ids=["at-once", "after-4-s"])
def test_on_a_connection_that_was_used(directory: MailerDirectory, ending: Ending, idle: int) -> None:
    with bench(directory) as made:

        def second() -> tuple[str, int]:
            assert made.mail() == ("accepted", 1)
            made.clock.skip(idle)
            return made.mail()

        assert_as(USED, made.cut_everywhere(second, message=2, ending=ending))


@pytest.mark.promise("truth-after-a-cut")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("message", [1, 2])
def test_with_a_spool_each_message_is_taken_and_arrives_twice_only_after_a_lost_verdict(
    directory: MailerDirectory, tmp_path: Path, message: int
) -> None:
    with bench(directory, "--spool-dir", str(tmp_path / "spool")) as made:

        def last() -> tuple[str, int]:
            for _ in range(message - 1):
                assert made.mail() == ("accepted", 1)
            return made.mail()

        seen = made.cut_everywhere(last, message=message, step=3)  # each costs the disk some writes
    told_then = {stage: {(kind, arrived) for kind, arrived in results} for stage, results in seen.items()}
    assert told_then.pop("verdict") <= {("queued", 1), ("accepted", 1)}
    assert set().union(*told_then.values()) <= {("queued", 0), ("accepted", 1)}
