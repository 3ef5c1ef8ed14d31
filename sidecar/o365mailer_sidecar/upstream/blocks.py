"""Whether a message may be sent to Exchange now: the pauses after failures, and the guard of the mailbox.

Each class knows one reason, is pure (times are passed in, in seconds of the event loop), and raises `Blocked` where
nothing may be sent. `SendGuard` holds what belongs to the mailbox, with the refusals of `refusal_cache`, and learns
from every answer.

Exchange locks a mailbox whose errors are continuous: for every client, for an unpublished time, and support cannot
unlock it (Microsoft, "Continuous error throttling for SMTP AUTH submissions"). So after a lock the relay sends nothing
for a while.
"""

from typing import Final

from o365mailer_contract.replies import Outcome
from o365mailer_sidecar import replies
from o365mailer_sidecar.backoff import Backoff, Dice
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.errors import Blocked
from o365mailer_sidecar.message.policy import Applied
from o365mailer_sidecar.reply import Reply, shortened
from o365mailer_sidecar.smtp.transaction import Answers
from o365mailer_sidecar.upstream.classify import Verdict, classify, paused
from o365mailer_sidecar.upstream.refusal_cache import Key, Keys, RefusalCache

NOT_READY: Final = "not-ready"
TOKEN_REFUSED: Final = "token-refused"
NOT_ASKED: Final = "mailbox-held"
AWAY: Final = "away"
"""`Blocked.reason`: there is no mailer or no token, Exchange refuses the token, sending from the mailbox is paused or
its connections are in use, Exchange cannot be reached. The words are those of the log and the metric."""


# --- The way to Exchange --------------------------------------------------------------------------------------------


class HostBackoff:
    """The host cannot be reached: no connection is tried until the pause is over, and no app waits for one.

    The longest pause is short: without a spool an app that tries again is the only probe there is.
    """

    PAUSE: Final = Backoff(1.0, 5.0)

    def __init__(self) -> None:
        self.reason, self.failures, self.until = "", 0, 0.0

    def failed(self, reason: str, *, now: float) -> bool:
        """Note a failure. True if it is news for the log: another reason than that of the last failure."""
        news = reason != self.reason
        self.reason, self.failures = reason, self.failures + 1
        self.until = now + self.PAUSE.pause(self.failures)
        return news

    def succeeded(self) -> bool:
        """Note a success. True if it ends an outage."""
        ended = bool(self.failures)
        self.reason, self.failures, self.until = "", 0, 0.0
        return ended

    def blocked(self) -> Blocked:
        """What to raise for the last failure."""
        return Blocked(AWAY, replies.filled(replies.AWAY, reason=shortened(self.reason)), until=self.until)

    def check(self, *, now: float) -> None:
        """Raises Blocked during a pause."""
        if now < self.until:
            raise self.blocked()


class TokenBackoff:
    """Exchange refuses the token: the same one is not offered again until the pause is over, a newer one is at once.

    Refused logins count against the mailbox. A right that is missing is granted by a person, and takes half an hour to
    be known everywhere; so the pause stays at its first length for a few refusals, of whatever token, and then doubles.
    """

    PAUSE: Final = Backoff(60.0, 900.0)
    TRIES: Final = 3

    def __init__(self) -> None:
        self.token = self.answer = ""
        self.until, self.refusals = 0.0, 0

    def refused(self, token: str, answer: str, *, now: float) -> bool:
        """Note a refusal in Exchange's words. True if it is news for the log."""
        news = (token, answer) != (self.token, self.answer)
        self.refusals += 1
        self.token, self.answer = token, answer
        self.until = now + self.PAUSE.pause(self.refusals - self.TRIES + 1)
        return news

    def accepted(self) -> None:
        """Note that Exchange accepted a token."""
        self.token, self.answer, self.refusals = "", "", 0

    def blocked(self, mailbox: str) -> Blocked:
        """What to raise for the last refusal."""
        reply = replies.filled(replies.TOKEN_REFUSED, mailbox=mailbox, answer=self.answer)
        return Blocked(TOKEN_REFUSED, reply, until=self.until)

    def check(self, token: str, mailbox: str, *, now: float) -> None:
        """Raises Blocked while this token must not be offered."""
        if token == self.token and now < self.until:
            raise self.blocked(mailbox)


# --- `limits.messagesPerMinute` -------------------------------------------------------------------------------------


