"""How one relay shares its mailbox with those it cannot see."""

import pytest

from o365mailer_sidecar.upstream import fair_share as module
from o365mailer_sidecar.upstream.fair_share import CLEAR, FIRST_INTERVAL, LONGEST_SLICE, SLICE, FairShare, State


class Pod:
    """A share without chance (every random number is the middle), and its connections by name."""

    def __init__(self) -> None:
        self.share = FairShare(dice=lambda low, high: (low + high) / 2)

    def room(self, *, now: float, limit: int = 3) -> bool:
        """Whether another connection may be opened."""
        return self.share.may_open(limit=limit, now=now)

    def throttled(self, connection: str | None = None, *, now: float) -> None:
        """432 to AUTH, and so no connection; or on this one, which is closed."""
        if connection is None:
            self.share.opening()
        self.share.throttled(connection, now=now)
        if connection is None:
            self.share.lost(None)
        else:
            self.share.released(connection, at=now)

    def accepted(self, connection: str = "one", *, now: float, seconds: float = 1.0) -> bool:
        """A message was accepted; whether the connection is kept."""
        self.share.accepted(connection, seconds=seconds, limit=3, now=now)
        return self.share.keeps(connection)

    def slice(self, *, now: float, used: float = SLICE) -> None:
        """A time slice with one connection, which begins at that time and is used for so long."""
        self.share.opening()
        self.accepted(now=now + 1)
        for _ in range(round(used) - 1):
            self.accepted(now=now + 1)
        self.share.released("one", at=now + used)


def test_until_a_432_it_takes_what_it_may() -> None:
    pod = Pod()
    for _ in range(3):
        assert pod.room(now=0)
        pod.share.opening()
    assert not pod.room(now=0)
    assert not pod.room(now=0, limit=1)
    assert pod.share.share(limit=3) == 3
    assert pod.share.state is State.ALONE


@pytest.mark.promise("mailbox-shared-fairly")
def test_after_a_432_it_waits_and_holds_one_connection() -> None:
    pod = Pod()
    pod.throttled(now=100)
    assert pod.share.state is State.WAITING
    assert pod.share.share(limit=3) < 1
    assert not pod.room(now=100)
    assert pod.room(now=pod.share.resume_at)
    pod.share.opening()
    assert not pod.room(now=pod.share.resume_at), "one attempt at a time"
    pod.accepted(now=pod.share.resume_at + 1)
    assert pod.share.state is State.SENDING
    assert not pod.room(now=pod.share.resume_at + 1)


def test_another_432_makes_the_pause_longer_at_first() -> None:
    pod, now, pauses = Pod(), 0.0, []
    for _ in range(8):
        pod.throttled(now=now)
        pauses.append(pod.share.resume_at - now)
        now = pod.share.resume_at
    assert pauses[0] < pauses[1]
    assert max(pauses) < FIRST_INTERVAL
    assert pauses[-1] < max(pauses), "a pod that waits for long tries sooner"


@pytest.mark.promise("mailbox-shared-fairly")
def test_a_slice_ends_and_the_gap_after_it_leaves_the_mailbox_to_others() -> None:
    pod = Pod()
    pod.throttled(now=0)
    pod.share.opening()
    assert [pod.accepted(now=now) for now in (40, 41, 42, 43)] == [True, True, True, False]
    pod.share.released("one", at=43)
    assert pod.share.state is State.WAITING
    gap = pod.share.resume_at - 43
    assert 0.5 * (pod.share.interval - SLICE) < gap < pod.share.interval
    pod.share.opening()
    pod.share.used["one"] = SLICE / 4
    pod.share.released("one", at=200)
    assert pod.share.resume_at - 200 == pytest.approx(gap / 4), "after a part of a slice a part of the gap"


def test_what_it_sent_alone_makes_no_gap_after_a_432_longer() -> None:
    gaps = []
    for alone in (0, 3):
        pod, now = Pod(), 0.0
        for _ in range(alone):
            pod.slice(now=now)
            now = pod.share.resume_at
        pod.throttled(now=100)
        pod.slice(now=140, used=1)
        gaps.append(pod.share.resume_at - 141)
    assert gaps[0] == pytest.approx(gaps[1])


def test_the_interval_follows_what_was_waited() -> None:
    pod, now = Pod(), 0.0
    pod.throttled(now=now)
    for _ in range(12):
        now += 100
        pod.throttled(now=now)
        pod.slice(now=now)
        now += SLICE
    assert 90 < pod.share.interval < 120
    pod.share.last_throttled = float("inf")
    for _ in range(30):
        now = max(pod.share.resume_at, now)
        pod.slice(now=now)
        now += SLICE
    assert pod.share.interval < 2 * SLICE, "slices that begin at once mean that there is room"


def test_where_slices_begin_at_once_a_second_connection_is_tried_and_both_go_on_when_it_is_accepted() -> None:
    pod = Pod()
    pod.throttled(now=0)
    for now in (50.0, 80.0):
        pod.slice(now=now, used=1)
    pod.share.opening()
    assert pod.accepted(now=100)
    assert not pod.room(now=101), "not before the slice is nearly over"
    assert all(pod.accepted(now=now) for now in (101, 102, 103))
    assert pod.share.state is State.PROBING
    assert pod.room(now=103)
    pod.share.opening()
    assert not pod.room(now=103), "one probe at a time"
    assert pod.accepted("two", now=104)
    assert pod.share.state is State.SENDING
    assert set(pod.share.used.values()) == {0.0}, "the slices of both begin anew"
    pod.throttled("two", now=105)
    assert [pod.accepted(now=now) for now in (106, 107, 108, 109)] == [True, True, True, False], (
        "a 432 to another beside it ends the slice"
    )


def test_long_without_a_432_it_takes_what_it_may_again() -> None:
    pod = Pod()
    pod.throttled(now=0)
    for now in (CLEAR - 20, CLEAR - 10):
        pod.slice(now=now, used=1)
        assert pod.share.sharing
    pod.share.opening()
    pod.accepted(now=CLEAR + 2)
    assert pod.share.state is State.ALONE
    assert pod.share.linger(now=CLEAR + 2) < 1, "but keeps no connection that it does not use"
    assert pod.share.linger(now=CLEAR + 2 + module.SHARED) == float("inf")


def test_one_that_hears_of_no_other_makes_room_now_and_then_all_the_same() -> None:
    pod, slices = Pod(), []
    for _ in range(5):
        pod.share.opening()
        used = 1.0
        while pod.accepted(now=0):
            used += 1
        slices.append(used)
        pod.share.released("one", at=0)
        assert 0 < pod.share.resume_at < 1
        pod.share.resume_at = 0.0
    assert slices == [SLICE, 2 * SLICE, 4 * SLICE, LONGEST_SLICE, LONGEST_SLICE]
