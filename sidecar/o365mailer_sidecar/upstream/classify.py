"""What Exchange's replies mean, as data: for the message, for the mailbox, and what whoever runs it can do.

The first row that matches decides; a 5xx that no row knows is the message's own, any other reply a matter of time.
A row's reason is one word of a closed vocabulary: the metric's label, and the class that the breaker counts.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.reply import Reply


class Outcome(Enum):
    """What a reply means for the message."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """For good: this message gets the same answer again and again."""
    DEFERRED = "deferred"
    """This message again, on its schedule."""
    CROWDED = "crowded"
    """Too many at once: soon again, fewer at a time."""
    HELD = "held"
    """A 5xx that time heals: the mailbox rests."""
    SHUT = "shut"
    """The mailbox or the tenant is blocked; whatever is sent meanwhile may lengthen it."""
    UNAUTHORIZED = "unauthorized"
    """The token, a right or the configuration: somebody has to do something."""


class Verdict(NamedTuple):
    """An outcome and its reason."""

    outcome: Outcome
    reason: str
    remedy: str = ""
    """What to do about it, where somebody can do something."""


class Rule(NamedTuple):
    """A reply, and what it means. All that is given must match."""

    code: int | None
    enhanced: str
    """A pattern of the whole enhanced code; empty: any."""
    text: str
    """A part of the text, in lower case; empty: any."""
    outcome: Outcome
    reason: str
    remedy: str = ""


_SMTP_AUTH: Final = "Set-CASMailbox -SmtpClientAuthenticationDisabled $false"
_RIGHT: Final = "give the app its right on the mailbox; a new one takes up to two hours"
_POLICY: Final = "a policy of the tenant blocks the sign-in: see Entra's sign-in logs of the app"
_BUG: Final = "a login without a token: report it"
_LIMIT: Final = "wait, or send less"
_FULL: Final = "empty the mailbox: every mail is kept in its Sent Items"
_CAUSE: Final = "stop what causes it: Office 365 lifts it by itself"
_BLOCKED: Final = "an administrator lifts it: Defender portal, Restricted entities"
_TENANT: Final = "the tenant's administrator has to ask Microsoft"
_ADDRESS: Final = "an administrator delists the cluster's address: sender.office.com"
_SPAM: Final = "wait; if it lasts: Defender portal, Restricted entities"
_MAILBOX: Final = "look at the mailbox in Exchange's admin center; it is tried again"

# Source: Microsoft, "Email non-delivery reports in Exchange Online", "Exchange Online limits", "Continuous error
# throttling for SMTP AUTH submissions", "High Volume Email", "Tenant Allow/Block List"; replies seen in public logs
# (OutboundSpamException: nodemailer/nodemailer#1486, Youans/nodejs-nodemailer-outlook#11). Compiled 2026-11-28.
RULES: Final = (
    # Too many at once. The second throttle is the recipient's, whatever its code.
    Rule(432, "", "storedrv.deliver", Outcome.DEFERRED, "recipient-busy"),
    Rule(432, "", "", Outcome.CROWDED, "concurrency"),
    # The token, a right, the configuration.
    Rule(535, "", "smtpclientauthentication is disabled", Outcome.UNAUTHORIZED, "smtp-auth-disabled", _SMTP_AUTH),
    Rule(535, "", "basic authentication is disabled", Outcome.UNAUTHORIZED, "basic-auth", _BUG),
    Rule(535, "", "credentials were incorrect", Outcome.UNAUTHORIZED, "basic-auth", _BUG),
    Rule(535, r"5\.7\.139", "", Outcome.UNAUTHORIZED, "blocked-by-policy", _POLICY),
    Rule(535, r"5\.7\.14[23]", "", Outcome.UNAUTHORIZED, "token-expired", "a newer token is on its way"),
    Rule(535, r"5\.7\.144", "", Outcome.UNAUTHORIZED, "token", "give the app SMTP.SendAsApp"),
    Rule(535, "", "", Outcome.UNAUTHORIZED, "token", _RIGHT),
    Rule(530, "", "", Outcome.UNAUTHORIZED, "not-authenticated", _RIGHT),
    Rule(534, "", "", Outcome.UNAUTHORIZED, "mechanism", _SMTP_AUTH),
    Rule(504, r"5\.7\.4", "", Outcome.UNAUTHORIZED, "mechanism", _SMTP_AUTH),
    Rule(501, r"5\.5\.12[1-7]", "", Outcome.UNAUTHORIZED, "token", "a newer token is on its way"),
    Rule(None, r"5\.7\.30", "", Outcome.UNAUTHORIZED, "basic-auth", _BUG),
    Rule(None, r"5\.7\.57", "", Outcome.UNAUTHORIZED, "not-authenticated", _RIGHT),
    Rule(None, r"5\.7\.240", "", Outcome.UNAUTHORIZED, "app-not-allowed", "Add-HVEAppAccess for this app"),
    Rule(430, "", "logon failure", Outcome.UNAUTHORIZED, "no-right", _RIGHT),
    # 5xx that time heals.
    Rule(None, "", "submissionquotaexceeded", Outcome.HELD, "submission-quota", _LIMIT),
    Rule(None, "", "submission quota exceeded", Outcome.HELD, "submission-quota", _LIMIT),
    Rule(None, r"5\.1\.90", "", Outcome.HELD, "recipients-quota", _LIMIT),
    Rule(None, r"5\.7\.23[23]", "", Outcome.HELD, "tenant-quota", _LIMIT),
    Rule(None, r"5\.7\.236", "", Outcome.HELD, "tenant-quota", "send from a domain of your own, not onmicrosoft.com"),
    Rule(None, r"5\.2\.2", "", Outcome.HELD, "mailbox-full", _FULL),
    Rule(None, "", "quotaexceeded", Outcome.HELD, "mailbox-full", _FULL),
    # Whatever the verdict is (TransientError, RefuseQuota, Suspend, …): it is about the sender, and passes.
    Rule(None, "", "outboundspamexception", Outcome.HELD, "outbound-spam", _SPAM),
    # Of the ranges of the tenant further down these are the recipient's (512 is the message's).
    Rule(None, r"5\.7\.50[457]|5\.7\.51[03]|5\.7\.520|5\.7\.703", "", Outcome.REFUSED, "recipient"),
    Rule(None, r"5\.7\.512", "", Outcome.REFUSED, "malformed"),
    # The mailbox or the tenant. 554 5.2.252 is this message's own, further down.
    Rule(550, r"5\.2\.251", "", Outcome.SHUT, "throttled-mailbox-full", _FULL),
    Rule(550, r"5\.2\.252", "", Outcome.SHUT, "throttled-send-as", _CAUSE),
    Rule(550, r"5\.2\.253", "", Outcome.SHUT, "throttled-license", "give the mailbox a licence"),
    Rule(550, r"5\.2\.254", "", Outcome.SHUT, "throttled-too-many-recipients", _CAUSE),
    Rule(550, r"5\.2\.255", "", Outcome.SHUT, "throttled-recipients", _CAUSE),
    Rule(None, r"5\.1\.8", "", Outcome.SHUT, "bad-sender", _BLOCKED),
    Rule(None, r"5\.7\.5\d\d", "", Outcome.SHUT, "spam", _BLOCKED),
    Rule(None, r"5\.7\.6\d\d", "", Outcome.SHUT, "banned-address", _ADDRESS),
    Rule(None, r"5\.7\.708", "", Outcome.SHUT, "tenant-traffic", _TENANT),
    Rule(None, r"5\.7\.750", "", Outcome.SHUT, "tenant-domains", "register the sender's domain in the tenant"),
    Rule(None, r"5\.7\.7\d\d", "", Outcome.SHUT, "tenant-threshold", _TENANT),
    # This message's own.
    Rule(None, r"5\.2\.252|5\.7\.60", "", Outcome.REFUSED, "send-as"),
    Rule(None, "", "sendasdenied", Outcome.REFUSED, "send-as"),
    Rule(None, r"5\.2\.3|5\.3\.4", "", Outcome.REFUSED, "size"),
    Rule(None, "", "submissionexceeded", Outcome.REFUSED, "size"),
    Rule(None, r"5\.1\.20|5\.6\.\d+", "", Outcome.REFUSED, "malformed"),
    Rule(None, r"5\.1\.\d+|5\.4\.1|5\.7\.1\d{0,2}", "", Outcome.REFUSED, "recipient"),
    Rule(None, "", "invalidrecipientsexception", Outcome.REFUSED, "recipient"),
    # Any other exception of the store: of the mailbox more often than of the message.
    Rule(None, r"5\.2\.0", "storedrv", Outcome.HELD, "mailbox-error", _MAILBOX),
    # A matter of time.
    Rule(503, "", "", Outcome.DEFERRED, "out-of-order"),  # the order of commands is ours to get right
    Rule(None, "", "submission rate", Outcome.DEFERRED, "rate"),
    Rule(None, r"4\.7\.66", "", Outcome.DEFERRED, "tls-version"),
    Rule(421, "", "", Outcome.DEFERRED, "session-ended"),
    Rule(None, r"4\.7\.(5\d\d|6\d\d|8[5-9]\d)", "", Outcome.DEFERRED, "server-busy"),
)

REASONS: Final = frozenset(rule.reason for rule in RULES) | {"accepted", "refused", "temporary", "no-smtp"}
"""Every word that `judged` can give."""


TAKEN: Final = Verdict(Outcome.ACCEPTED, "accepted")


def judged(reply: Reply) -> Verdict:
    """What one reply of Exchange means. What is neither 2xx nor 4xx nor 5xx where it stands is temporary."""
    if 200 <= reply.code < 300:  # RFC 5321 §4.2.1
        return TAKEN
    if not 400 <= reply.code < 600:
        return Verdict(Outcome.DEFERRED, "no-smtp")
    for rule in RULES:
        if _matches(rule, reply):
            return Verdict(rule.outcome, rule.reason, rule.remedy)
    return Verdict(Outcome.REFUSED, "refused") if reply.code >= 500 else Verdict(Outcome.DEFERRED, "temporary")


def outcome(reply: Reply) -> Outcome:
    """What one reply means for the message."""
    return Outcome.ACCEPTED if 200 <= reply.code < 300 else judged(reply).outcome


def _matches(rule: Rule, reply: Reply) -> bool:
    # A 4xx is never the message's own for good, nor a lock, whatever stands behind it.
    if reply.code < 500 and rule.outcome in (Outcome.REFUSED, Outcome.SHUT):
        return False
    return (
        rule.code in (None, reply.code)
        and (not rule.enhanced or re.fullmatch(rule.enhanced, reply.enhanced) is not None)
        and rule.text in reply.text.lower()
    )


# --- verdict --------------------
# What Exchange said to one message, and what the app is told.
#
# Two kinds of answers beside success. A reply that this message will get again and again is handed on as it is,
# shortened. Every other one is 451: the app keeps the message, and time, or whoever looks after the mailbox, heals
# the cause. `verdict` tells them apart.


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
