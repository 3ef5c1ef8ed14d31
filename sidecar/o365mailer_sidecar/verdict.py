"""Exchange's replies, weighed: what the app is told.

Two outcomes beside success. A reply that this message will get again and again is handed on as it is, shortened. Every
other one is 451: the app keeps the message, and time, or whoever looks after the mailbox, heals the cause.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from o365mailer_sidecar.envelope import Envelope
from o365mailer_sidecar.reply import Reply

ADDRESS_SHOWN: Final = 200
"""Characters of a refused recipient: with 200 of Exchange's text, a reply stays within 512 (RFC 5321 §4.5.3.1.5)."""


class Outcome(Enum):
    """What a reply means for the message."""

    ACCEPTED = "accepted"
    PERMANENT = "refused"
    TEMPORARY = "deferred"


class Healing(NamedTuple):
    """A 5xx that is not the message's fault. All that is given must match."""

    code: int | None
    enhanced: str
    """A pattern of the whole enhanced code; empty: any."""
    text: str
    """A part of the text, in lower case; empty: any."""
    why: str


# Source: Microsoft, "Email non-delivery reports in Exchange Online", "Exchange Online limits", "Continuous error
# throttling"; replies seen in public logs. Compiled 2026-11-23.
HEALING: Final = (
    Healing(503, "", "", "the order of commands is ours to get right"),
    Healing(530, "", "", "not authenticated: never the message's fault"),
    Healing(534, "", "", "authentication mechanism"),
    Healing(535, "", "", "the token, not the message"),
    Healing(None, r"5\.7\.30", "", "basic authentication refused: configuration"),
    Healing(None, r"5\.7\.57", "", "not authenticated: configuration"),
    Healing(None, r"5\.7\.240", "", "app not allowed for this High Volume Email account: configuration"),
    Healing(None, "", "submissionquotaexceeded", "daily quota"),
    Healing(None, "", "submission quota exceeded", "daily quota"),
    Healing(None, r"5\.1\.90", "", "daily limit of recipients"),
    Healing(None, r"5\.7\.23[236]", "", "tenant's limit of external recipients"),
    Healing(None, r"5\.2\.2", "", "mailbox full: Sent Items take no more"),
    Healing(None, "", "quotaexceededexception", "mailbox full"),
    Healing(550, r"5\.2\.25[1-5]", "", "mailbox throttled after continuous errors; 554 5.2.252 is this message's own"),
    Healing(None, r"5\.1\.8", "", "mailbox restricted as a bad outbound sender"),
    Healing(None, r"5\.7\.50[123]", "", "mailbox or tenant blocked for spam"),
    Healing(None, r"5\.7\.7(05|08|50)", "", "tenant over its threshold, or its traffic not accepted"),
)


def outcome(reply: Reply) -> Outcome:
    """What one reply of Exchange means. Anything that is not 2xx or 5xx is temporary."""
    if 200 <= reply.code < 300:  # RFC 5321 §4.2.1
        return Outcome.ACCEPTED
    if not 500 <= reply.code < 600 or any(_matches(rule, reply) for rule in HEALING):
        return Outcome.TEMPORARY
    return Outcome.PERMANENT


def _matches(rule: Healing, reply: Reply) -> bool:
    return (
        rule.code in (None, reply.code)
        and (not rule.enhanced or re.fullmatch(rule.enhanced, reply.enhanced) is not None)
        and rule.text in reply.text.lower()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """All that Exchange said in one transaction; what was not reached is None or missing."""

    sender: Reply
    recipients: tuple[Reply, ...] = ()
    start: Reply | None = None
    """To DATA; 354 when the message could follow."""
    final: Reply | None = None


def verdict(envelope: Envelope, answers: Answers) -> Reply:
    """The one reply for the app. Without a spool nothing was sent unless every recipient was taken."""
    if answers.final is not None:
        return accepted(answers.final) if answers.final.code == 250 else told(answers.final)
    if outcome(answers.sender) is not Outcome.ACCEPTED:
        return told(answers.sender)
    refused = [(to, reply) for to, reply in _by_recipient(envelope, answers) if outcome(reply) is not Outcome.ACCEPTED]
    for wanted in (Outcome.PERMANENT, Outcome.TEMPORARY):
        for address, reply in refused:
            if outcome(reply) is wanted:
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
    if outcome(reply) is Outcome.PERMANENT:
        return reply
    detail = reply.enhanced.partition(".")[2] or "3.0"
    code = f"{reply.code} {reply.enhanced}".strip()
    return Reply(451, f"4.{detail}", f"Office 365 said {code} {reply.text}; try again later")
