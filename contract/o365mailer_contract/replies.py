"""What the replies of Exchange Online mean: one table of code, meaning, reason and remedy.

The relay classifies by it. Whatever else speaks of a reply of Exchange uses the same words.

Sources: Microsoft Learn, "Email non-delivery reports in Exchange Online", "Exchange Online limits", "Continuous error
throttling for SMTP AUTH submissions", "High Volume Email" and "Tenant Allow/Block List"; for OutboundSpamException,
replies in public logs (nodemailer/nodemailer#1486, Youans/nodejs-nodemailer-outlook#11). Compiled 2026-11-28.
"""

import re
from enum import Enum
from typing import Final, NamedTuple


class Outcome(Enum):
    """What a reply means for the message. The values are labels in the log and in metrics."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """For good: this message would get the same reply again."""
    DEFERRED = "deferred"
    """Try this message again later."""
    THROTTLED = "throttled"
    """Too many submissions at once: try again soon, with fewer at a time."""
    QUOTA = "quota"
    """A quota of the mailbox is used up: nothing more is accepted until time heals it."""
    LOCKED = "locked"
    """The mailbox or the tenant is blocked. Sending on may lengthen the block."""
    UNAUTHORIZED = "unauthorized"
    """The token, a right or the configuration is wrong: a person has to act."""


class Rule(NamedTuple):
    """A kind of reply and what it means. A reply matches if the code, the enhanced code and the text do."""

    code: int | None
    """None: any."""
    enhanced: str
    """A pattern for the whole enhanced status code (RFC 3463); empty: any."""
    text: str
    """A part of the text, in lower case; empty: any."""
    outcome: Outcome
    reason: str
    """One word of `REASONS`: the label in the log and in metrics."""
    remedy: str = ""
    """What a person can do. Every outcome that needs or allows it has one."""

    def matches(self, code: int, enhanced: str, text: str) -> bool:
        """Whether a negative reply is of this kind. A 4xx never refuses a message for good and never locks."""
        return (
            self.code in (None, code)
            and (code >= 500 or self.outcome not in (Outcome.REFUSED, Outcome.LOCKED))
            and (not self.enhanced or re.fullmatch(self.enhanced, enhanced) is not None)
            and self.text in text.lower()
        )


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

RULES: Final = (
    # Too many at once. The first row is about the recipient's mailbox, not the sender's.
    Rule(432, "", "storedrv.deliver", Outcome.DEFERRED, "recipient-busy"),
    Rule(432, "", "", Outcome.THROTTLED, "concurrency"),
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
    # A 5xx that time heals.
    Rule(None, "", "submissionquotaexceeded", Outcome.QUOTA, "submission-quota", _LIMIT),
    Rule(None, "", "submission quota exceeded", Outcome.QUOTA, "submission-quota", _LIMIT),
    Rule(None, r"5\.1\.90", "", Outcome.QUOTA, "recipients-quota", _LIMIT),
    Rule(None, r"5\.7\.23[23]", "", Outcome.QUOTA, "tenant-quota", _LIMIT),
    Rule(None, r"5\.7\.236", "", Outcome.QUOTA, "tenant-quota", "send from a domain of your own, not onmicrosoft.com"),
    Rule(None, r"5\.2\.2", "", Outcome.QUOTA, "mailbox-full", _FULL),
    Rule(None, "", "quotaexceeded", Outcome.QUOTA, "mailbox-full", _FULL),
    # The text names a verdict (TransientError, RefuseQuota, Suspend, …). All are about the sender, and pass.
    Rule(None, "", "outboundspamexception", Outcome.QUOTA, "outbound-spam", _SPAM),
    # These lie within the tenant's ranges below, but are the recipient's (512 is the message's).
    Rule(None, r"5\.7\.50[457]|5\.7\.51[03]|5\.7\.520|5\.7\.703", "", Outcome.REFUSED, "recipient"),
    Rule(None, r"5\.7\.512", "", Outcome.REFUSED, "malformed"),
    # The mailbox or the tenant is locked. 554 5.2.252 is about one message, see below.
    Rule(550, r"5\.2\.251", "", Outcome.LOCKED, "throttled-mailbox-full", _FULL),
    Rule(550, r"5\.2\.252", "", Outcome.LOCKED, "throttled-send-as", _CAUSE),
    Rule(550, r"5\.2\.253", "", Outcome.LOCKED, "throttled-license", "give the mailbox a licence"),
    Rule(550, r"5\.2\.254", "", Outcome.LOCKED, "throttled-too-many-recipients", _CAUSE),
    Rule(550, r"5\.2\.255", "", Outcome.LOCKED, "throttled-recipients", _CAUSE),
    Rule(None, r"5\.1\.8", "", Outcome.LOCKED, "bad-sender", _BLOCKED),
    Rule(None, r"5\.7\.5\d\d", "", Outcome.LOCKED, "spam", _BLOCKED),
    Rule(None, r"5\.7\.6\d\d", "", Outcome.LOCKED, "banned-address", _ADDRESS),
    Rule(None, r"5\.7\.708", "", Outcome.LOCKED, "tenant-traffic", _TENANT),
    Rule(None, r"5\.7\.750", "", Outcome.LOCKED, "tenant-domains", "register the sender's domain in the tenant"),
    Rule(None, r"5\.7\.7\d\d", "", Outcome.LOCKED, "tenant-threshold", _TENANT),
    # About this message.
    Rule(None, r"5\.2\.252|5\.7\.60", "", Outcome.REFUSED, "send-as"),
    Rule(None, "", "sendasdenied", Outcome.REFUSED, "send-as"),
    Rule(None, r"5\.2\.3|5\.3\.4", "", Outcome.REFUSED, "size"),
    Rule(None, "", "submissionexceeded", Outcome.REFUSED, "size"),
    Rule(None, r"5\.1\.20|5\.6\.\d+", "", Outcome.REFUSED, "malformed"),
    Rule(None, r"5\.1\.\d+|5\.4\.1|5\.7\.1\d{0,2}", "", Outcome.REFUSED, "recipient"),
    Rule(None, "", "invalidrecipientsexception", Outcome.REFUSED, "recipient"),
    # Any other exception of the store is more often about the mailbox than about the message.
    Rule(None, r"5\.2\.0", "storedrv", Outcome.QUOTA, "mailbox-error", _MAILBOX),
    # Time heals these.
    Rule(503, "", "", Outcome.DEFERRED, "out-of-order"),  # the relay sent its commands in the wrong order
    Rule(None, "", "submission rate", Outcome.DEFERRED, "rate"),
    Rule(None, r"4\.7\.66", "", Outcome.DEFERRED, "tls-version"),
    Rule(421, "", "", Outcome.DEFERRED, "session-ended"),
    Rule(None, r"4\.7\.(5\d\d|6\d\d|8[5-9]\d)", "", Outcome.DEFERRED, "server-busy"),
)
"""The first row that matches decides."""

ACCEPTED: Final = Rule(None, "", "", Outcome.ACCEPTED, "accepted")
REFUSED: Final = Rule(None, "", "", Outcome.REFUSED, "refused")
TEMPORARY: Final = Rule(None, "", "", Outcome.DEFERRED, "temporary")
NO_SMTP: Final = Rule(None, "", "", Outcome.DEFERRED, "no-smtp")
"""A code that no verdict has, such as 354."""

REASONS: Final = frozenset(rule.reason for rule in (*RULES, ACCEPTED, REFUSED, TEMPORARY, NO_SMTP))


def rule_for(code: int, enhanced: str, text: str) -> Rule:
    """The rule for one reply. An unknown 5xx refuses the message, an unknown 4xx defers it (RFC 5321 §4.2.1)."""
    if 200 <= code < 300:
        return ACCEPTED
    if not 400 <= code < 600:
        return NO_SMTP
    fallback = REFUSED if code >= 500 else TEMPORARY
    return next((rule for rule in RULES if rule.matches(code, enhanced, text)), fallback)
