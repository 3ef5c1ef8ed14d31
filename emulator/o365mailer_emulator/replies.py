"""Exchange Online's replies, word for word if the words are known.

Sources: OBS, a public transcript of smtp.office365.com; MS, Microsoft's documentation; OWN, Exchange's usual text from
other front ends, or a text of our own. Collected 2026-11-23. ``{trailer}`` is ``[host date id]``, the end of every
refusal of authentication; ``{host}`` is the front end; ``{mailbox}`` and ``{sender}`` are addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

HOST = "EMUL8R01CA0001.outlook.office365.com"
BACKEND = "EMUL8R01MB0001.emul8r01.prod.outlook.com"

BEFORE_TLS = "SIZE {size},PIPELINING,DSN,ENHANCEDSTATUSCODES,STARTTLS,8BITMIME,BINARYMIME,CHUNKING,SMTPUTF8"
AFTER_TLS = "SIZE {size},PIPELINING,DSN,ENHANCEDSTATUSCODES,AUTH LOGIN XOAUTH2,8BITMIME,BINARYMIME,CHUNKING,SMTPUTF8"

DIAGNOSTICS = (
    "[BeginDiagnosticData]Cannot submit message. 0.35250:0A00DF84, 1.36674:0A000000, 1.61250:00000000, "
    "1.45378:02000000, 1.44866:F4270000, 1.36674:0E000000, 1.61250:00000000, 1.45378:34F10000, 1.44866:0E000000, "
    "16.55847:A2000000, 17.43559:0000000094010000000000000000000000000000, 20.52176:140F5D830A00101000000000, "
    "20.50032:140F5D837A17000000000000, 0.35180:6D1B0000, 255.23226:0A008083, 255.27962:0A000000, "
    "255.27962:32000000, 255.17082:DC040000, 0.27745:12000000, 4.21921:DC040000, 255.27962:FA000000, "
    "255.1494:17000000, 0.38698:0F010480, 1.41134:46000000, 0.37692:86000000, 0.55080:0B000000[EndDiagnosticData]"
)


@dataclass(frozen=True)
class Known:
    """A documented reply and its source."""

    text: str
    source: str


READY = "220 {host} Microsoft ESMTP MAIL Service ready at {date} [{id}]"
TLS_READY = "220 2.0.0 SMTP server ready"
AUTH_OK = "235 2.7.0 Authentication successful"
SENDER_OK = "250 2.1.0 Sender OK"
RECIPIENT_OK = "250 2.1.5 Recipient OK"
GO_AHEAD = "354 Start mail input; end with <CRLF>.<CRLF>"
ACCEPTED = "250 2.0.0 OK {message_id} [Hostname={backend}]"
CHUNK_OK = "250 2.6.0 CHUNK received OK, {size} octets"
RESETTING = "250 2.0.0 Resetting"
NOOP_OK = "250 2.0.0 OK"
VRFY = "252 2.1.5 Cannot VRFY user"
HELP = (
    "214-This server supports the following commands:\r\n214 HELO EHLO STARTTLS RCPT DATA RSET MAIL QUIT HELP AUTH BDAT"
)
BYE = "221 2.0.0 Service closing transmission channel"

UNKNOWN_COMMAND = "500 5.3.3 Unrecognized command '{verb}'"
LINE_TOO_LONG = "500 5.3.3 Line too long"
BAD_ARGUMENTS = "501 5.5.4 Invalid arguments"
NEED_HELLO = "503 5.5.2 Send hello first"
NEED_MAIL = "503 5.5.2 Need mail command"
NEED_RCPT = "503 5.5.2 Need rcpt command"
BAD_SEQUENCE = "503 5.5.2 Bad sequence of commands"
UNKNOWN_MECHANISM = "504 5.7.4 Unrecognized authentication type {trailer}"
TOO_MANY_RECIPIENTS = "452 4.5.3 Too many recipients"
TOO_LARGE = "552 5.3.4 Message size exceeds fixed maximum message size"
BARE_LINE_FEED = "550 5.6.11 Invalid characters"
TIMED_OUT = "421 4.4.1 Connection timed out. Total session duration: {duration}"

NULL_SENDER = "550 5.7.60 SMTP; Client does not have permissions to send as this sender"
NO_BDAT = "502 5.3.3 Command not implemented"

AUTH_UNSUCCESSFUL = "535 5.7.3 Authentication unsuccessful {trailer}"
BASIC_DISABLED = "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. {trailer}"
NOT_AUTHENTICATED = "530 5.7.57 Client not authenticated to send mail. {trailer}"
CONCURRENT = (
    "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information. "
    "[Hostname={backend}]"
)
SEND_AS_DENIED = (
    "554 5.2.252 SendAsDenied; {mailbox} not allowed to send as {sender}; "
    "STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; "
    "Failed to process message due to a permanent exception with message " + DIAGNOSTICS + " [Hostname={backend}]"
)
MAILBOX_SIZE = (
    "554 5.2.3 STOREDRV.Submission.Exception:MessageSubmissionExceededException.MapiExceptionMaxSubmissionExceeded; "
    "Message size exceeds maximum size limit. [Hostname={backend}]"
)
SEVERAL_AUTHORS = "550 5.1.20 Multiple From addresses are not allowed without Sender address"

NAMED = {
    "auth-unsuccessful": Known(AUTH_UNSUCCESSFUL, "OBS"),
    "smtp-auth-disabled-tenant": Known(
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. "
        "Visit https://aka.ms/smtp_auth_disabled for more information. {trailer}",
        "OBS",
    ),
    "smtp-auth-disabled-mailbox": Known(
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. "
        "Visit https://aka.ms/smtp_auth_disabled for more information. {trailer}",
        "OBS",
    ),
    "basic-disabled": Known(BASIC_DISABLED, "OBS"),
    "security-defaults": Known(
        "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. "
        "Contact your administrator. {trailer}",
        "OBS",
    ),
    "conditional-access": Known(
        "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated "
        "successfully. Contact your administrator. {trailer}",
        "OBS",
    ),
    "federated-unreachable": Known(
        "535 5.7.139 Authentication unsuccessful, the federated STS service was unreachable. {trailer}", "MS"
    ),
    "hve-token-expiring": Known("535 5.7.142 Token will expire soon", "OBS"),
    "hve-token-expired": Known("535 5.7.143 Expired token", "OBS"),
    "hve-permissions": Known("535 5.7.144 Invalid API permissions", "OBS"),
    "hve-malformed": Known("501 5.5.121 Invalid XOAUTH2 auth data", "OBS"),
    "hve-application": Known(
        "550 5.7.240 The application is not allowed for use with this High Volume Email account", "OBS"
    ),
    "not-authenticated": Known(NOT_AUTHENTICATED, "OBS"),
    "basic-removed": Known("550 5.7.30 Basic authentication is not supported for Client Submission.", "MS"),
    "temporary": Known("451 4.7.0 Temporary server error. Please try again later. PRX4 {trailer}", "OBS"),
    "server-busy": Known("451 4.7.500 Server busy. Please try again later from [127.0.0.1].", "OBS"),
    "access-denied-later": Known("451 4.7.850 Access denied, please try again later", "MS"),
    "tls-too-old": Known(
        "421 4.7.66 TLS 1.0 and 1.1 are not supported. Please upgrade/update your client to support TLS 1.2. "
        "Visit https://aka.ms/smtp_auth_tls",
        "OBS",
    ),
    "concurrent": Known(CONCURRENT, "OBS"),
    "sender-threads": Known("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "OBS"),
    "recipient-threads": Known("432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded", "OBS"),
    "session-too-long": Known("421 4.4.1 Connection timed out. Total session duration: 00:20:55", "OBS"),
    "not-available": Known("421 4.3.2 Service not available", "OBS"),
    "submission-rate": Known(
        "421 4.4.2 Message submission rate for this client has exceeded the configured limit", "OBS"
    ),
    "mailbox-logon": Known(
        "430 4.2.0 STOREDRV; mailbox logon failure; "
        "STOREDRV.Submission.Exception:ConnectionFailedTransientException.MapiExceptionLogonFailed; Failed to process "
        "message due to a transient exception with message Cannot open mailbox. [Hostname={backend}]",
        "OBS",
    ),
    "send-as-denied": Known(SEND_AS_DENIED, "OBS"),
    "message-too-large": Known(MAILBOX_SIZE, "OBS"),
    "submission-quota": Known(
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a "
        "permanent exception with message The message can't be submitted because the sender's submission quota was "
        "exceeded. [Hostname={backend}]",
        "OBS",
    ),
    "daily-recipients": Known(
        "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients", "MS"
    ),
    "submission-quota-short": Known("554 5.2.2 Submission quota exceeded", "MS"),
    "tenant-external-recipients": Known(
        "550 5.7.233 Your message can't be sent because your tenant exceeded its limit for sending email to external "
        "recipients (tenant external recipient rate limit)",
        "MS",
    ),
    "trial-external-recipients": Known(
        "550 5.7.232 Your message can't be sent because your trial tenant exceeded its daily limit for sending email "
        "to external recipients (tenant external recipient rate limit)",
        "MS",
    ),
    "onmicrosoft-external-recipients": Known("550 5.7.236 Message rejected: limit of the default domain", "OWN"),
    "outbound-spam": Known(
        "554 5.2.0 STOREDRV.Submission.Exception:OutboundSpamException; Failed to process message due to a permanent "
        "exception with message WASCL UserAction verdict is not None. Actual verdict is RefuseQuota, ShowTierUpgrade. "
        "OutboundSpamException: WASCL UserAction verdict is not None. Actual verdict is RefuseQuota, ShowTierUpgrade. "
        "[Hostname={backend}]",
        "OBS",
    ),
    "mailbox-full": Known(
        "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException."
        "MapiException(Shutoff)QuotaExceeded",
        "OBS",
    ),
    "throttled-mailbox-full": Known("550 5.2.251 Sender throttled due to continuous mailbox full errors.", "MS"),
    "throttled-send-as": Known("550 5.2.252 Sender throttled due to continuous send as denied errors.", "MS"),
    "throttled-license": Known("550 5.2.253 Sender throttled due to continuous invalid license errors.", "MS"),
    "throttled-too-many": Known("550 5.2.254 Sender throttled due to continuous too many recipients errors.", "MS"),
    "throttled-recipients": Known("550 5.2.255 Sender throttled due to continuous invalid recipients errors.", "MS"),
    "bad-outbound-sender": Known("550 5.1.8 Access denied, bad outbound sender", "OBS"),
    "tenant-threshold": Known("550 5.7.705 Access denied, tenant has exceeded threshold", "MS"),
    "tenant-spam": Known("550 5.7.501 Access denied, spam abuse detected", "MS"),
    "banned-sender": Known("550 5.7.503 Access denied, banned sender", "MS"),
    "address-not-accepted": Known(
        "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP", "MS"
    ),
    "unregistered-domains": Known(
        "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains", "MS"
    ),
    "no-permission-to-send-as": Known(NULL_SENDER, "OBS"),
    "not-compliant": Known(
        "550 5.7.512 Access denied, message must be RFC 5322 section 3.6.2 compliant and include a valid From address",
        "MS",
    ),
    "banned-address": Known(
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1]; To request removal from this list please visit "
        "https://sender.office.com/ and follow the directions.",
        "MS",
    ),
    "tenant-blocks-recipient": Known(
        "550 5.7.703 Your message can't be delivered because messages to a@example.com are blocked by your "
        "organization using Tenant Allow Block List.",
        "MS",
    ),
    "recipient-not-allowed": Known("550 5.7.1 RESOLVER.RST.NotAuthorized; not authorized", "MS"),
    "recipient-access-denied": Known("550 5.4.1 Recipient address rejected: Access denied", "OBS"),
    "several-authors": Known(SEVERAL_AUTHORS, "MS"),
    "bare-line-feed": Known(BARE_LINE_FEED, "MS"),
    "recipient-unknown": Known(
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", "MS"
    ),
    "too-many-recipients": Known(TOO_MANY_RECIPIENTS, "OWN"),
}


def capabilities(*, secured: bool, size: int) -> list[str]:
    """The EHLO keywords in Exchange's order (capture of 2025-11-23). AUTH is offered only after STARTTLS."""
    return (AFTER_TLS if secured else BEFORE_TLS).format(size=size).split(",")


def fill(text: str, *, now: float, identifier: str, **values: str) -> str:
    """A reply's text with host, date, trailer and ``values`` filled in. Other braces stay as they are."""
    moment = datetime.fromtimestamp(now, UTC)
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
    known = {
        "host": HOST,
        "backend": BACKEND,
        "id": identifier,
        "date": moment.strftime("%a, %d %b %Y %H:%M:%S +0000"),
        "trailer": f"[{HOST} {stamp} {identifier}]",
        **values,
    }
    for name, value in known.items():
        text = text.replace("{" + name + "}", value)
    return text