class RateLimit:
    """Gives each message a moment to begin, in the order of the requests and evenly spaced.

    An app's message takes a moment only if it comes before the app gives up. A message from the spool can wait, so one
    moment is reserved for the spool. Otherwise apps that keep sending would take every moment, and spooled mail would
    wait for ever.
    """

    def __init__(self) -> None:
        self.next = 0.0
        self.reserved: float | None = None

    def moment(self, *, per_minute: int | None, now: float) -> float:
        """When the next message may begin. The moment is free until a message takes it."""
        return max(self.next, now) if per_minute else now

    def take(self, moment: float, *, per_minute: int | None) -> None:
        """A message begins then."""
        if per_minute:
            self.next = moment + 60 / per_minute

    def reserve(self, *, per_minute: int | None, now: float) -> float:
        """When the next message from the spool may begin. No other message gets that moment."""
        if not per_minute:
            self.reserved = None
            return now
        # A reserved moment that has passed unused does not count for later.
        if self.reserved is None or self.reserved + 60 / per_minute < now:
            self.reserved = self.moment(per_minute=per_minute, now=now)
            self.take(self.reserved, per_minute=per_minute)
        return self.reserved

    def use(self, *, per_minute: int | None, now: float) -> None:
        """A message from the spool begins now, at the moment that was reserved or later."""
        self.reserved = None
        if per_minute:
            self.next = max(self.next, now + 60 / per_minute)


# --- The mailbox ----------------------------------------------------------------------------------------------------

COOLDOWNS: Final = {
    # How long Exchange locks is unpublished, and sending meanwhile may lengthen it. At the longest pause, a person who
    # has unlocked the mailbox waits half a day at most.
    Outcome.LOCKED: Backoff(3600.0, 4 * 3600.0, (1.0, 2.0)),
    # Quotas slide over a day, and a mailbox is full until a person empties it: an hour is soon enough to notice.
    Outcome.QUOTA: Backoff(300.0, 1800.0, (1.0, 2.0)),
    # A new right takes half an hour to two hours to be known everywhere.
    Outcome.UNAUTHORIZED: Backoff(300.0, 900.0, (1.0, 2.0)),
}
"""By outcome. Fifty pods that were told the same at the same time must not probe at the same time: hence the jitter."""

COOLDOWN_TRIES: Final = 3
"""430 "mailbox logon failure" and the like may be temporary. After this many in a row a right is missing."""

PROBE_PATIENCE: Final = 10.0
"""Seconds after which to ask again while a probe is under way."""

SUSPECT: Final = {
    "throttled-send-as": "send-as",
    "throttled-recipients": "recipient",
    "throttled-too-many-recipients": "recipients",
}
"""Reason of a lock → the class of messages that led to it. The probe after the pause should be of another class."""


class MailboxCooldown:
    """Nothing is sent from the mailbox: it is locked, a quota is used up, it is full, or a right is missing.

    After the pause one message goes ahead as a probe. If Exchange accepts it, sending goes on; if Exchange refuses it
    for the same reason, the next pause is twice as long.
    """

    def __init__(self, *, dice: Dice) -> None:
        self.dice = dice
        self.cause: Verdict | None = None
        self.pauses = 0
        """In a row, for the same reason."""
        self.length = self.until = 0.0
        self.probing = False
        self.refusals = 0
        """In a row, for a missing right."""

    @property
    def reason(self) -> str:
        """Why nothing is sent; empty when there is no cooldown."""
        return self.cause.reason if self.cause else ""

    @property
    def suspect(self) -> str:
        """The class of messages that should not be the probe; empty: none."""
        return SUSPECT.get(self.reason, "")

    def check(self, *, now: float, suspect: bool = False) -> None:
        """Raises Blocked while nothing may be sent. `suspect`: the message is of the class that led to the cooldown.

        A suspect message waits twice as long. Then it is sent, because the app may send no other kind.
        """
        if not self.cause:
            return
        until = self.until + (self.length if suspect else 0.0)
        if now >= until and self.probing:
            until = now + PROBE_PATIENCE
        if now < until:
            raise Blocked(NOT_ASKED, paused(self.cause, seconds=until - now), until=until)

    def refused(self, verdict: Verdict, *, now: float) -> bool:
        """Note a reply that speaks of the whole mailbox. True if a pause begins."""
        if verdict.outcome is Outcome.UNAUTHORIZED and not self.cause:
            self.refusals += 1
            if self.refusals < COOLDOWN_TRIES:
                return False
        if self.cause and now < self.until:
            return False  # the reply to a message that was on its way
        self.pauses = self.pauses + 1 if self.reason == verdict.reason else 1
        self.length = COOLDOWNS[verdict.outcome].pause(self.pauses, self.dice)
        self.cause, self.until = verdict, now + self.length
        return True

    def begin_probe(self) -> bool:
        """A checked message goes to Exchange now. True if it is the probe: the others wait for its result."""
        probe = self.cause is not None
        self.probing = self.probing or probe
        return probe

    def accepted(self) -> bool:
        """Note that Exchange accepted a message. True if that ends a cooldown."""
        ended = self.cause is not None
        self.cause, self.pauses, self.until, self.refusals = None, 0, 0.0, 0
        return ended


