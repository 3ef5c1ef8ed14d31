"""Refreshes are spread over the middle of a token's life; failures are retried at the pace that fits them."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_operator.token.errors import ENTRA_THROTTLED, ENTRA_UNREACHABLE, EntraError, EntraRefused
from o365mailer_operator.token.schedule import refresh_due, share_of, wait_after_failure

ISSUED = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)


def due_after(
    lifetime: datetime.timedelta, *, uid: str = "uid", refresh_in: datetime.timedelta | None = None
) -> datetime.timedelta:
    refresh_at = ISSUED + refresh_in if refresh_in is not None else None
    return refresh_due(issued_at=ISSUED, expires_at=ISSUED + lifetime, refresh_at=refresh_at, uid=uid) - ISSUED


@pytest.mark.promise("token-renewed-in-time")
@given(uid=st.uuids().map(str), minutes=st.integers(min_value=60, max_value=24 * 60))
def test_a_refresh_is_due_at_60_to_75_percent_of_the_lifetime_and_15_minutes_before_its_end(
    uid: str, minutes: int
) -> None:
    lifetime = minutes * MINUTE
    due = due_after(lifetime, uid=uid)

    assert 0.60 * lifetime <= due <= 0.75 * lifetime
    assert lifetime - due >= 15 * MINUTE


def test_a_token_of_seconds_is_used_for_half_of_them() -> None:
    lifetime = datetime.timedelta(seconds=30)
    assert due_after(lifetime, refresh_in=datetime.timedelta(seconds=1)) == lifetime / 2


@pytest.mark.promise("token-renewed-in-time")
@given(uid=st.uuids().map(str), seconds=st.integers(min_value=30 * 60, max_value=60 * 60))
def test_a_token_of_half_an_hour_or_more_keeps_15_minutes(uid: str, seconds: int) -> None:
    lifetime = datetime.timedelta(seconds=seconds)

    assert lifetime - due_after(lifetime, uid=uid) >= 15 * MINUTE


@given(uid=st.uuids().map(str), seconds=st.integers(min_value=1, max_value=30 * 60 - 1))
def test_a_shorter_token_is_replaced_at_60_to_75_percent_too(uid: str, seconds: int) -> None:
    lifetime = datetime.timedelta(seconds=seconds)

    assert 0.60 * lifetime <= due_after(lifetime, uid=uid) <= 0.75 * lifetime


def test_the_same_mailer_is_always_due_at_the_same_share_and_others_are_spread() -> None:
    shares = [share_of(f"uid-{number}") for number in range(1000)]

    assert share_of("uid-7") == shares[7]
    assert all(0 <= share < 1 for share in shares)
    assert all(any(low <= share < low + 0.1 for share in shares) for low in (0.0, 0.3, 0.6, 0.9))


def test_a_refresh_that_entra_asks_for_comes_first() -> None:
    assert due_after(24 * 60 * MINUTE, refresh_in=20 * MINUTE) == 20 * MINUTE


def test_a_later_refresh_in_does_not_put_the_refresh_off() -> None:
    assert due_after(60 * MINUTE, refresh_in=59 * MINUTE) == due_after(60 * MINUTE)


def test_no_refresh_in_makes_a_busy_loop() -> None:
    assert due_after(60 * MINUTE, refresh_in=datetime.timedelta(0)) == MINUTE


@pytest.mark.promise("token-requests-retried")
def test_what_time_heals_is_retried_after_5_seconds_growing_by_half_up_to_60() -> None:
    waits = [
        wait_after_failure(EntraError(ENTRA_UNREACHABLE, "away"), failures=n, random=0.5)
        for n in (1, 2, 3, 4, 7, 8, 10_000)
    ]

    assert waits == pytest.approx([5, 7.5, 11.25, 16.875, 56.953125, 60, 60])


@pytest.mark.promise("token-requests-retried")
def test_retry_after_is_honoured_up_to_an_hour() -> None:
    assert wait_after_failure(EntraError(ENTRA_THROTTLED, "busy", retry_after=120), failures=1, random=0.5) == 120
    assert wait_after_failure(EntraError(ENTRA_THROTTLED, "busy", retry_after=1), failures=1, random=0.5) == 5
    assert wait_after_failure(EntraError(ENTRA_THROTTLED, "busy", retry_after=10**6), failures=1, random=0.5) == 3600


@pytest.mark.promise("token-requests-retried")
@pytest.mark.parametrize("error", [EntraRefused("expired", code=7000222), EntraRefused("unlisted", code=1)])
def test_anything_else_is_retried_after_1_2_4_8_minutes_then_every_15(error: EntraRefused) -> None:
    waits = [wait_after_failure(error, failures=n, random=0.5) / 60 for n in (1, 2, 3, 4, 5, 6, 10_000)]

    assert waits == [1, 2, 4, 8, 15, 15, 15]


@pytest.mark.promise("token-requests-retried")
def test_a_refusal_is_not_retried_before_retry_after_either() -> None:
    refused = EntraRefused("expired", code=7000222, retry_after=600)

    assert wait_after_failure(refused, failures=1, random=0.5) == 600
    assert wait_after_failure(refused, failures=5, random=0.5) == 15 * 60


@given(random=st.floats(min_value=0, max_value=1, exclude_max=True), failures=st.integers(1, 10**9))
def test_every_wait_is_jittered_by_a_fifth_at_most(random: float, failures: int) -> None:
    wait = wait_after_failure(EntraError(ENTRA_UNREACHABLE, "away"), failures=failures, random=random)
    middle = wait_after_failure(EntraError(ENTRA_UNREACHABLE, "away"), failures=failures, random=0.5)

    assert 0.8 * middle <= wait <= 1.2 * middle * 1.0000001
