"""What Exchange's replies mean: every line of the tables that are known."""

import pytest

from o365mailer_contract.replies import REASONS, RULES, Outcome
from o365mailer_sidecar.reply import upstream_reply
from o365mailer_sidecar.upstream.classify import classify

TRAILER = "[AM0PR01CA0001.outlook.office365.com 2026-11-23T10:00:00.000Z 08DE2A6028D26C22]"
THROTTLED, QUOTA, LOCKED = Outcome.THROTTLED, Outcome.QUOTA, Outcome.LOCKED
DEFERRED, REFUSED, UNAUTHORIZED = Outcome.DEFERRED, Outcome.REFUSED, Outcome.UNAUTHORIZED
DISABLED = "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the"
QUOTA_TEXT = "STOREDRV.Submission.Exception:SubmissionQuotaExceededException"
FULL = "STOREDRV.Submission.Exception:QuotaExceededException.MapiException(Shutoff)QuotaExceeded"
SPAM = (
    "5.2.0 STOREDRV.Submission.Exception:OutboundSpamException; Failed to process message due to a permanent exception"
)
OTHER = "STOREDRV.Submission.Exception:StoragePermanentException.MapiExceptionCallFailed; Failed to process message"
THROTTLED_TEXT = "Sender throttled due to continuous"

AUTHENTICATION = [
    (535, f"5.7.3 Authentication unsuccessful {TRAILER}", UNAUTHORIZED, "token"),
    (535, f"{DISABLED} Tenant. Visit https://aka.ms/smtp_auth_disabled", UNAUTHORIZED, "smtp-auth-disabled"),
    (535, f"{DISABLED} Mailbox. Visit https://aka.ms/smtp_auth_disabled", UNAUTHORIZED, "smtp-auth-disabled"),
    (535, "5.7.139 Authentication unsuccessful, basic authentication is disabled.", UNAUTHORIZED, "basic-auth"),
    (535, "5.7.139 Authentication unsuccessful, the user credentials were incorrect", UNAUTHORIZED, "basic-auth"),
    (535, "5.7.139 …, user is locked by your organization's security defaults policy.", UNAUTHORIZED,
     "blocked-by-policy"),
    (535, "5.7.139 …, the request did not meet the criteria to be authenticated successfully.", UNAUTHORIZED,
     "blocked-by-policy"),
    (535, "5.7.139 …, federated STS service was unreachable", UNAUTHORIZED, "blocked-by-policy"),
    (530, "5.7.57 Client not authenticated to send mail.", UNAUTHORIZED, "not-authenticated"),
    (530, "5.7.57 Client not authenticated to send mail. Error: 535 5.7.3 …", UNAUTHORIZED, "not-authenticated"),
    (550, "5.7.30 Basic authentication is not supported for Client Submission.", UNAUTHORIZED, "basic-auth"),
    (421, "4.7.66 TLS 1.0 and 1.1 are not supported. Please upgrade/update your client", DEFERRED, "tls-version"),
    (451, "4.7.0 Temporary server error. Please try again later. PRX4", DEFERRED, "temporary"),
    (535, "5.7.142 Token will expire soon", UNAUTHORIZED, "token-expired"),
    (535, "5.7.143 Expired token", UNAUTHORIZED, "token-expired"),
    (535, "5.7.144 Invalid API permissions", UNAUTHORIZED, "token"),
    (501, "5.5.127 Invalid XOAUTH2 auth data - Token will expire soon", UNAUTHORIZED, "token"),
    (501, "5.5.121 Invalid XOAUTH2 auth data", UNAUTHORIZED, "token"),
    (550, "5.7.240 The application is not allowed for use with this High Volume Email account", UNAUTHORIZED,
     "app-not-allowed"),
    (534, "5.7.9 mechanism", UNAUTHORIZED, "mechanism"),
    (504, f"5.7.4 Unrecognized authentication type {TRAILER}", UNAUTHORIZED, "mechanism"),
    (430, "4.2.0 STOREDRV; mailbox logon failure; … MapiExceptionLogonFailed … Cannot open mailbox", UNAUTHORIZED,
     "no-right"),
]  # fmt: skip
"""Replies to AUTH and MAIL."""