# --- All that is known of the mailbox -------------------------------------------------------------------------------

OF_THE_MAILBOX: Final = frozenset(COOLDOWNS)
"""Outcomes of replies that speak of the mailbox, not of the message."""


class SendGuard:
    """Checks each message before it goes to Exchange, and learns from every reply."""

    def __init__(self, context: Context) -> None:
        self.monotonic, self.dice, self.log = context.clock.monotonic, context.dice, context.log
        self.mailbox, self.cooldown, self.refusals = "", MailboxCooldown(dice=self.dice), RefusalCache()

    def belongs_to(self, mailbox: str) -> None:
        """Forget everything if this is another mailbox: after a lock a user may have configured a new one."""
        if mailbox != self.mailbox:
            self.mailbox, self.cooldown, self.refusals = mailbox, MailboxCooldown(dice=self.dice), RefusalCache()

    def check(self, message: Applied | None = None) -> None:
        """Raises Blocked during a cooldown, Refused for a message that Exchange would refuse."""
        if not (self.cooldown.cause or self.refusals.refusals):
            return
        now, keys = self.monotonic(), Keys.of(message.envelope, message.author) if message else None
        suspect = self.cooldown.suspect
        self.cooldown.check(now=now, suspect=bool(keys and suspect and self.refusals.suspects(keys, suspect)))
        if keys:
            self.refusals.check(keys, now=now)

    def heard(self, message: Applied, answers: Answers) -> None:
        """Learn from all replies to a message. Any reply can refuse a recipient, only the last one accepts it."""
        accepted = answers.final is not None and answers.final.code == 250
        if accepted and self.cooldown.accepted():
            self.log.event("mailbox_resumed")
        if accepted and not self.refusals.refusals and all(to.code < 400 for to in answers.recipients):
            return  # nothing was refused, and nothing is remembered
        keys = Keys.of(message.envelope, message.author)
        if accepted:
            taken = [key for key, to in zip(keys.recipients, answers.recipients, strict=False) if to.code < 400]
            self.refusals.accepted(keys.senders, *taken, keys.together)
        for key, reply in zip(keys.recipients, answers.recipients, strict=False):
            if classify(reply).reason != "mailbox-full":  # said to RCPT, it is the recipient's
                self._said(reply, keys.senders, key)
        self._said(answers.sender, keys.senders, keys.senders)
        for last in filter(None, (answers.start, answers.final)):
            self._said(last, keys.senders, keys.together)

    def _said(self, reply: Reply, senders: Key, about: Key) -> None:
        """Learn from one reply to a message. `about`: whom the reply refuses if it refuses a recipient."""
        if reply.code < 400:
            return
        verdict = classify(reply)
        if verdict.outcome in OF_THE_MAILBOX:
            self.mailbox_refused(verdict)
        elif verdict.reason in ("send-as", "recipient"):
            key = senders if verdict.reason == "send-as" else about
            if self.refusals.refused(key, reply, now=self.monotonic()):
                self.log.event("refusal_cached", level="warning", reason=key.reason, code=reply.code)

    def mailbox_refused(self, verdict: Verdict) -> None:
        """Note a reply that speaks of the whole mailbox."""
        if self.cooldown.refused(verdict, now=self.monotonic()):
            code, seconds = verdict.reply.code, round(self.cooldown.length)
            self.log.event("mailbox_paused", level="error", reason=verdict.reason, code=code, seconds=seconds)

    def open_for(self) -> set[tuple[Outcome, str]]:
        """Outcome and reason of everything that is held back or refused here."""
        refused = {(Outcome.REFUSED, reason) for reason in self.refusals.open(now=self.monotonic())}
        cause = self.cooldown.cause
        return refused | ({(cause.outcome, cause.reason)} if cause else set())
