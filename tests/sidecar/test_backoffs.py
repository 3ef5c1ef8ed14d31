"""When not even to ask, and when not to send any more."""

import pytest

from o365mailer_sidecar.errors import Blocked, Withdrawn
from o365mailer_sidecar.upstream.attempt import Attempt, Stage
from o365mailer_sidecar.upstream.blocks import AWAY, TOKEN_REFUSED, HostBackoff, TokenBackoff


def test_the_pause_doubles_to_its_limit_and_ends_with_a_success() -> None:
    upstream = HostBackoff()
    now, pauses = 100.0, []
    for _ in range(5):
        upstream.check(now=now)
        upstream.failed("refused", now=now)
        pauses.append(upstream.until - now)
        with pytest.raises(Blocked, match="refused") as blocked:
            upstream.check(now=upstream.until - 0.01)
        assert (blocked.value.reason, blocked.value.until) == (AWAY, upstream.until)
        now = upstream.until
    assert pauses == [1, 2, 4, 5, 5]
    assert upstream.succeeded()
    upstream.check(now=now)
    upstream.failed("refused", now=now)
    assert upstream.until - now == 1


def test_only_news_is_news() -> None:
    upstream = HostBackoff()
    assert [upstream.failed(reason, now=0) for reason in ("a", "a", "b")] == [True, False, True]
    assert [upstream.succeeded(), upstream.succeeded()] == [True, False]


def test_a_refused_token_is_not_offered_for_a_minute_and_another_is() -> None:
    refused = TokenBackoff()
    assert refused.refused("one", "535 no", now=100)
    with pytest.raises(Blocked, match="535 no") as blocked:
        refused.check("one", "a@b.c", now=159.9)
    assert (blocked.value.reason, blocked.value.until) == (TOKEN_REFUSED, 160)
    refused.check("one", "a@b.c", now=160)
    refused.check("two", "a@b.c", now=100)
    assert not refused.refused("one", "535 no", now=160)
    refused.accepted()
    refused.check("one", "a@b.c", now=161)


@pytest.mark.promise("mailbox-not-locked")
def test_a_mailbox_that_refuses_one_token_after_the_other_is_asked_ever_more_seldom() -> None:
    refused, now, pauses = TokenBackoff(), 0.0, []
    for number in range(9):
        refused.refused(f"token {number // 4}", "535 no", now=now)
        pauses.append(refused.until - now)
        now = refused.until
    assert pauses == [60, 60, 60, 120, 240, 480, 900, 900, 900]
    refused.accepted()
    refused.refused("another", "535 no", now=now)
    assert refused.until - now == 60


def test_a_message_is_withdrawn_or_committed_never_both() -> None:
    withdrawn, committed = Attempt(Stage.UNDERWAY), Attempt(Stage.UNDERWAY)
    withdrawn.begin_body()
    assert withdrawn.withdraw()
    with pytest.raises(Withdrawn):
        withdrawn.commit()
    assert not withdrawn.committed
    committed.begin_body()
    committed.commit()
    assert not committed.withdraw()
    assert not committed.withdrawn


def test_a_message_that_exchange_hands_back_waits_again_unless_its_app_has_gone() -> None:
    again, last = Attempt(), Attempt()
    for attempt in (again, last):
        attempt.begin()
        attempt.begin_body()
        attempt.commit()
    assert not last.withdraw()
    again.returned()
    last.returned()
    assert (again.stage, last.stage) == (Stage.WAITING, Stage.WITHDRAWN)
    again.begin()
    with pytest.raises(Withdrawn):
        last.begin()
    with pytest.raises(RuntimeError, match="is underway, and cannot be committed"):
        again.commit()
