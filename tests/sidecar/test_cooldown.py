"""The mailbox at rest, and messages that Exchange need not see again."""

from datetime import UTC, datetime

import pytest

from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.reply import Reply, upstream_reply
from o365mailer_sidecar.smtp.transaction import Answers
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.upstream.blocks import (
    COOLDOWN_TRIES,
    FEW,
    KEYS,
    PROBE_PATIENCE,
    REMEMBERED,
    WITHIN,
    Key,
    MailboxCooldown,
    RateLimit,
    RefusalCache,
    keys_of,
)
from o365mailer_sidecar.upstream.classify import classify
from o365mailer_sidecar.upstream.fair_share import FairShare
from o365mailer_sidecar.upstream.guard import SendGuard, Traveller

HOUR = 3600.0
LOCK = upstream_reply(550, "5.2.252 Sender throttled due to continuous send as denied errors.")
QUOTA = upstream_reply(554, "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException")
NO_RIGHT = upstream_reply(430, "4.2.0 STOREDRV; mailbox logon failure")
DENIED = upstream_reply(554, "5.2.252 SendAsDenied; a@x not allowed to send as b@y")


def rest(share: float = 0.5) -> MailboxCooldown:
    """One whose random numbers are this share of the way."""
    return MailboxCooldown(uniform=lambda low, high: low + share * (high - low))


def refused(mailbox: MailboxCooldown, reply: Reply, *, now: float) -> bool:
    """The reply comes in."""
    return mailbox.refused(reply, classify(reply), now=now)


@pytest.mark.promise("mailbox-not-locked")
@pytest.mark.parametrize("text", ["5.2.251 x", "5.2.252 x", "5.2.253 x", "5.2.254 x", "5.2.255 x", "5.1.8 x",
                                  "5.7.501 x", "5.7.511 x", "5.7.705 x", "5.7.708 x", "5.7.750 x"])  # fmt: skip
def test_a_lock_shuts_the_mailbox_for_an_hour_at_least(text: str) -> None:
    mailbox = rest(share=0)
    assert mailbox.resting(now=0) is None
    assert refused(mailbox, upstream_reply(550, text), now=0)
    resting = mailbox.resting(now=HOUR - 1)
    assert resting is not None
    assert resting.until == HOUR
    assert mailbox.resting(now=HOUR) is None


@pytest.mark.promise("mailbox-not-locked")
def test_pods_that_were_shut_at_the_same_moment_do_not_probe_at_the_same_moment() -> None:
    ends = []
    for pod in range(50):
        mailbox = rest(share=pod / 50)
        refused(mailbox, LOCK, now=0)
        resting = mailbox.resting(now=0)
        assert resting
        ends.append(resting.until)
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
        assert mailbox.resting(now=now) is None
        mailbox.probing = True
        waiting = mailbox.resting(now=now)
        assert waiting
        assert waiting.until == now + PROBE_PATIENCE
        mailbox.probing = False
    assert lengths == [HOUR, 2 * HOUR, 4 * HOUR, 4 * HOUR]
    assert mailbox.accepted()
    assert not mailbox.accepted()
    assert mailbox.resting(now=now) is None


@pytest.mark.promise("mailbox-not-locked")
def test_the_first_to_go_is_not_of_the_class_that_led_to_the_lock_unless_nothing_else_comes() -> None:
    mailbox = rest(share=0)
    refused(mailbox, LOCK, now=0)
    assert mailbox.suspect == "send-as"
    assert mailbox.resting(now=HOUR, suspect=False) is None
    held = mailbox.resting(now=HOUR, suspect=True)
    assert held
    assert held.until == 2 * HOUR
    assert mailbox.resting(now=2 * HOUR, suspect=True) is None


def test_a_quota_rests_minutes_and_grows_to_an_hour_at_most() -> None:
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
    assert mailbox.resting(now=COOLDOWN_TRIES)
    mailbox = rest()
    for number in range(10):
        assert not refused(mailbox, NO_RIGHT, now=number)
        mailbox.accepted()


# --- Messages --------------------------------------------------------------------------------------------------------


def envelope(*recipients: str, sender: str = "a@x") -> Envelope:
    """To these."""
    to = tuple(Recipient(address=address) for address in recipients)
    return Envelope(queue_id="Q", sender=Sender(address=sender), recipients=to)


def test_messages_have_their_senders_and_each_recipient_in_common() -> None:
    keys = keys_of(envelope("B@y", "c@y", sender="A@x"), "Boss@x")
    senders, together = Key("send-as", ("a@x", "boss@x")), Key("recipient", ("b@y", "c@y"))
    assert keys == (senders, Key("recipient", ("b@y",)), Key("recipient", ("c@y",)), together)
    twice = keys_of(envelope("B@y", "b@y", sender="A@x"), "Boss@x")
    assert twice == (senders, Key("recipient", ("b@y",)), Key("recipient", ("b@y",)))


