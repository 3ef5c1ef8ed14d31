"""What Office 365 must know so that a mailer can send: pure data, made from the mailer."""

import enum
from dataclasses import dataclass
from typing import Final

from o365mailer_operator.exchange.objects import object_name
from o365mailer_operator.token.endpoints import HIGH_VOLUME_HOST
from o365mailer_operator.token.federated import credential_name, subject_of
from o365mailer_operator.token.spec import Spec

EXCHANGE_ONLINE: Final = "00000002-0000-0ff1-ce00-000000000000"
"""The application id of Office 365 Exchange Online, the same in every tenant."""


class Method(enum.StrEnum):
    """How the application gets the right to send as the mailbox."""

    RBAC = "rbac"
    """Exchange's role-based access control for applications: this role, for this mailbox, and no other right."""
    CLASSIC = "classic"
    """The Entra permission and full access to the mailbox, which also lets the application read it."""


class Credential(enum.Enum):
    """How the application proves who it is."""

    SECRET = enum.auto()
    CERTIFICATE = enum.auto()
    FEDERATED = enum.auto()
    """By a ServiceAccount of the cluster, which a federated credential trusts."""


class Shell(enum.StrEnum):
    """What the Entra part is written for. The Exchange part is PowerShell in both: no other shell has its commands."""

    POWERSHELL = "powershell"
    AZ = "az"


@dataclass(frozen=True)
class CloudNames:
    """What Microsoft's tools call one national cloud."""

    graph: str
    """Connect-MgGraph -Environment."""
    exchange: str
    """Connect-ExchangeOnline -ExchangeEnvironmentName."""
    az: str
    """az cloud set --name."""
    portal: str
    """The Entra admin center."""


CLOUDS: Final = {
    "Global": CloudNames("Global", "O365Default", "AzureCloud", "https://entra.microsoft.com"),
    "USGovernment": CloudNames("USGov", "O365USGovGCCHigh", "AzureUSGovernment", "https://entra.microsoft.us"),
    "USGovernmentDoD": CloudNames("USGovDoD", "O365USGovDoD", "AzureUSGovernment", "https://entra.microsoft.us"),
    "China": CloudNames("China", "O365China", "AzureChinaCloud", "https://entra.microsoftonline.cn"),
}
"""Sources: the reference pages of Connect-MgGraph, Connect-ExchangeOnline and `az cloud`, read 2026-11-28."""


@dataclass(frozen=True)
class Plan:
    """One mailer's setup."""

    mailer: str
    """`namespace/name`, or the name alone."""
    name: str
    """Of everything that the script makes in Entra and Exchange, so that it finds it again."""
    tenant: str
    client_id: str
    mailbox: str
    cloud: str
    credential: Credential
    secret: str
    """The Kubernetes Secret that gets the credential; the ServiceAccount, for a federated one."""
    key: str
    """The key in it, for a client secret."""
    namespace: str
    method: Method
    other_senders: bool
    """The mailer allows other senders than its mailbox."""
    high_volume: bool
    audience: str
    """The audience of a federated credential."""
    issuer: str = ""
    """The cluster's, for a federated credential; empty if unknown."""

    @property
    def trusted(self) -> str:
        """The name of the federated credential."""
        return credential_name(self.namespace, self.secret)

    @property
    def subject(self) -> str:
        """What a federated credential trusts."""
        return subject_of(self.namespace, self.secret)

    @property
    def clouds(self) -> CloudNames:
        """What Microsoft's tools call the mailer's cloud."""
        return CLOUDS[self.cloud]


def plan_for(name: str, namespace: str | None, spec: Spec, method: Method, *, issuer: str = "") -> Plan:
    """What the mailer needs."""
    space = namespace or ""
    credential, secret, key = _credential(spec)
    host = spec.endpoints.submission_host.lower().rstrip(".")
    return Plan(
        mailer=f"{space}/{name}" if space else name,
        name=object_name(name, space),
        tenant=spec.tenant_id,
        client_id=spec.client_id,
        mailbox=spec.mailbox,
        cloud=spec.cloud,
        credential=credential,
        secret=secret,
        key=key,
        namespace=space,
        method=method,
        other_senders=any(one.lower() != spec.mailbox.lower() for one in spec.senders.allowed or ()),
        high_volume=host == HIGH_VOLUME_HOST,
        audience=spec.endpoints.federation_audience,
        issuer=issuer,
    )


def _credential(spec: Spec) -> tuple[Credential, str, str]:
    """Its kind, the object that holds it, and the key in that."""
    part = spec.credential
    if part.workload_identity:
        return Credential.FEDERATED, part.workload_identity.service_account_ref.name, ""
    if part.certificate:
        return Credential.CERTIFICATE, part.certificate.secret_ref.name, ""
    reference = part.client_secret.secret_refs[0] if part.client_secret else None
    return Credential.SECRET, reference.name if reference else "", reference.key if reference else ""
