"""What keeps the relay from asking Exchange now."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from o365mailer_contract.replies import Outcome
from o365mailer_sidecar.message.address_list import canonical
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.upstream.classify import Verdict

# --- availability --------------------
# Whether upstream is worth asking: what the last attempts said. Pure; the time is passed in, in seconds.


FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 5.0
"""Seconds: without a spool a pause only answers sooner, and an app that asks after it is the probe."""

TOKEN_PAUSE: Final = 60.0
"""Seconds until a refused token is offered again: refused AUTHs count against the mailbox."""

LONGEST_TOKEN_PAUSE: Final = 900.0
"""The same after many: a right that is missing is given by a person, and takes half an hour to be known everywhere."""

TRIES: Final = 3
"""Refusals in a row after which the pause doubles with each."""


NOT_READY: Final = "not-ready"
TOKEN_REFUSED: Final = "token-refused"
NOT_ASKED: Final = "mailbox-held"
AWAY: Final = "away"
"""Why Exchange has not seen a message: there is no mailer or no token, it does not let this mailbox in, the mailbox
rests, it cannot be reached. The words are those of the log and the metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Why an attempt would be pointless now."""

    reason: str
    """One of the words above."""
    reply: Reply
    """For an app that has no spool between."""
    until: float
    """A time of the event loop in seconds; infinity: until the mailer directory changes."""


class HostBackoff:
    """After a connection that failed, the next is tried after a pause that doubles; in between, nobody waits."""

    def __init__(self) -> None:
        self.reason = ""
        self.pause = 0.0
        self.until = 0.0

    def failed(self, reason: str, *, now: float) -> bool:
        """Note a failure; True when it is news."""
        news = reason != self.reason
        self.reason = reason
        self.pause = min(max(2 * self.pause, FIRST_PAUSE), LONGEST_PAUSE)
        self.until = now + self.pause
        return news

    def succeeded(self) -> bool:
        """Note a success; True when it is news."""
        news = bool(self.reason)
        self.reason, self.pause, self.until = "", 0.0, 0.0
        return news

    def away(self, *, now: float) -> str:
        """Why nobody should wait now; empty when an attempt is due."""
        return self.reason if now < self.until else ""


class TokenBackoff:
    """The last token that was refused, and when."""

    def __init__(self) -> None:
        self.token = ""
        self.answer = ""
        self.until = 0.0
        self.times = 0

    def refused(self, token: str, answer: str, *, now: float) -> bool:
        """Note a refusal; True when it is news."""
        news = (token, answer) != (self.token, self.answer)
        self.times += 1
        pause = min(TOKEN_PAUSE * 2.0 ** min(max(self.times - TRIES, 0), 10), LONGEST_TOKEN_PAUSE)
        self.token, self.answer, self.until = token, answer, now + pause
        return news

    def accepted(self) -> None:
        """Note that a token was taken."""
        self.token = self.answer = ""
        self.times = 0

    def answer_for(self, token: str, *, now: float) -> str:
        """What was said to this token, while it must not be offered again; otherwise empty."""
        return self.answer if token == self.token and now < self.until else ""


# --- pace --------------------
# `limits.messagesPerMinute`: one message every so many seconds. Pure: times in seconds are passed in.


class RateLimit:
    """Gives out moments to begin, in the order of asking.

    An app's message takes a moment that is soon enough for it, or none. A message from the spool can wait, so one
    moment is reserved for the spool: without it apps that keep sending would take every moment, and spooled mail would
    wait for ever.
    """

    def __init__(self) -> None:
        self.next = 0.0
        self.reserved: float | None = None

    def moment(self, *, per_minute: int | None, now: float) -> float:
        """When the next message may begin; it is nobody's until it is taken."""
        return max(self.next, now) if per_minute else now

    def take(self, moment: float, *, per_minute: int | None) -> None:
        """Somebody begins then."""
        if per_minute:
            self.next = moment + 60 / per_minute

    def reserve(self, *, per_minute: int | None, now: float) -> float:
        """When the next message from the spool may begin. No other message gets that moment."""
        if not per_minute:
            self.reserved = None
            return now
        # One that was not used in time is not saved up.
        if self.reserved is None or self.reserved + 60 / per_minute < now:
            self.reserved = self.moment(per_minute=per_minute, now=now)
            self.take(self.reserved, per_minute=per_minute)
        return self.reserved

    def use(self, *, per_minute: int | None, now: float) -> None:
        """A message from the spool begins now, at the moment that was reserved or later."""
        self.reserved = None
        if per_minute:
            self.next = max(self.next, now + 60 / per_minute)