@pytest.mark.promise("mailbox-not-locked")
def test_a_few_refusals_of_the_same_are_enough_and_then_one_in_a_while_goes_through() -> None:
    breaker, now = RefusalCache(), 0.0
    keys = keys_of(envelope("b@y"), "boss@x")
    for number in range(FEW):
        assert breaker.refusal(keys, now=now) is None
        assert breaker.refused(keys[0], DENIED, now=now) == (number == FEW - 1)
        now += WITHIN / 4
    known = breaker.refusal(keys, now=now)
    assert known
    assert known.reply == DENIED
    assert breaker.open(now=now) == {"send-as"}
    assert breaker.refusal(keys_of(envelope("b@y"), "a@x"), now=now) is None, "others go"
    now = known.until
    assert breaker.refusal(keys, now=now) is None
    assert breaker.refused(keys[0], DENIED, now=now), "one is enough now"
    again = breaker.refusal(keys, now=now)
    assert again
    assert again.until - now == 2 * REMEMBERED[0]
    breaker.accepted(keys)
    assert breaker.refusal(keys, now=now) is None


def test_refusals_that_are_far_apart_do_not_count_together() -> None:
    breaker, key = RefusalCache(), Key("send-as", ("a@x", "boss@x"))
    for number in range(10):
        assert not breaker.refused(key, DENIED, now=number * WITHIN)


def test_a_message_for_several_is_refused_only_when_every_recipient_is_known() -> None:
    breaker, reply = RefusalCache(), upstream_reply(550, "5.1.10 not found")
    for _ in range(FEW):
        breaker.refused(Key("recipient", ("b@y",)), reply, now=0)
    assert breaker.refusal(keys_of(envelope("b@y"), "a@x"), now=1)
    assert breaker.refusal(keys_of(envelope("b@y", "c@y"), "a@x"), now=1) is None
    breaker.refused(Key("recipient", ("c@y",)), reply, now=0)
    assert breaker.refusal(keys_of(envelope("b@y", "c@y"), "a@x"), now=1) is None
    for _ in range(FEW - 1):
        breaker.refused(Key("recipient", ("c@y",)), reply, now=0)
    assert breaker.refusal(keys_of(envelope("b@y", "c@y"), "a@x"), now=1)


def test_recipients_that_were_refused_together_are_known_together_alone() -> None:
    breaker, reply = RefusalCache(), upstream_reply(550, "5.1.10 not found")
    for _ in range(FEW):
        breaker.refused(keys_of(envelope("b@y", "c@y"), "a@x")[-1], reply, now=0)
    assert breaker.refusal(keys_of(envelope("C@y", "b@y"), "z@x"), now=1)
    for others in (("b@y",), ("c@y",), ("b@y", "c@y", "d@y")):
        assert breaker.refusal(keys_of(envelope(*others), "a@x"), now=1) is None
    breaker.accepted(keys_of(envelope("b@y", "c@y"), "a@x"))
    assert breaker.refusal(keys_of(envelope("b@y", "c@y"), "a@x"), now=1) is None


def test_what_is_remembered_stays_small() -> None:
    breaker = RefusalCache()
    for number in range(2 * KEYS):
        breaker.refused(Key("recipient", (f"{number}@y",)), DENIED, now=0)
    assert len(breaker.records) == KEYS
    assert not breaker.suspect(keys_of(envelope("0@y"), ""), "recipient")
    assert breaker.suspect(keys_of(envelope(f"{2 * KEYS - 1}@y"), ""), "recipient")
    assert breaker.suspect(keys_of(envelope("x@y", "z@y"), ""), "recipients")


@pytest.mark.promise("mailbox-not-locked")
def test_a_recipient_that_is_refused_beside_others_that_are_taken_counts_too() -> None:
    log = EventLog(write=len, now=lambda: datetime(2026, 11, 26, tzinfo=UTC))
    gate = SendGuard(monotonic=lambda: 0.0, uniform=min, log=log)
    ok, gone = Reply(250, "2.1.5", "OK"), upstream_reply(550, "5.1.10 not found")
    both, alone, other = (Traveller(envelope(*to), "a@x") for to in (("b@y", "c@y"), ("c@y",), ("b@y",)))
    for _ in range(FEW):
        gate.check(alone)
        gate.heard(both, Answers(sender=ok, recipients=(ok, gone), start=Reply(354, "", ""), final=ok))
    with pytest.raises(Refused, match="remembered"):
        gate.check(alone)
    gate.check(other)
    gate.check(both)


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
    window = FairShare(uniform=min)
    window.refused(held=0, now=0)
    assert 0 < window.share(limit=3) < 1
