"""When a spooled message is tried again, and when no more."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.spooled import RECEIVED, body, envelope, files, spool_in

from o365mailer_sidecar.backoff import uniform
from o365mailer_sidecar.context import Clock, Context
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.queue import retry
from o365mailer_sidecar.queue.retry import Expiry
from o365mailer_sidecar.queue.scanner import SpoolScanner
from o365mailer_sidecar.spool.entry import Event
from o365mailer_sidecar.telemetry.event_log import EventLog

ATTEMPTS = st.integers(min_value=0, max_value=10_000)
DICE = st.floats(min_value=0, max_value=1, exclude_max=True)


@pytest.mark.promise("spool-retries")
@given(attempts=ATTEMPTS, number=DICE)
def test_the_first_retry_comes_within_seconds_and_none_after_more_than_a_quarter_of_an_hour(
    attempts: int, number: float
) -> None:
    def dice(low: float, high: float) -> float:
        return low + number * (high - low)

    wait = retry.DEFERRED.pause(attempts, dice)
    assert 7.5 <= wait <= 900
    if attempts <= 1:
        assert wait <= 15
    assert 2 <= retry.THROTTLED.pause(attempts, dice) <= 30
    assert 1 <= retry.OUTAGE.pause(attempts, dice) <= 60


def test_waits_grow_and_are_spread() -> None:
    waits = [retry.DEFERRED.pause(attempts, lambda low, high: (low + high) / 2) for attempts in range(1, 12)]
    assert waits == sorted(waits)
    assert waits[-1] == 675
    assert retry.DEFERRED.pause(1, min) == 7.5
    assert retry.DEFERRED.pause(1, max) == 15


class Times:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.day, self.monotonic = datetime(2026, 11, 25, tzinfo=UTC), 1000.0

    def pass_(self, seconds: float, *, jump: float = 0.0) -> None:
        """Time passes, and the time of day jumps."""
        self.monotonic += seconds
        self.day += timedelta(seconds=seconds + jump)

    @property
    def clock(self) -> Clock:
        """As the code sees them."""
        return Clock(now=lambda: self.day, monotonic=lambda: self.monotonic)


@pytest.mark.promise("spool-expiry")
def test_a_message_is_over_when_its_age_is_and_an_attempt_has_failed_since_the_clock_jumped() -> None:
    times = Times()
    expiry, received = Expiry(times.clock), times.day
    times.pass_(3599)
    assert not expiry.over(received, began=times.monotonic, max_age=3600)
    times.pass_(1)
    assert expiry.over(received, began=times.monotonic - 1, max_age=3600)


@pytest.mark.promise("spool-expiry")
@pytest.mark.parametrize("jump", [86400.0 * 365, -120.0])
def test_a_clock_that_jumps_ends_nothing_by_itself(jump: float) -> None:
    times = Times()
    expiry, received = Expiry(times.clock), times.day - timedelta(hours=2)
    began = times.monotonic
    times.pass_(5, jump=jump)
    assert not expiry.over(received, began=began, max_age=3600), "the attempt began before the jump"
    times.pass_(5)
    assert expiry.over(received, began=times.monotonic - 1, max_age=3600)


@pytest.mark.promise("failed-mail-is-reported")
async def test_dead_letters_are_kept_after_the_clock_has_jumped(tmp_path: Path) -> None:
    times, day = Times(), 86400.0

    def left() -> set[str]:
        scanner.sweep()
        return set(files(tmp_path, "dead"))

    with spool_in(tmp_path) as spool:
        spool.now = times.clock.now
        dead = await spool.store(Message(envelope("DEAD1"), body(), RECEIVED))
        await spool.move_to_dead(dead, Event(at=RECEIVED, event="attempt", refused={"a@example.com": "550 no"}))
        failed_at = times.day.timestamp()
        os.utime(tmp_path / "0" / "dead" / "DEAD1", (failed_at, failed_at))
        unused: Any = None
        log = EventLog(write=len, now=times.clock.now)
        directory: Any = SimpleNamespace(settings=None)  # the default of keepDead: 7 days
        context = Context(clock=times.clock, dice=uniform, log=log, metrics=unused, audit=unused, directory=directory)
        scanner = SpoolScanner(context, spool, unused, expiry=Expiry(times.clock))
        times.pass_(3600, jump=365 * day)
        assert left() == {"DEAD1"}, "only the clock says that it is old"
        times.pass_(3600)
        assert left() == {"DEAD1"}
        times.pass_(3600, jump=-365 * day)
        assert left() == {"DEAD1"}
        times.pass_(6.9 * day)
        assert left() == {"DEAD1"}
        times.pass_(day)
        assert left() == set()


def test_ages_are_right_from_the_start_until_the_clock_jumps_and_again_later() -> None:
    times = Times()
    expiry = Expiry(times.clock)
    assert expiry.steady(within=60)
    times.pass_(60, jump=3600)
    assert not expiry.steady(within=60)
    times.pass_(60)
    assert expiry.steady(within=60)


def test_a_clock_that_is_slewed_does_not_jump() -> None:
    times = Times()
    expiry, received, began = Expiry(times.clock), times.day, times.monotonic
    for _ in range(100):
        times.pass_(60, jump=1)
        expiry.over(received, began=began, max_age=1e9)
    assert expiry.over(received, began=began, max_age=3600)
