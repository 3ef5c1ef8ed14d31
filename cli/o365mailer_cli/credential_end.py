"""When the credential of a mailer ends: findings for `check` and `explain`. Pure."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from o365mailer_cli.finding import Finding, Status
from o365mailer_cli.mailers import CREDENTIAL_EXPIRING, Mailer, instant
from o365mailer_cli.wording import span, until
from o365mailer_contract.names import DOCS
from o365mailer_operator.token.schedule import urgency


def credential_ending(mailer: Mailer, *, now: datetime.datetime) -> Iterator[Finding]:
    """Findings that say that the credential ends within 21 days, or has ended; without the controller's metrics."""
    for finding in (*client_secret_end(mailer, now), *certificate_end(mailer, None, now)):
        if finding.status in (Status.WARNING, Status.FAILED):
            yield finding


def client_secret_end(mailer: Mailer, now: datetime.datetime) -> Iterator[Finding]:
    """By `expiresAt`, if it is noted."""
    told = (mailer.manifest.get("spec", {}).get("credential", {}).get("clientSecret") or {}).get("expiresAt")
    ends = instant(told)
    if ends is None:
        return
    yield _ends(_CLIENT_SECRET, ends, mailer, now)


def certificate_end(mailer: Mailer, certificate: float | None, now: datetime.datetime) -> Iterator[Finding]:
    """`certificate`: when it ends (Unix time), None if unknown; then the condition tells whether that is soon."""
    if not mailer.manifest.get("spec", {}).get("credential", {}).get("certificate"):
        return
    expiring = mailer.condition(CREDENTIAL_EXPIRING)
    if certificate is None and expiring.status == "True":
        yield Finding(
            name=_CERTIFICATE.name,
            status=Status.WARNING,
            title="its certificate ends soon, or has ended",
            subject=str(mailer),
            cause=expiring.message,
            remedy=_CERTIFICATE.remedy,
            link=_CERTIFICATE.link,
        )
        return
    if certificate is None:
        yield Finding(
            name=_CERTIFICATE.name,
            status=Status.UNKNOWN,
            title="when its certificate ends is unknown",
            subject=str(mailer),
            cause="Only the controller's metrics say it. They could not be read, or it has not read the certificate.",
            remedy="Ask for the ClusterRole o365mailer-viewer in the controller's namespace.",
            link=f"{DOCS}/command.md#rights",
        )
        return
    ends = datetime.datetime.fromtimestamp(certificate, datetime.UTC)
    yield _ends(_CERTIFICATE, ends, mailer, now)


@dataclass(frozen=True)
class _Credential:
    """A credential that ends: how findings call it, and what the user does."""

    name: str
    what: str
    remedy: str
    link: str


_CLIENT_SECRET: Final = _Credential(
    "mailer.client-secret",
    "client secret",
    "Create a new client secret in Entra, put its Value into the Secret, and correct expiresAt. Name both Secrets in "
    "secretRefs meanwhile.",
    f"{DOCS}/troubleshooting.md#o365mailercredentialexpires",
)
_CERTIFICATE: Final = _Credential(
    "mailer.certificate",
    "certificate",
    "Renew the certificate, and upload the new one to the app registration before the Secret has it.",
    f"{DOCS}/troubleshooting.md#o365mailercredentialexpires",
)


def _ends(credential: _Credential, ends: datetime.datetime, mailer: Mailer, now: datetime.datetime) -> Finding:
    left, what = ends - now, credential.what
    if urgency(left) is None:
        title = f"its {what} is valid ({span(left.total_seconds())} left)"
        return Finding(name=credential.name, status=Status.OK, title=title, subject=str(mailer))
    past = left <= datetime.timedelta()
    return Finding(
        name=credential.name,
        status=Status.FAILED if past else Status.WARNING,
        title=f"its {what} {'ended' if past else 'ends'} {until(ends, now)}",
        subject=str(mailer),
        cause="After its end, Entra gives no more tokens, and pods cannot submit mail.",
        remedy=credential.remedy,
        link=credential.link,
    )