SUBMISSION = [
    (432, "4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending", THROTTLED,
     "concurrency"),
    (432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", THROTTLED, "concurrency"),
    (432, "4.3.2 STOREDRV.Deliver; recipient thread limit exceeded", DEFERRED, "recipient-busy"),
    (421, "4.4.1 Connection timed out. Total session duration: 00:20:55", DEFERRED, "session-ended"),
    (421, "4.4.2 Connection dropped", DEFERRED, "session-ended"),
    (421, "4.3.2 Service not available", DEFERRED, "session-ended"),
    (421, "4.4.2 Message submission rate for this client has exceeded the configured limit", DEFERRED, "rate"),
    (451, "4.7.0 Temporary server error. PRX2", DEFERRED, "temporary"),
    (451, "4.7.500 Server busy. Please try again later", DEFERRED, "server-busy"),
    (451, "4.7.651 Access denied, please try again later", DEFERRED, "server-busy"),
    (451, "4.7.850 Access denied, please try again later", DEFERRED, "server-busy"),
    (554, f"5.2.0 {QUOTA_TEXT}", QUOTA, "submission-quota"),
    (550, "5.2.2 Submission quota exceeded", QUOTA, "submission-quota"),
    (550, "5.1.90 Your message can't be sent because you've reached your daily limit", QUOTA, "recipients-quota"),
    (550, "5.7.232 Your message can't be sent because your trial tenant …", QUOTA, "tenant-quota"),
    (550, "5.7.233 Your message can't be sent because your tenant …", QUOTA, "tenant-quota"),
    (550, "5.7.236 Your message can't be sent", QUOTA, "tenant-quota"),
    (554, f"5.2.2 mailbox full; {FULL}", QUOTA, "mailbox-full"),
    (554, f"5.2.0 {FULL}", QUOTA, "mailbox-full"),
    *((554, f"{SPAM} with message WASCL UserAction verdict is not None. Actual verdict is {word}", QUOTA,
       "outbound-spam")
      for word in ("TransientError", "RefuseQuota, ShowTierUpgrade", "HipNotify, ShowTierUpgrade", "Suspend")),
    (554, f"{SPAM} with message [BeginDiagnosticData]WASCL UserAction verdict", QUOTA, "outbound-spam"),
    (554, f"5.2.0 {OTHER}", QUOTA, "mailbox-error"),
    (550, "5.2.0 STOREDRV.Submission.Exception:AccountDisabledException", QUOTA, "mailbox-error"),
    (554, "5.2.0 STOREDRV.Submission.Exception:InvalidRecipientsException; Failed to process", REFUSED, "recipient"),
    (554, "5.6.0 STOREDRV.Submission.Exception:InvalidRecipientsException; Failed to process", REFUSED, "malformed"),
    (554, "5.2.0 mailbox", REFUSED, "refused"),
    (550, f"5.2.251 {THROTTLED_TEXT} mailbox full errors.", LOCKED, "throttled-mailbox-full"),
    (550, f"5.2.252 {THROTTLED_TEXT} send as denied errors.", LOCKED, "throttled-send-as"),
    (550, f"5.2.253 {THROTTLED_TEXT} invalid license errors.", LOCKED, "throttled-license"),
    (550, f"5.2.254 {THROTTLED_TEXT} too many recipients errors.", LOCKED, "throttled-too-many-recipients"),
    (550, f"5.2.255 {THROTTLED_TEXT} invalid recipients errors.", LOCKED, "throttled-recipients"),
    (554, "5.2.252 SendAsDenied; a@x not allowed to send as b@y", REFUSED, "send-as"),
    (554, "5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException", REFUSED, "send-as"),
    (550, "5.7.60 SMTP; Client does not have permissions to send as this sender", REFUSED, "send-as"),
    (554, "5.7.60 SMTP; Client does not have permissions to send as this sender", REFUSED, "send-as"),
    (554, "5.2.3 …MessageSubmissionExceededException.MapiExceptionMaxSubmissionExceeded", REFUSED, "size"),
    (552, "5.3.4 Message size exceeds fixed maximum message size", REFUSED, "size"),
    (550, "5.1.8 Access denied, bad outbound sender", LOCKED, "bad-sender"),
    (550, "5.7.501 Access denied, spam abuse detected", LOCKED, "spam"),
    (550, "5.7.502 Access denied, banned sender", LOCKED, "spam"),
    (550, "5.7.503 Access denied, banned sender", LOCKED, "spam"),
    *((550, f"5.7.{detail} Access denied", LOCKED, "spam") for detail in (500, 506, 508, 509, 511, 515, 599)),
    *((550, f"5.7.{detail} Access denied, banned sending IP", LOCKED, "banned-address") for detail in (600, 606, 649)),
    *((550, f"5.7.{detail} Access denied", LOCKED, "tenant-threshold") for detail in (700, 705, 709, 749, 799)),
    (550, "5.7.504 [b@y]: Recipient address rejected: Access denied", REFUSED, "recipient"),
    (550, "5.7.505 Access denied, banned recipient", REFUSED, "recipient"),
    (550, "5.7.507 Access denied, rejected by recipient", REFUSED, "recipient"),
    (550, "5.7.510 Access denied, y does not accept email over IPv6", REFUSED, "recipient"),
    (550, "5.7.513 Service unavailable, Client host [192.0.2.1] blocked by y", REFUSED, "recipient"),
    (550, "5.7.520 Access denied, Your organization does not allow external forwarding", REFUSED, "recipient"),
    (550, "5.7.703 Your message can't be delivered because messages to y are blocked", REFUSED, "recipient"),
    (550, "5.7.50 too short", REFUSED, "refused"),
    (550, "5.7.800 beyond", REFUSED, "refused"),
    (450, "5.7.705 a temporary code is no lock", DEFERRED, "temporary"),
    (550, "5.7.708 Access denied, traffic not accepted from this IP", LOCKED, "tenant-traffic"),
    (550, "5.7.750 Service unavailable. Client blocked from sending from unregistered domains", LOCKED,
     "tenant-domains"),
    (550, "5.1.20 Multiple From addresses are not allowed without Sender address", REFUSED, "malformed"),
    (550, "5.7.512 Access denied, message must be RFC 5322 section 3.6.2 compliant", REFUSED, "malformed"),
    (550, "5.6.11 Invalid characters", REFUSED, "malformed"),
    (550, "5.1.10 RESOLVER.ADR.RecipientNotFound", REFUSED, "recipient"),
    (550, "5.4.1 Recipient address rejected: Access denied", REFUSED, "recipient"),
    (550, "5.7.1 Unable to relay", REFUSED, "recipient"),
    (550, "5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup", REFUSED, "recipient"),
]  # fmt: skip
"""Replies to AUTH."""

OTHERS = [
    (250, "2.0.0 OK", Outcome.ACCEPTED, "accepted"),
    (251, "2.1.5 forwarded", Outcome.ACCEPTED, "accepted"),
    (334, "what", DEFERRED, "no-smtp"),
    (-1, "", DEFERRED, "no-smtp"),
    (600, "5.1.8 what", DEFERRED, "no-smtp"),
    (450, "5.1.8 a temporary code is no lock", DEFERRED, "temporary"),
    (450, "5.1.10 nor for good", DEFERRED, "temporary"),
    (503, "5.5.1 Bad sequence", DEFERRED, "out-of-order"),
    (550, "5.1.80 something else", REFUSED, "recipient"),
    (501, "5.1.3 Invalid address", REFUSED, "recipient"),
    (554, "5.0.0 unknown", REFUSED, "refused"),
    (550, "no enhanced code", REFUSED, "refused"),
]  # fmt: skip


@pytest.mark.promise("replies-name-the-remedy")
@pytest.mark.parametrize(("code", "text", "expected", "reason"), AUTHENTICATION + SUBMISSION + OTHERS)
def test_a_reply_is_weighed(code: int, text: str, expected: Outcome, reason: str) -> None:
    verdict = classify(upstream_reply(code, text))
    assert (verdict.outcome, verdict.reason) == (expected, reason)
    assert reason in REASONS


def test_every_rule_is_the_first_to_match_some_reply() -> None:
    seen = {classify(upstream_reply(code, text))[:2] for code, text, *_ in AUTHENTICATION + SUBMISSION + OTHERS}
    assert {(rule.outcome, rule.reason) for rule in RULES} <= seen


def test_a_rule_can_match_and_says_what_a_person_can_do() -> None:
    for rule in RULES:
        assert rule.code or rule.enhanced or rule.text
        assert rule.text == rule.text.lower()
        assert bool(rule.remedy) == (rule.outcome in (UNAUTHORIZED, QUOTA, LOCKED))
        assert len(rule.remedy) <= 80
