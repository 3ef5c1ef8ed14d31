"""The national clouds as data, and what a spec resolves to.

Sources, read 2026-11-23: Microsoft, "National clouds" (authorities); "Office 365 URLs and IP address ranges" for
Worldwide, GCC High, DoD and 21Vianet (submission hosts); "Authenticate an IMAP, POP or SMTP connection using OAuth"
(the Global scope). The US Government and China scopes follow the resource hosts in those lists; DoD's is what other
clients use with success, Microsoft does not publish it.
"""

from dataclasses import dataclass
from typing import Final

from o365mailer_operator.token.spec import Spec

AUTHORITY_PORT: Final = 443
SUBMISSION_PORT: Final = 587


@dataclass(frozen=True)
class Cloud:
    """One national cloud."""

    authority: str
    """Base of the authority: scheme and host, without the tenant."""
    scope: str
    """What the client-credentials grant asks for."""
    submission_host: str
    """Client submission, port 587 with STARTTLS."""


CLOUDS: Final = {
    "Global": Cloud(
        "https://login.microsoftonline.com",
        "https://outlook.office365.com/.default",
        "smtp.office365.com",
    ),
    "USGovernment": Cloud(
        "https://login.microsoftonline.us",
        "https://outlook.office365.us/.default",
        "smtp.office365.us",
    ),
    "USGovernmentDoD": Cloud(
        "https://login.microsoftonline.us",
        "https://outlook.office365.us/.default",
        "outlook-dod.office365.us",
    ),
    "China": Cloud(
        "https://login.partner.microsoftonline.cn",
        "https://partner.outlook.cn/.default",
        "smtp.partner.outlook.cn",
    ),
}

HIGH_VOLUME_HOST: Final = "smtp.hve.mx.microsoft"
"""High Volume Email, Global only (Microsoft, "Manage high volume email"); allowed by default beside the presets."""


@dataclass(frozen=True)
class Endpoints:
    """Where a mailer's token comes from and where its mail goes."""

    authority: str
    """`https://host[:port]/tenant`."""
    scope: str
    submission_host: str
    submission_port: int


def resolve(spec: Spec) -> Endpoints:
    """The endpoints of a spec: its cloud's, with its own overrides on top."""
    cloud = CLOUDS[spec.cloud]
    authority = spec.authority.url or cloud.authority
    return Endpoints(
        authority=f"{authority.rstrip('/')}/{spec.tenant_id}",
        scope=cloud.scope,
        submission_host=spec.submission.host or cloud.submission_host,
        submission_port=spec.submission.port or SUBMISSION_PORT,
    )