# --- rest --------------------
# The mailbox at rest: shut after Exchange has blocked it, held while a quota is used up or the mailbox is full. Pure.
#
# While it rests nothing is sent, and nobody is made to wait. Then one message goes ahead, a probe: accepted,
# everything goes on; refused in the same way, the rest is twice as long. Fifty pods that were told the same at the
# same time must not probe at the same time, so every rest has a random length, up to twice what it is at least.


SHUT: Final = (3600.0, 4 * 3600.0)
"""Seconds at least, first and longest. How long Exchange locks is unpublished, and trying meanwhile may lengthen it; in
the longest, whoever has unlocked the mailbox waits no longer than half a day."""

HELD: Final = (300.0, 1800.0)
"""Quotas slide over a day, and a mailbox is full until somebody empties it: an hour is soon enough to notice."""

UNAUTHORIZED: Final = (300.0, 900.0)
"""A new right takes half an hour to two hours to be known everywhere."""

LENGTHS: Final = {Outcome.LOCKED: SHUT, Outcome.QUOTA: HELD, Outcome.UNAUTHORIZED: UNAUTHORIZED}

COOLDOWN_TRIES: Final = 3
"""430 "mailbox logon failure" and its like are said for a moment's trouble too: so many in a row are none."""

PROBE_PATIENCE: Final = 10.0
"""Seconds after which to ask again while a probe is under way."""

SUSPECT: Final = {
    "throttled-send-as": "send-as",
    "throttled-recipients": "recipient",
    "throttled-too-many-recipients": "recipients",
}
"""Lock → the class of messages that led to it, which is not to be the first that Exchange sees again."""


class Cooldown(NamedTuple):
    """Why nothing is sent now, and until when."""

    reply: Reply
    verdict: Verdict
    until: float


class MailboxCooldown:
    """The state of one mailbox. `uniform` gives a random number between two."""

    def __init__(self, *, uniform: Callable[[float, float], float]) -> None:
        self.uniform = uniform
        self.cause: tuple[Reply, Verdict] | None = None
        self.length = self.until = self.lasting = 0.0
        self.probing = False
        self.failures = 0

    @property
    def reason(self) -> str:
        """Why it rests; empty when it does not."""
        return self.cause[1].reason if self.cause else ""

    @property
    def suspect(self) -> str:
        """The class of messages that may not be the first; empty: none."""
        return SUSPECT.get(self.reason, "")

    def resting(self, *, now: float, suspect: bool = False) -> Cooldown | None:
        """Why a message may not go ahead; None when it may. `suspect`: it is of the class that led here.

        A suspect goes ahead only when nothing else has within twice the time: there may be nothing else.
        """
        if not self.cause:
            return None
        until = self.until + (self.lasting if suspect else 0.0)
        if now >= until and self.probing:
            until = now + PROBE_PATIENCE
        return Cooldown(*self.cause, until) if now < until else None

    def refused(self, reply: Reply, verdict: Verdict, *, now: float) -> bool:
        """Exchange has said what the whole mailbox is meant by; True when that is the beginning of a rest."""
        if verdict.outcome is Outcome.UNAUTHORIZED and not self.cause:
            self.failures += 1
            if self.failures < COOLDOWN_TRIES:
                return False
        if self.cause and now < self.until:
            return False  # the answer to a message that was on its way
        first, longest = LENGTHS[verdict.outcome]
        self.length = min(2 * self.length, longest) if self.reason == verdict.reason else first
        self.lasting = self.length * self.uniform(1, 2)
        self.cause, self.until = (reply, verdict), now + self.lasting
        return True

    def accepted(self) -> bool:
        """Exchange has taken a message; True when that ends a rest."""
        ended = self.cause is not None
        self.cause, self.length, self.until, self.failures = None, 0.0, 0.0, 0
        return ended


