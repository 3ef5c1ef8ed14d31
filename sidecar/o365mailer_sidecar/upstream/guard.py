"""Whether Exchange gets to see a message: not while the mailbox rests, nor what it has refused again and again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from o365mailer_contract.replies import Outcome
from o365mailer_sidecar.errors import Held, Refused
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.transaction import Answers
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.upstream.blocks import Key, MailboxCooldown, RefusalCache, keys_of
from o365mailer_sidecar.upstream.classify import Verdict, classify, remembered, resting

MAILBOX: Final = (Outcome.QUOTA, Outcome.LOCKED, Outcome.UNAUTHORIZED)
"""What is said of the mailbox, not of the message."""

SENDERS: Final = 0
ALL_RECIPIENTS: Final = -1
"""Places in a message's keys."""


class Traveller:
    """One message at the gate. What it has in common with others is looked for only when somebody asks."""

    def __init__(self, envelope: Envelope, author: str) -> None:
        self.envelope, self.author = envelope, author
        self.known: tuple[Key, ...] = ()

    @property
    def keys(self) -> tuple[Key, ...]:
        """The senders' first, then one for each recipient, in order; the last is all recipients'."""
        self.known = self.known or keys_of(self.envelope, self.author)
        return self.known


class SendGuard:
    """Hears every answer, and stops what would get the same again."""

    def __init__(
        self, *, monotonic: Callable[[], float], uniform: Callable[[float, float], float], log: EventLog
    ) -> None:
        self.monotonic, self.uniform, self.log = monotonic, uniform, log
        self.mailbox = ""
        self.rest, self.refusals = MailboxCooldown(uniform=uniform), RefusalCache()

    def belongs_to(self, mailbox: str) -> None:
        """Begin anew before another mailbox than the last: whoever was locked out may have been given a new one."""
        if mailbox != self.mailbox:
            self.mailbox, self.rest, self.refusals = mailbox, MailboxCooldown(uniform=self.uniform), RefusalCache()

    def check(self, traveller: Traveller | None = None) -> None:
        """Raises Held while the mailbox rests, Refused for a message that Exchange would refuse."""
        if not (self.rest.reason or self.refusals.records):
            return
        now = self.monotonic()
        suspect = bool(traveller and self.rest.suspect and self.refusals.suspect(traveller.keys, self.rest.suspect))
        if why := self.rest.resting(now=now, suspect=suspect):
            raise Held(resting(why.verdict, seconds=why.until - now), until=why.until)
        if traveller and (known := self.refusals.refusal(traveller.keys, now=now)):
            raise Refused(remembered(known.reply, seconds=known.until - now))

    @contextmanager
    def passage(self, traveller: Traveller) -> Iterator[None]:
        """Exchange is asked within. Raises as `check`; behind a rest only one at a time passes, as its probe."""
        self.check(traveller)
        rest = self.rest
        probe = bool(rest.reason)
        rest.probing = rest.probing or probe
        try:
            yield
        finally:
            if probe:
                rest.probing = False

    def heard(self, traveller: Traveller, answers: Answers) -> None:
        """All that Exchange said to a message. Any reply can refuse a recipient, only the last one accepts it."""
        if answers.final and answers.final.code == 250:
            self._accepted(traveller, answers)
        for number, reply in enumerate(answers.recipients, 1):
            if classify(reply).reason != "mailbox-full":  # said to RCPT, it is the recipient's
                self._said(traveller, reply, about=number)
        self._said(traveller, answers.sender, about=SENDERS)
        for last in filter(None, (answers.start, answers.final)):
            self._said(traveller, last, about=ALL_RECIPIENTS)

    def _accepted(self, traveller: Traveller, answers: Answers) -> None:
        if self.rest.accepted():
            self.log.event("mailbox_resumed")
        if self.refusals.records:
            keys = traveller.keys
            taken = [key for key, reply in zip(keys[1:], answers.recipients, strict=False) if reply.code < 400]
            self.refusals.accepted((keys[SENDERS], *taken, keys[ALL_RECIPIENTS]))

    def _said(self, traveller: Traveller, reply: Reply, *, about: int) -> None:
        """One reply. `about` is the place of the key that it speaks of, unless it speaks of the senders."""
        if reply.code < 400:
            return
        verdict = classify(reply)
        if verdict.outcome in MAILBOX:
            self.rests(reply, verdict)
        elif verdict.reason == "send-as":
            self._refused(traveller.keys[SENDERS], reply)
        elif verdict.reason == "recipient":
            self._refused(traveller.keys[about], reply)

    def _refused(self, key: Key, reply: Reply) -> None:
        if self.refusals.refused(key, reply, now=self.monotonic()):
            self.log.event("refusal_cached", level="warning", reason=key.reason, code=reply.code)

    def rests(self, reply: Reply, verdict: Verdict) -> None:
        """Exchange has said something of the mailbox."""
        if self.rest.refused(reply, verdict, now=self.monotonic()):
            lasting = round(self.rest.lasting)
            self.log.event("mailbox_paused", level="error", reason=verdict.reason, code=reply.code, seconds=lasting)

    def open_for(self) -> dict[str, float]:
        """Reason → 1 for everything that is held or refused here, as the metric shows it."""
        reasons = self.refusals.open(now=self.monotonic()) | ({self.rest.reason} - {""})
        return {f'reason="{reason}"': 1 for reason in reasons}
