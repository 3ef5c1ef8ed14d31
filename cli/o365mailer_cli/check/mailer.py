"""Findings on one mailer: what its status says, and when its credential ends. Pure."""

import dataclasses
import datetime
from collections.abc import Iterator, Mapping
from typing import Final

from o365mailer_cli.credential_end import certificate_end, client_secret_end
from o365mailer_cli.finding import Finding, Status
from o365mailer_cli.mailers import AUTHENTICATED, SUSPENDED, TOKEN_ISSUED, Mailer, instant, reason_link
from o365mailer_cli.wording import until
from o365mailer_contract.names import DOCS
from o365mailer_operator.exchange.excess import REMEDY
from o365mailer_operator.token.aadsts import CODES

LATE: Final = datetime.timedelta(minutes=5)
"""A refresh that is due for longer is late, as the alert says."""
NEW: Final = datetime.timedelta(minutes=1)
"""The controller looks at a new mailer within seconds."""
REFRESH_FAILING: Final = "RefreshFailing"
LOGIN_PENDING: Final = "LoginPending"
UNTOLD: Final = frozenset({"LoginNotTried", "CanaryOff"})
"""Reasons of Authenticated that are no finding: `check NAME` tries the login itself."""
NEWLINE: Final = "\n"

_ENTRA_AGAIN: Final = "The controller tries again by itself. If it lasts, look at the way from the controller to Entra."
_CONVERT: Final = "Put a PEM certificate and its unencrypted PEM key into the Secret; the page has the commands."
_COMMANDS: Final = "Run the commands in the message of the condition Authenticated."
REMEDIES: Final[Mapping[str, str]] = {
    **{code.reason: code.remedy for code in CODES.values()},
    "InvalidSpec": "Correct the member that the message names, or apply the CRD of the controller's version.",
    "HostNotAllowed": "Use the cloud's own hosts, or have this one added to the value that the message names.",
    "SecretNotFound": "Create the Secret in the mailer's namespace.",
    "SecretUnreadable": "An administrator of the namespace runs the command above.",
    "ConfigMapNotFound": "Create the ConfigMap in the mailer's namespace.",
    "ConfigMapUnreadable": "An administrator of the namespace runs the command above.",
    "ConfigMapKeyMissing": "Name the key of the authorities in the mailer, or add the key to the ConfigMap.",
    "SecretKeyMissing": "Add the key to the Secret, or name another key in the mailer.",
    "SecretKeyEmpty": "Put the value into the Secret's key.",
    "SecretKeyNotText": "Put the value in as Entra shows it, on one line, without base64.",
    "CABundleInvalid": "Put the authority's certificate into the key, as PEM.",
    "CertificateInvalid": _CONVERT,
    "CertificateKeyNotRSA": "Use an RSA key of 2048 bits or more, and upload the certificate to the app registration.",
    "CertificateKeyMismatch": "Put a certificate and its own key into the Secret, the leaf certificate first.",
    "CertificateExpired": "Renew the certificate and upload the new one to the app registration.",
    "CertificateNotYetValid": "Wait until its validity begins, or set the node's clock right.",
    "ServiceAccountNotFound": "Create the ServiceAccount in the mailer's namespace.",
    "ServiceAccountUnreadable": "Have it added to the chart's value workloadIdentity.serviceAccounts.",
    "ServiceAccountNotOptedIn": "Run the command in the message if this application may use the ServiceAccount.",
    "TokenRequestForbidden": "Have it added to the chart's value workloadIdentity.serviceAccounts.",
    "TokenRequestFailed": "The controller tries again by itself. If it lasts, look at the API server's message.",
    "SecretNameTaken": "Delete or rename the Secret that has the name, or give the mailer another name.",
    "SecretWriteRefused": "Remove what refuses the Secret: a quota, a policy, immutable: true, or a missing right.",
    "TokenNotWritten": "Look at the disk and at the directory's permissions.",
    "EntraUnreachable": "Let the controller reach Entra on port 443: DNS, egress rules, the chart's proxy.",
    "EntraNotTrusted": "Name the proxy's or the authority's CA in spec.authority.ca.",
    "EntraThrottled": _ENTRA_AGAIN,
    "EntraAnswerInvalid": "Look for a captive portal or a proxy in between, and check spec.authority.url.",
    "EntraRefused": "Look the code up on Microsoft's page of AADSTS codes; their support wants the correlation id.",
    "Suspended": "Set spec.suspend to false.",
    "RefreshFailing": "Look at the condition TokenIssued.",
    "LoginNotTried": "Wait: the controller tries it within 15 minutes after it has a token.",
    "LoginPending": "Set up Exchange if you have not: o365mailer setup prints the script. Else wait up to two hours.",
    "LoginRefused": _COMMANDS,
    "SmtpAuthDisabled": _COMMANDS,
    "LoginBlockedByPolicy": "Look at Entra's sign-in logs of the application: they name the policy.",
    "AppNotAllowed": _COMMANDS,
    "ExchangeUnreachable": "Let the controller connect to the submission host, or set controller.canary to false.",
    "ExchangeNotTrusted": "Exempt the host from TLS inspection, or name its authority in spec.submission.",
    "CertificateExpiring": "Renew the certificate, and upload the new one to the app registration.",
    "ClientSecretExpiring": "Create a new client secret in Entra, put it into the Secret, and correct expiresAt.",
    "ExcessRoles": REMEDY,
    "CanaryOff": "Check the login from here: o365mailer check NAME.",
}
"""Reason of a condition → what the user does. docs/troubleshooting.md says more of each."""


