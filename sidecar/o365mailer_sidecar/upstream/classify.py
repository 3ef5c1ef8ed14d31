"""What the replies of Exchange mean for a message and for each of its recipients, and what the app is told.

The app is told one of three things. A 250 is Exchange's own 250 to the end of data. A refusal that this message would
get again is passed on as it is, shortened. Everything else is a 451 with the remedy: the app keeps the message until
time, or a person, heals the cause.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from o365mailer_contract.replies import Outcome, rule_for
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.reply import Reply

__all__ = [
    "Answers",
    "Outcome",
    "Verdict",
    "accepted",
    "decisive",
    "judged",
    "outcome",
    "remembered",
    "resting",
    "told",
    "verdict",
]

ADDRESS_SHOWN: Final = 200
"""Characters of a refused recipient: with 200 of Exchange's text, a reply stays within 512 (RFC 5321 §4.5.3.1.5)."""

TOLD_LIMIT: Final = 470
"""Characters of a reply's text, which a code, an enhanced code and the queue id make a line of 512 at most."""


class Verdict(NamedTuple):
    """An outcome and its reason."""

    outcome: Outcome
    reason: str
    remedy: str = ""
    """What to do about it, where somebody can do something."""


def judged(reply: Reply) -> Verdict:
    """What one reply of Exchange means."""
    rule = rule_for(*reply)
    return Verdict(rule.outcome, rule.reason, rule.remedy)


def outcome(reply: Reply) -> Outcome:
    """What one reply means for the message."""
    return rule_for(*reply).outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """All that Exchange said in one transaction; what was not reached is None or missing."""

    sender: Reply
    recipients: tuple[Reply, ...] = ()
    start: Reply | None = None
    """To DATA; 354 when the message could follow."""
    final: Reply | None = None


def decisive(answers: Answers) -> Reply:
    """Of all that was said the one reply that decides."""
    if answers.final is not None:
        return answers.final
    if outcome(answers.sender) is not Outcome.ACCEPTED:
        return answers.sender
    refused = [reply for reply in answers.recipients if outcome(reply) is not Outcome.ACCEPTED]
    for_good = [reply for reply in refused if outcome(reply) is Outcome.REFUSED]
    return (for_good or refused or [answers.start or answers.sender])[0]


def verdict(envelope: Envelope, answers: Answers) -> Reply:
    """The one reply for the app. Without a spool nothing was sent unless every recipient was taken."""
    if answers.final is not None:
        return accepted(answers.final) if answers.final.code == 250 else told(answers.final)
    if outcome(answers.sender) is not Outcome.ACCEPTED:
        return told(answers.sender)
    refused = [(to, reply) for to, reply in _by_recipient(envelope, answers) if outcome(reply) is not Outcome.ACCEPTED]
    for for_good in (True, False):
        for address, reply in refused:
            if (outcome(reply) is Outcome.REFUSED) is for_good:
                return told(reply._replace(text=_named(address, reply.text, others=len(envelope.recipients) - 1)))
    return told(answers.start or Reply(451, "4.3.0", "nothing to DATA"))


def _by_recipient(envelope: Envelope, answers: Answers) -> list[tuple[str, Reply]]:
    return [(to.address, reply) for to, reply in zip(envelope.recipients, answers.recipients, strict=False)]


def _named(address: str, text: str, *, others: int) -> str:
    rest = f"; nothing was sent to the other {others}" if others else ""
    shown = address if len(address) <= ADDRESS_SHOWN else f"{address[:ADDRESS_SHOWN]}..."
    return f"<{shown}>: {text}{rest}"


def accepted(final: Reply) -> Reply:
    """The one way to a 250: Exchange's own to the end of data."""
    return Reply(250, final.enhanced or "2.0.0", f"Office 365 has it: {final.text}")


def told(reply: Reply) -> Reply:
    """A reply that is no acceptance, as the app gets it. A 2xx where none belongs is one of them."""
    verdict = judged(reply)
    if verdict.outcome is Outcome.REFUSED:
        return reply
    detail = reply.enhanced.partition(".")[2] or "3.0"
    if verdict.outcome is Outcome.UNAUTHORIZED and not detail.startswith("7."):
        detail = "7.0"  # RFC 3463 §3.8: it is about authorization, whatever Exchange's backend calls it
    return Reply(451, f"4.{detail}", said(reply, end=verdict.remedy or "try again later"))


def resting(reply: Reply, verdict: Verdict, *, seconds: float) -> Reply:
    """What an app is told while the mailbox rests for so long."""
    told_once = told(reply)
    end = f"{verdict.remedy}; asked again in {_minutes(seconds)} min"
    return told_once._replace(text=said(reply, begin="Nothing is sent now: Office 365 said", end=end))


def remembered(reply: Reply, *, seconds: float) -> Reply:
    """A refusal for good that Exchange was not asked for, as it has been given a few times."""
    note = f"(remembered: Office 365 is asked again in {_minutes(seconds)} min)"
    return reply._replace(text=f"{reply.text} {note}")


def _minutes(seconds: float) -> int:
    return int(-(-seconds // 60))


def said(reply: Reply, *, end: str, begin: str = "Office 365 said") -> str:
    """A text with Exchange's own words in it, cut where a line of SMTP has no room for them."""
    code = f"{reply.code} {reply.enhanced}".strip()
    room = TOLD_LIMIT - len(begin) - len(code) - len(end) - 4
    words = reply.text if len(reply.text) <= room else f"{reply.text[: room - 3]}..."
    return f"{begin} {code} {words}; {end}"