# --- breaker --------------------
# What Exchange need not see again. Pure: times in seconds are passed in.
#
# Exchange shuts a mailbox whose errors are continuous: for everybody, for a time that nobody outside knows, and no
# support lifts it (Microsoft, "Continuous error throttling for SMTP AUTH submissions"). So a message that would be
# refused like a few others before it is refused here, in the words that Exchange used, and only now and then one is
# let through to see whether the cause is gone.


FEW: Final = 3
"""Refusals of the same until the next is refused here. How many lock a mailbox is unpublished."""

WITHIN: Final = 600.0
"""Seconds in which they count together."""

REMEMBERED: Final = (900.0, 4 * 3600.0)
"""Seconds for which it is refused here, first and longest: doubled whenever the one that is let through is refused."""

KEYS: Final = 1000
"""Messages' keys that are remembered; the oldest is forgotten first. Each is some hundred octets of memory."""


class Key(NamedTuple):
    """What messages have in common that Exchange refuses for the same reason."""

    reason: str
    what: tuple[str, ...]


@dataclass(slots=True)
class Record:
    """What is known of one key."""

    reply: Reply
    times: list[float]
    until: float = 0.0
    length: float = 0.0


class Remembered(NamedTuple):
    """A refusal that needs not be asked for, and until when."""

    reply: Reply
    until: float


def keys_of(envelope: Envelope, author: str) -> tuple[Key, ...]:
    """The keys of a message as it goes to Exchange: its two senders, each recipient, all of them where they differ."""
    senders = Key("send-as", (canonical(envelope.sender.address), canonical(author)))
    recipients = [Key("recipient", (canonical(to.address),)) for to in envelope.recipients]
    together = Key("recipient", tuple(sorted({key.what[0] for key in recipients})))
    return (senders, *recipients, *([together] if len(together.what) > 1 else ()))


class RefusalCache:
    """Remembers refusals of messages. What concerns the whole mailbox is `rest`'s."""

    def __init__(self) -> None:
        self.records: dict[Key, Record] = {}

    def refusal(self, keys: tuple[Key, ...], *, now: float) -> Remembered | None:
        """The refusal that a message with these keys would get.

        Of several recipients every one must be refused, or the same ones together: the others could get their mail.
        """
        found = {key: record for key in keys if (record := self.records.get(key)) and now < record.until}
        recipients = [key for key in keys if len(key.what) == 1]
        for key, record in found.items():
            if key not in recipients or all(other in found for other in recipients):
                return Remembered(record.reply, record.until)
        return None

    def suspect(self, keys: tuple[Key, ...], reason: str) -> bool:
        """Whether a message is of a class that has been refused: the same senders, a recipient, many recipients."""
        if reason == "recipients":
            return sum(key.reason == "recipient" for key in keys) > 1
        return any(key.reason == reason and key in self.records for key in keys)

    def refused(self, key: Key, reply: Reply, *, now: float) -> bool:
        """Exchange refused a message for good, for something that is `key`; True when the next is refused here."""
        record = self.records.pop(key, None) or Record(reply, [])
        self.records[key] = record  # the last is the youngest
        record.reply = reply
        record.times = [*[time for time in record.times if now - time < WITHIN][1 - FEW :], now]
        if len(record.times) < FEW and not record.length:
            self._forget()
            return False
        record.length = min(2 * record.length or REMEMBERED[0], REMEMBERED[1])
        record.until = now + record.length
        self._forget()
        return True

    def accepted(self, keys: tuple[Key, ...]) -> None:
        """Exchange has taken a message with these keys: what was known of them is over."""
        for key in keys:
            self.records.pop(key, None)

    def open(self, *, now: float) -> set[str]:
        """The reasons for which something is refused here."""
        return {key.reason for key, record in self.records.items() if now < record.until}

    def _forget(self) -> None:
        while len(self.records) > KEYS:
            del self.records[next(iter(self.records))]