def mailer_findings(mailer: Mailer, *, certificate: float | None, now: datetime.datetime) -> Iterator[Finding]:
    """What is to be said of a mailer. `certificate`: when its certificate ends (Unix time), None if unknown."""
    yield _ready(mailer, now)
    if not mailer.suspended:
        yield from _refresh(mailer, now)
        yield from _authenticated(mailer)
    yield from client_secret_end(mailer, now)
    yield from certificate_end(mailer, certificate, now)


def _ready(mailer: Mailer, now: datetime.datetime) -> Finding:
    name, subject, ready = "mailer.ready", str(mailer), mailer.ready
    if ready.status == "Unknown":
        made = instant(mailer.manifest["metadata"].get("creationTimestamp"))
        fresh = made is not None and now - made < NEW
        return Finding(
            name=name,
            status=Status.WARNING if fresh else Status.FAILED,
            title="no controller has looked at it",
            subject=subject,
            cause="It is new."
            if fresh
            else "No controller runs, or its namespace is not in the chart's watchNamespaces.",
            remedy="Try again in a minute."
            if fresh
            else "Look at the controller above, and at the chart's watchNamespaces.",
            link=f"{DOCS}/troubleshooting.md",
        )
    if mailer.suspended or ready.reason == SUSPENDED:
        return Finding(
            name=name,
            status=Status.WARNING,
            title="it is suspended",
            subject=subject,
            cause=f"spec.suspend is true. Its token ends {until(mailer.token_expiry, now)}; then apps get 451.",
            remedy=REMEDIES[SUSPENDED],
            link=reason_link(SUSPENDED),
        )
    if mailer.outdated(now):
        return Finding(
            name=name,
            status=Status.FAILED,
            title=f"pods cannot submit mail: its token ended {until(mailer.token_expiry, now)}",
            subject=subject,
            cause="Its condition Ready is from before that. No controller has looked at it since.",
            remedy="Look at the controller above, and at its log.",
            link=f"{DOCS}/troubleshooting.md#o365mailercontrolleraway",
        )
    issued = mailer.condition(TOKEN_ISSUED)
    why = issued if issued.status == "False" and issued.reason else ready
    if ready.status == "True" and ready.reason != REFRESH_FAILING:
        return Finding(name=name, status=Status.OK, title="pods can submit mail", subject=subject)
    failing = ready.status == "True"
    remedy = REMEDIES.get(why.reason, "Do what the message says.")
    if why.reason and why.reason == mailer.condition(AUTHENTICATED).reason:  # its own finding has the rest
        why = dataclasses.replace(why, message=f"{why.message.partition(NEWLINE)[0]}.")
    return Finding(
        name=name,
        status=Status.WARNING if failing else Status.FAILED,
        title=f"its token ends {until(mailer.token_expiry, now)}, and the controller gets no new one ({why.reason})"
        if failing
        else f"pods cannot submit mail ({why.reason})",
        subject=subject,
        cause=" ".join((why.message or ready.message).replace(remedy, "").split()),  # a condition says the remedy too
        remedy=remedy,
        link=reason_link(why.reason),
    )


def _authenticated(mailer: Mailer) -> Iterator[Finding]:
    """The login that the controller tries: whether Exchange lets the application in."""
    told = mailer.condition(AUTHENTICATED)
    if told.status == "True":
        yield Finding(
            name="mailer.login",
            status=Status.OK,
            title=f"Exchange lets the application log in as {mailer.mailbox}",
            subject=str(mailer),
        )
        return
    if not told.reason or told.reason in UNTOLD:
        return
    refused = told.status == "False"
    status = Status.UNKNOWN if not refused else Status.WARNING if told.reason == LOGIN_PENDING else Status.FAILED
    title, _, text = told.message.partition(NEWLINE)
    yield Finding(
        name="mailer.login",
        status=status,
        title=f"{title[:1].lower()}{title[1:]}" if not refused else title,
        subject=str(mailer),
        cause=text,
        remedy=REMEDIES.get(told.reason, "Do what the message says."),
        link=reason_link(told.reason),
    )


def _refresh(mailer: Mailer, now: datetime.datetime) -> Iterator[Finding]:
    due = instant(mailer.status.get("nextRefresh"))
    generation = int(mailer.manifest["metadata"].get("generation") or 0)
    behind = mailer.ready.status != "Unknown" and int(mailer.status.get("observedGeneration") or 0) < generation
    if due and now - due > LATE:
        title = f"its token was to be refreshed {until(due, now)}"
    elif behind:
        title = "the controller has not seen its last change"
    else:
        return
    yield Finding(
        name="mailer.refresh",
        status=Status.WARNING,
        title=title,
        subject=str(mailer),
        cause="The controller that works does not look at it, or none works.",
        remedy="Look at the controller above, and at its log.",
        link=f"{DOCS}/troubleshooting.md#o365mailertokenrefreshlate",
    )
