"""How one sidecar shares its mailbox with those it cannot see."""

import pytest

from o365mailer_sidecar.upstream import fair_share as module
from o365mailer_sidecar.upstream.fair_share import CLEAR, FIRST_INTERVAL, LONGEST_TURN, TURN, FairShare, Next


def fresh() -> FairShare:
    """One without chance: every random number is the middle."""
    return FairShare(uniform=lambda low, high: (low + high) / 2)


def room(window: FairShare, *, held: int, now: float, unproven: int = 0, limit: int = 3) -> bool:
    """Whether another connection may be opened."""
    return window.room(held=held, unproven=unproven, limit=limit, now=now)


def accepted(window: FairShare, *, now: float, first: bool = False, used: float = 1.0, held: int = 1) -> Next:
    """A message that took a second."""
    return window.accepted(held=held, first=first, seconds=1.0, used=used, limit=3, now=now)


def test_until_a_432_it_takes_what_it_may() -> None:
    window = fresh()
    assert [room(window, held=held, now=0, unproven=held) for held in range(4)] == [True, True, True, False]
    assert not room(window, held=1, now=0, limit=1)
    assert window.share(limit=3) == 3


@pytest.mark.promise("mailbox-shared-fairly")
def test_after_a_432_it_waits_and_holds_one_connection() -> None:
    window = fresh()
    window.refused(held=0, now=100)
    assert window.share(limit=3) < 1
    assert not room(window, held=0, now=100)
    assert room(window, held=0, now=window.resume_at)
    assert not room(window, held=1, now=window.resume_at)
    assert not room(window, held=0, now=window.resume_at, unproven=1), "one attempt at a time"


def test_another_432_makes_the_pause_longer_at_first() -> None:
    window, now, pauses = fresh(), 0.0, []
    for _ in range(8):
        window.refused(held=0, now=now)
        pauses.append(window.resume_at - now)
        now = window.resume_at
    assert pauses[0] < pauses[1]
    assert max(pauses) < FIRST_INTERVAL
    assert pauses[-1] < max(pauses), "who waits for long tries sooner"


@pytest.mark.promise("mailbox-shared-fairly")
def test_a_turn_ends_and_the_rest_behind_it_leaves_the_field_to_others() -> None:
    window = fresh()
    window.refused(held=0, now=0)
    assert accepted(window, now=40, first=True) is Next.KEEP
    assert accepted(window, now=41, used=2.0) is Next.KEEP
    assert accepted(window, now=43, used=TURN) is Next.YIELD
    window.yielded(held=0, used=TURN, now=43)
    rest = window.resume_at - 43
    assert 0.5 * (window.interval - TURN) < rest < window.interval
    window.yielded(held=0, used=TURN / 4, now=200)
    assert window.resume_at - 200 == pytest.approx(rest / 4), "a part of a turn is a part of a rest"


def test_the_interval_follows_what_was_waited() -> None:
    window, now = fresh(), 0.0
    window.refused(held=0, now=now)
    for _ in range(12):
        now += 100
        window.refused(held=0, now=now)
        accepted(window, now=now + 1, first=True)
        window.yielded(held=0, used=TURN, now=now + TURN)
        now += TURN
    assert 90 < window.interval < 120
    window.last_crowded = float("inf")
    for _ in range(30):
        now = max(window.resume_at, now)
        accepted(window, now=now + 1, first=True)
        window.yielded(held=0, used=TURN, now=now + TURN)
        now += TURN
    assert window.interval < 2 * TURN, "turns that begin at once mean that there is room"


def test_where_turns_begin_at_once_a_second_connection_is_tried_and_both_go_on_when_it_is_taken() -> None:
    window = fresh()
    window.refused(held=0, now=0)
    for now in (50.0, 80.0):
        accepted(window, now=now, first=True)
        window.yielded(held=0, used=TURN, now=now)
    accepted(window, now=100, first=True)
    assert not room(window, held=1, now=101), "not before the turn is nearly over"
    assert accepted(window, now=103, used=TURN) is Next.KEEP
    assert room(window, held=1, now=103)
    assert accepted(window, now=104, first=True, held=2) is Next.RENEW
    window.refused(held=1, now=105)
    assert accepted(window, now=108, used=TURN) is Next.YIELD, "a 432 to another beside it ends the turn"


def test_long_without_a_432_it_takes_what_it_may_again() -> None:
    window = fresh()
    window.refused(held=0, now=0)
    for now in (CLEAR - 20, CLEAR - 10):
        accepted(window, now=now, first=True)
        window.yielded(held=0, used=TURN, now=now)
        assert window.crowded
    accepted(window, now=CLEAR + 2, first=True)
    assert not window.crowded
    assert window.shared(now=CLEAR + 2), "but keeps no connection that it does not use"
    assert not window.shared(now=CLEAR + 2 + module.SHARED)


def test_one_that_hears_of_nobody_makes_room_now_and_then_all_the_same() -> None:
    window, turns = fresh(), []
    for _ in range(5):
        used = 1.0
        while accepted(window, now=0, used=used) is Next.KEEP:
            used += 1
        turns.append(used)
        window.yielded(held=0, used=TURN, now=0)
        assert 0 < window.resume_at < 1
        window.resume_at = 0.0
    assert turns == [TURN, 2 * TURN, 4 * TURN, LONGEST_TURN, LONGEST_TURN]
