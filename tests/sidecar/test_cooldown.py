"""Sending that is paused, and messages that Exchange need not see again."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from o365mailer_sidecar.context import Clock, Context
from o365mailer_sidecar.errors import Blocked, Refused
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.reply import Reply, upstream_reply
from o365mailer_sidecar.smtp.transaction import Answers
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.upstream.blocks import COOLDOWN_TRIES, PROBE_PATIENCE, MailboxCooldown, RateLimit, SendGuard
from o365mailer_sidecar.upstream.classify import classify
from o365mailer_sidecar.upstream.fair_share import FairShare
from o365mailer_sidecar.upstream.refusal_cache import FEW, KEYS, REMEMBERED, WITHIN, Key, Keys, RefusalCache

HOUR = 3600.0
LOCK = upstream_reply(550, "5.2.252 Sender throttled due to continuous send as denied errors.")
QUOTA = upstream_reply(554, "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException")
NO_RIGHT = upstream_reply(430, "4.2.0 STOREDRV; mailbox logon failure")
DENIED = upstream_reply(554, "5.2.252 SendAsDenied; a@x not allowed to send as b@y")


def rest(share: float = 0.5) -> MailboxCooldown:
    """One whose random numbers are this share of the way."""
    return MailboxCooldown(dice=lambda low, high: low + share * (high - low))


def blocked(check: Callable[[], None]) -> Blocked | None:
    """What this check of a cooldown raises."""
    try:
        check()
    except Blocked as error:
        return error
    return None


def known(refusals: RefusalCache, keys: Keys, *, now: float) -> Refused | None:
    """What the cache says to a message with these keys."""
    try:
        refusals.check(keys, now=now)
    except Refused as error:
        return error
    return None


def refused(mailbox: MailboxCooldown, reply: Reply, *, now: float) -> bool:
    """The reply comes in."""
    return mailbox.refused(classify(reply), now=now)


@pytest.mark.promise("mailbox-not-locked")
@pytest.mark.parametrize("text", ["5.2.251 x", "5.2.252 x", "5.2.253 x", "5.2.254 x", "5.2.255 x", "5.1.8 x",
                                  "5.7.501 x", "5.7.511 x", "5.7.705 x", "5.7.708 x", "5.7.750 x"])  # fmt: skip
def test_a_lock_pauses_sending_for_an_hour_at_least(text: str) -> None:
    mailbox = rest(share=0)
    assert blocked(lambda: mailbox.check(now=0)) is None
    assert refused(mailbox, upstream_reply(550, text), now=0)
    stopped = blocked(lambda: mailbox.check(now=HOUR - 1))
    assert stopped is not None
    assert stopped.until == HOUR
    assert blocked(lambda: mailbox.check(now=HOUR)) is None


@pytest.mark.promise("mailbox-not-locked")
def test_pods_that_paused_at_the_same_moment_do_not_probe_at_the_same_moment() -> None:
    ends = []
    for pod in range(50):
        mailbox = rest(share=pod / 50)
        refused(mailbox, LOCK, now=0)
        ends.append(mailbox.until)
    assert len(set(ends)) == 50
    assert max(ends) - min(ends) > 0.9 * HOUR


@pytest.mark.promise("mailbox-not-locked")
def test_one_probe_at_a_time_and_each_that_fails_doubles_the_rest_until_one_is_accepted() -> None:
    mailbox, now, lengths = rest(share=0), 0.0, []
    for _ in range(4):
        assert refused(mailbox, LOCK, now=now)
        assert not refused(mailbox, LOCK, now=now + 1), "what was on its way counts once"
        lengths.append(mailbox.until - now)
        now = mailbox.until
        mailbox.check(now=now)
        assert mailbox.begin_probe()
        with pytest.raises(Blocked) as waiting:
            mailbox.check(now=now)
        assert waiting.value.until == now + PROBE_PATIENCE
        mailbox.probing = False
    assert lengths == [HOUR, 2 * HOUR, 4 * HOUR, 4 * HOUR]
    assert mailbox.accepted()
    assert not mailbox.accepted()
    assert not mailbox.begin_probe()
    assert blocked(lambda: mailbox.check(now=now)) is None


@pytest.mark.promise("mailbox-not-locked")
def test_the_first_to_go_is_not_of_the_class_that_led_to_the_lock_unless_nothing_else_comes() -> None:
    mailbox = rest(share=0)
    refused(mailbox, LOCK, now=0)
    assert mailbox.suspect == "send-as"
    assert blocked(lambda: mailbox.check(now=HOUR, suspect=False)) is None
    held = blocked(lambda: mailbox.check(now=HOUR, suspect=True))
    assert held
    assert held.until == 2 * HOUR
    assert blocked(lambda: mailbox.check(now=2 * HOUR, suspect=True)) is None


def test_a_quota_pauses_sending_for_minutes_and_for_an_hour_at_most() -> None:
    mailbox, now, lengths = rest(share=1), 0.0, []
    for _ in range(6):
        refused(mailbox, QUOTA, now=now)
        lengths.append((mailbox.until - now) / 60)
        now = mailbox.until
    assert lengths == [10, 20, 40, 60, 60, 60]


@pytest.mark.promise("mailbox-not-locked")
def test_a_right_that_is_missing_is_asked_for_three_times_before_the_mailbox_paused() -> None:
    mailbox = rest()
    assert [refused(mailbox, NO_RIGHT, now=number) for number in range(COOLDOWN_TRIES)] == [False, False, True]
    assert blocked(lambda: mailbox.check(now=COOLDOWN_TRIES))
    mailbox = rest()
    for number in range(10):
        assert not refused(mailbox, NO_RIGHT, now=number)
        mailbox.accepted()


# --- Messages --------------------------------------------------------------------------------------------------------


def envelope(*recipients: str, sender: str = "a@x") -> Envelope:
    """To these."""
    to = tuple(Recipient(address=address) for address in recipients)
    return Envelope(queue_id="Q", sender=Sender(address=sender), recipients=to)


def sent(*recipients: str) -> Any:
    """What policy makes of a message to these."""
    return SimpleNamespace(envelope=envelope(*recipients), author="a@x")


def keys_of(message: Envelope, author: str) -> Keys:
    """Of a message with this envelope."""
    return Keys.of(message, author)


def test_messages_have_their_senders_and_each_recipient_in_common() -> None:
    keys = keys_of(envelope("B@y", "c@y", sender="A@x"), "Boss@x")
    assert keys.senders == Key("send-as", ("a@x", "boss@x"))
    assert keys.recipients == (Key("recipient", ("b@y",)), Key("recipient", ("c@y",)))
    assert keys.together == Key("recipient", ("b@y", "c@y"))
    twice = keys_of(envelope("B@y", "b@y", sender="A@x"), "Boss@x")
    assert twice.recipients == (Key("recipient", ("b@y",)), Key("recipient", ("b@y",)))
    assert twice.together == Key("recipient", ("b@y",))


@pytest.mark.promise("mailbox-not-locked")
def test_a_few_refusals_of_the_same_are_enough_and_then_one_in_a_while_goes_through() -> None:
    cache, now = RefusalCache(), 0.0
    keys = keys_of(envelope("b@y"), "boss@x")
    for number in range(FEW):
        assert known(cache, keys, now=now) is None
        assert cache.refused(keys.senders, DENIED, now=now) == (number == FEW - 1)
        now += 60
    refusal = known(cache, keys, now=now)
    assert refusal
    assert refusal.reply.text.startswith(DENIED.text)
    assert cache.open(now=now) == {"send-as"}
    assert known(cache, keys_of(envelope("b@y"), "a@x"), now=now) is None, "others go"
    now = cache.refusals[keys.senders].until
    assert known(cache, keys, now=now) is None
    assert cache.refused(keys.senders, DENIED, now=now), "one is enough now"
    assert known(cache, keys, now=now)
    assert cache.refusals[keys.senders].until - now == 2 * REMEMBERED.first
    cache.accepted(keys.senders)
    assert known(cache, keys, now=now) is None


def test_refusals_that_are_far_apart_do_not_count_together() -> None:
    cache, key = RefusalCache(), Key("send-as", ("a@x", "boss@x"))
    for number in range(10):
        assert not cache.refused(key, DENIED, now=number * WITHIN)


def test_a_message_for_several_is_refused_only_when_every_recipient_is_known() -> None:
    cache, reply = RefusalCache(), upstream_reply(550, "5.1.10 not found")
    for _ in range(FEW):
        cache.refused(Key("recipient", ("b@y",)), reply, now=0)
    assert known(cache, keys_of(envelope("b@y"), "a@x"), now=1)
    assert known(cache, keys_of(envelope("b@y", "c@y"), "a@x"), now=1) is None
    cache.refused(Key("recipient", ("c@y",)), reply, now=0)
    assert known(cache, keys_of(envelope("b@y", "c@y"), "a@x"), now=1) is None
    for _ in range(FEW - 1):
        cache.refused(Key("recipient", ("c@y",)), reply, now=0)
    assert known(cache, keys_of(envelope("b@y", "c@y"), "a@x"), now=1)


def test_recipients_that_were_refused_together_are_known_together_alone() -> None:
    cache, reply = RefusalCache(), upstream_reply(550, "5.1.10 not found")
    both = keys_of(envelope("b@y", "c@y"), "a@x")
    for _ in range(FEW):
        cache.refused(both.together, reply, now=0)
    assert known(cache, keys_of(envelope("C@y", "b@y"), "z@x"), now=1)
    for others in (("b@y",), ("c@y",), ("b@y", "c@y", "d@y")):
        assert known(cache, keys_of(envelope(*others), "a@x"), now=1) is None
    cache.accepted(both.together)
    assert known(cache, both, now=1) is None


def test_what_is_remembered_stays_small() -> None:
    cache = RefusalCache()
    for number in range(2 * KEYS):
        cache.refused(Key("recipient", (f"{number}@y",)), DENIED, now=0)
    assert len(cache.refusals) == KEYS
    assert not cache.suspects(keys_of(envelope("0@y"), ""), "recipient")
    assert cache.suspects(keys_of(envelope(f"{2 * KEYS - 1}@y"), ""), "recipient")
    assert cache.suspects(keys_of(envelope("x@y", "z@y"), ""), "recipients")


@pytest.mark.promise("mailbox-not-locked")
def test_a_recipient_that_is_refused_beside_others_that_are_taken_counts_too() -> None:
    unused: Any = None
    log = EventLog(write=len, now=lambda: datetime(2026, 11, 26, tzinfo=UTC))
    clock = Clock(now=unused, monotonic=lambda: 0.0)
    guard = SendGuard(Context(clock=clock, dice=min, log=log, metrics=unused, audit=unused, directory=unused))
    ok, gone = Reply(250, "2.1.5", "OK"), upstream_reply(550, "5.1.10 not found")
    both, alone, other = (sent(*to) for to in (("b@y", "c@y"), ("c@y",), ("b@y",)))
    for _ in range(FEW):
        guard.check(alone)
        guard.heard(both, Answers(sender=ok, recipients=(ok, gone), start=Reply(354, "", ""), final=ok))
    with pytest.raises(Refused, match="remembered"):
        guard.check(alone)
    guard.check(other)
    guard.check(both)


# --- Pace ------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("mailbox-shared-fairly")
def test_messages_begin_evenly_spaced_and_at_most_so_many_a_minute() -> None:
    pace, moments = RateLimit(), []
    for _ in range(31):
        moment = pace.moment(per_minute=30, now=100)
        pace.take(moment, per_minute=30)
        moments.append(moment)
    assert moments == [100 + 2 * number for number in range(31)]
    assert pace.moment(per_minute=None, now=100) == 100
    assert pace.moment(per_minute=30, now=1000) == 1000, "what was not used is not saved up"


@pytest.mark.promise("mailbox-shared-fairly")
def test_a_moment_is_reserved_for_spooled_mail() -> None:
    pace = RateLimit()
    pace.take(100, per_minute=60)
    assert pace.reserve(per_minute=60, now=100) == 101
    assert pace.moment(per_minute=60, now=100) == 102, "an app's message comes after it"
    assert pace.reserve(per_minute=60, now=100.5) == 101, "one at a time"
    pace.use(per_minute=60, now=101.25)
    assert pace.reserve(per_minute=60, now=101.25) == 102.25, "a late one does not crowd the next"
    assert pace.reserve(per_minute=60, now=200) == 200, "what was not used is not saved up"
    pace.use(per_minute=60, now=200)
    assert pace.reserve(per_minute=None, now=200.5) == 200.5


def test_a_share_below_one_is_what_is_left_of_a_connection() -> None:
    share = FairShare(dice=min)
    share.opening()
    share.throttled(None, now=0)
    assert 0 < share.share(limit=3) < 1
