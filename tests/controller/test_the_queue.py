"""Who is looked at when, by a clock that the test moves."""

import pytest

from o365mailer_operator.controller.mailer import Key
from o365mailer_operator.controller.queue import DueQueue


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(name: str) -> Key:
    """A mailer of one namespace."""
    return Key("app", name)


def taken(queue: DueQueue) -> list[str]:
    """The names of what is handed out."""
    return [found.name for found, _ in queue.take()]


def test_a_mailer_is_handed_out_when_it_is_due_and_not_before() -> None:
    clock = Clock()
    queue = DueQueue(clock=clock)
    queue.put(key("a"), lane="t", delay=5)
    assert taken(queue) == []
    assert queue.next_due() == 5
    clock.now += 5
    assert taken(queue) == ["a"]
    assert taken(queue) == []


def test_what_is_due_earlier_stays_due_earlier() -> None:
    clock = Clock()
    queue = DueQueue(clock=clock)
    queue.put(key("a"), lane="t", delay=5)
    queue.put(key("a"), lane="t", delay=60)
    clock.now += 5
    assert taken(queue) == ["a"]


def test_what_changes_while_it_is_looked_at_is_looked_at_once_more() -> None:
    queue = DueQueue(clock=Clock())
    queue.put(key("a"), lane="t")
    assert taken(queue) == ["a"]
    queue.put(key("a"), lane="t")
    queue.put(key("a"), lane="t")
    assert taken(queue) == []
    queue.done(key("a"), "t", delay=60)
    assert taken(queue) == ["a"]
    queue.done(key("a"), "t", delay=60)
    assert taken(queue) == []


def test_what_is_done_for_good_is_gone() -> None:
    queue = DueQueue(clock=Clock())
    queue.put(key("a"), lane="t")
    taken(queue)
    queue.done(key("a"), "t", delay=None)
    assert len(queue) == 0


def test_what_goes_while_it_is_looked_at_is_looked_at_once_more_and_leaves_nothing() -> None:
    queue = DueQueue(clock=Clock())
    for number in range(100):
        lane = f"tenant-{number}"
        queue.put(key("a"), lane=lane)
        assert taken(queue) == ["a"]
        queue.put(key("a"), lane=lane)
        queue.done(key("a"), lane, delay=60)
        assert taken(queue) == ["a"]
        queue.done(key("a"), lane, delay=None)
    assert (len(queue), len(queue.busy), len(queue.waiting), len(queue.heap)) == (0, 0, 0, 0)


def test_what_is_told_twice_while_it_waits_is_looked_at_once() -> None:
    queue = DueQueue(clock=Clock(), lane_workers=1)
    queue.put(key("first"), lane="t")
    assert taken(queue) == ["first"]
    for _ in range(3):
        queue.put(key("a"), lane="t")
        assert taken(queue) == []
    queue.done(key("first"), "t", delay=None)
    assert taken(queue) == ["a"]
    queue.done(key("a"), "t", delay=60)
    assert taken(queue) == []


@pytest.mark.promise("mailers-are-independent")
def test_a_lane_that_is_full_takes_no_place_from_another() -> None:
    queue = DueQueue(clock=Clock(), workers=4, lane_workers=2)
    for number in range(10):
        queue.put(key(f"slow-{number}"), lane="slow")
    queue.put(key("quick"), lane="quick")
    assert sorted(taken(queue)) == ["quick", "slow-0", "slow-1"]
    assert queue.overdue == 8
    queue.done(key("slow-0"), "slow", delay=60)
    assert taken(queue) == ["slow-2"]


def test_no_more_is_under_way_than_there_are_places() -> None:
    queue = DueQueue(clock=Clock(), workers=3, lane_workers=2)
    for number in range(6):
        queue.put(key(f"m-{number}"), lane=f"lane-{number}")
    assert len(taken(queue)) == 3
    assert queue.running == 3


def test_a_mailer_that_moves_to_another_lane_is_counted_where_it_began() -> None:
    queue = DueQueue(clock=Clock(), lane_workers=1)
    queue.put(key("a"), lane="old")
    assert taken(queue) == ["a"]
    queue.put(key("a"), lane="new")
    queue.done(key("a"), "old", delay=60)
    queue.put(key("b"), lane="old")
    assert sorted(taken(queue)) == ["a", "b"]
