"""What the replies of Exchange mean for a message and for each of its recipients, and what the app is told.

The app is told one of three things. A 250 is Exchange's own 250 to the end of data. A refusal that this message would
get again is passed on as it is, shortened. Everything else is a 451 with the remedy: the app keeps the message until
time, or a person, heals the cause.
"""

from typing import Final, NamedTuple

from o365mailer_contract.replies import ACCEPTED, NO_SMTP, Outcome, rule_for
from o365mailer_sidecar.errors import NotAdmitted, TokenRefused
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.transaction import Answers

ADDRESS_SHOWN: Final = 200
"""Characters of a refused recipient: with 200 of Exchange's text, a reply stays within 512 (RFC 5321 §4.5.3.1.5)."""

TOLD_LIMIT: Final = 470
"""Characters of a reply's text, which a code, an enhanced code and the queue id make a line of 512 at most."""

WITHHELD: Final = "withheld"
"""The reason of a recipient that was accepted, but whose message was not sent because of another recipient."""


class Verdict(NamedTuple):
    """What one reply of Exchange means."""

    outcome: Outcome
    reason: str
    remedy: str
    """What a person can do; empty if nothing is known."""
    reply: Reply


class Verdicts(NamedTuple):
    """What the replies of one transaction mean."""

    decisive: Verdict
    """The one that decides about the message. If it refuses a recipient, the text of its reply names the address."""
    recipients: tuple[Verdict, ...] = ()
    """The one that decides about each recipient of the envelope; empty: `decisive` does for all."""


def classify(reply: Reply) -> Verdict:
    """What one reply means."""
    rule = rule_for(*reply)
    return Verdict(rule.outcome, rule.reason, rule.remedy, reply)


def auth_refusal(reply: Reply) -> TokenRefused | NotAdmitted:
    """What a reply to AUTH means that is not 235.

    A refusal that no rule knows is about the token too: offered again at once, it would be refused again.
    """
    verdict = classify(reply)
    if verdict.outcome not in (Outcome.UNAUTHORIZED, Outcome.REFUSED):
        return NotAdmitted(reply)
    words = f"{reply.code} {reply.enhanced} {reply.text}"
    return TokenRefused(f"{words}; {verdict.remedy}" if verdict.remedy else words)


def classify_all(envelope: Envelope, answers: Answers) -> Verdicts:
    """What the replies to this envelope mean, for the message and for each recipient."""
    if not answers.sender.positive:
        return Verdicts(classify(answers.sender))
    end = _end(answers)
    if end and all(reply.positive for reply in answers.recipients):
        return Verdicts(end)
    recipients = tuple(
        _of_recipient(reply) if not reply.positive else end or Verdict(Outcome.DEFERRED, WITHHELD, "", reply)
        for reply in answers.recipients
    )
    if end and answers.final:
        return Verdicts(end, recipients)
    refused = [number for number, reply in enumerate(answers.recipients) if not reply.positive]
    first = min(refused, key=lambda number: recipients[number].outcome is not Outcome.REFUSED)
    named = _named(envelope, first, recipients[first].reply)
    return Verdicts(recipients[first]._replace(reply=named), recipients)


def _end(answers: Answers) -> Verdict | None:
    """What the reply to the message means, or else the reply to DATA. Only 250 to the message accepts it."""
    reply = answers.final or answers.start
    if reply is None:
        return None
    if reply is answers.final and reply.code == 250:
        return Verdict(Outcome.ACCEPTED, ACCEPTED.reason, "", reply)
    return Verdict(Outcome.DEFERRED, NO_SMTP.reason, "", reply) if reply.positive else classify(reply)


def _of_recipient(reply: Reply) -> Verdict:
    """What a refusal of RCPT means. A full mailbox is the recipient's then: only this message waits."""
    verdict = classify(reply)
    return verdict._replace(outcome=Outcome.DEFERRED) if verdict.reason == "mailbox-full" else verdict


def _named(envelope: Envelope, number: int, reply: Reply) -> Reply:
    """The reply to RCPT of this recipient, with the address in its text."""
    address, others = envelope.recipients[number].address, len(envelope.recipients) - 1
    shown = address if len(address) <= ADDRESS_SHOWN else f"{address[:ADDRESS_SHOWN]}..."
    rest = f"; nothing was sent to the other {others}" if others else ""
    return reply._replace(text=f"<{shown}>: {reply.text}{rest}")


# --- What the app is told ---------------------------------------------------------------------------------------------


def accepted(final: Reply) -> Reply:
    """The only 250 that says that Exchange has the message: Exchange's own to the end of data."""
    return Reply(250, final.enhanced or "2.0.0", f"Office 365 has it: {final.text}")


def told(verdict: Verdict) -> Reply:
    """The app's reply when the message was not accepted. It is never a 2xx."""
    if verdict.outcome is Outcome.REFUSED:
        return verdict.reply
    detail = verdict.reply.enhanced.partition(".")[2] or "3.0"
    if verdict.outcome is Outcome.UNAUTHORIZED and not detail.startswith("7."):
        detail = "7.0"  # RFC 3463 §3.8: it is about authorization, whatever Exchange's backend calls it
    return Reply(451, f"4.{detail}", _quoted(verdict.reply, end=verdict.remedy or "try again later"))


def paused(verdict: Verdict, *, seconds: float) -> Reply:
    """The app's reply while sending from the mailbox is paused, for `seconds` more."""
    end = f"{verdict.remedy}; asked again in {_minutes(seconds)} min"
    return told(verdict)._replace(text=_quoted(verdict.reply, begin="Nothing is sent now: Office 365 said", end=end))


def remembered(reply: Reply, *, seconds: float) -> Reply:
    """The app's reply for a refusal from the refusal cache, which keeps it for `seconds` more."""
    return reply._replace(text=f"{reply.text} (remembered: Office 365 is asked again in {_minutes(seconds)} min)")


def _minutes(seconds: float) -> int:
    return int(-(-seconds // 60))


def _quoted(reply: Reply, *, end: str, begin: str = "Office 365 said") -> str:
    """A text with Exchange's own words in it, cut where a line of SMTP has no room for them."""
    code = f"{reply.code} {reply.enhanced}".strip()
    room = TOLD_LIMIT - len(begin) - len(code) - len(end) - 4
    words = reply.text if len(reply.text) <= room else f"{reply.text[: room - 3]}..."
    return f"{begin} {code} {words}; {end}"
