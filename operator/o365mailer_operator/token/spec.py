"""The O365Mailer's spec as typed data.

Unknown members are ignored here, because the API server has already pruned or refused them. For a file,
`o365mailer run` refuses them itself.
"""

import functools
from typing import Annotated, Any, Final, Literal

import msgspec

from o365mailer_contract.quantities import whole
from o365mailer_contract.settings import (
    DOMAIN_PATTERN,
    MAILBOX_PATTERN,
    NOTIFY_PATTERN,
    SENDER_PATTERN,
    Delivery,
    Instant,
    Limits,
    Mailbox,
    Part,
    Port,
    Recipients,
    Senders,
)
from o365mailer_operator.token.endpoints import CLOUDS, SUBMISSION_PORT, Endpoints
from o365mailer_operator.token.errors import InvalidSpec

_LABEL: Final = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
GUID_PATTERN: Final = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
CLIENT_ID_PATTERN: Final = f"^{GUID_PATTERN}$"
TENANT_PATTERN: Final = rf"^({GUID_PATTERN}|{_LABEL}(\.{_LABEL})+)$"
"""A GUID or a domain. `common` and `organizations` are neither: client credentials need one tenant."""
_PORT: Final = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
AUTHORITY_PATTERN: Final = rf"^https://{_LABEL}(\.{_LABEL})*(:{_PORT})?/?$"
"""Scheme, host and port. No path (the tenant is appended), and no user info, which could disguise the host."""
HOST_PATTERN: Final = rf"^{_LABEL}(\.{_LABEL})*\.?$"
SECRET_NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
SERVICE_ACCOUNT_NAME_PATTERN: Final = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
SECRET_KEY_PATTERN: Final = r"^[A-Za-z0-9._-]+$"

Tenant = Annotated[str, msgspec.Meta(pattern=whole(TENANT_PATTERN), max_length=253)]
ClientId = Annotated[str, msgspec.Meta(pattern=whole(CLIENT_ID_PATTERN))]
AuthorityUrl = Annotated[str, msgspec.Meta(pattern=whole(AUTHORITY_PATTERN), max_length=300)]
Host = Annotated[str, msgspec.Meta(pattern=whole(HOST_PATTERN), max_length=253)]
SecretName = Annotated[str, msgspec.Meta(pattern=whole(SECRET_NAME_PATTERN), max_length=253)]
ServiceAccountName = Annotated[str, msgspec.Meta(pattern=whole(SERVICE_ACCOUNT_NAME_PATTERN), max_length=253)]
SecretKey = Annotated[str, msgspec.Meta(pattern=whole(SECRET_KEY_PATTERN), max_length=253)]
CloudName = Literal["Global", "USGovernment", "USGovernmentDoD", "China"]
LogLevel = Literal["debug", "info", "warning", "error"]


class SecretKeyRef(Part, frozen=True):
    """One key of one Secret in the mailer's own namespace."""

    name: SecretName
    key: SecretKey

    def __str__(self) -> str:
        return f"{self.name}/{self.key}"


class AuthoritiesRef(Part, frozen=True):
    """A key with PEM certificates, in an object of the mailer's own namespace."""

    name: SecretName
    key: SecretKey = "ca.crt"


class AuthoritiesSpec(Part, frozen=True):
    """The only authorities to trust: exactly one member."""

    secret_ref: AuthoritiesRef | None = None
    config_map_ref: AuthoritiesRef | None = None


class CertificateRef(Part, frozen=True):
    """A Secret of type kubernetes.io/tls, as cert-manager writes it."""

    name: SecretName


class ClientSecretCredential(Part, frozen=True):
    """A client secret; two references while it is being rotated."""

    secret_refs: Annotated[tuple[SecretKeyRef, ...], msgspec.Meta(min_length=1, max_length=2)]
    expires_at: Instant | None = None
    """When the secret expires, as its owner noted it. Entra does not tell an application."""


class CertificateCredential(Part, frozen=True):
    """A certificate that is registered with the application."""

    secret_ref: CertificateRef


class ServiceAccountRef(Part, frozen=True):
    """A ServiceAccount in the mailer's own namespace."""

    name: ServiceAccountName


class WorkloadIdentityCredential(Part, frozen=True):
    """A ServiceAccount that a federated credential of the application trusts."""

    service_account_ref: ServiceAccountRef


class CredentialSpec(Part, frozen=True):
    """How the controller proves to Entra that it is the application: exactly one member."""

    client_secret: ClientSecretCredential | None = None
    certificate: CertificateCredential | None = None
    workload_identity: WorkloadIdentityCredential | None = None


class AuthoritySpec(Part, frozen=True):
    """Override of the cloud's authority."""

    url: AuthorityUrl | None = None
    ca: AuthoritiesSpec | None = None


class SubmissionSpec(Part, frozen=True):
    """Override of the cloud's submission host."""

    host: Host | None = None
    port: Port | None = None
    ca: AuthoritiesSpec | None = None


class Spec(Part, frozen=True, dict=True):  # a dict, in which `endpoints` is kept
    """An O365Mailer's spec."""

    tenant_id: Tenant
    client_id: ClientId
    mailbox: Mailbox
    credential: CredentialSpec
    suspend: bool = False
    cloud: CloudName = "Global"
    authority: AuthoritySpec = AuthoritySpec()
    submission: SubmissionSpec = SubmissionSpec()
    senders: Senders = Senders()
    recipients: Recipients = Recipients()
    limits: Limits = Limits()
    delivery: Delivery = Delivery()
    log_level: LogLevel = "info"
    log_addresses: bool = False

    @functools.cached_property
    def endpoints(self) -> Endpoints:
        """Where the token comes from and where mail goes."""
        cloud = CLOUDS[self.cloud]
        authority = self.authority.url or cloud.authority
        return Endpoints(
            authority=f"{authority.rstrip('/')}/{self.tenant_id}",
            scope=cloud.scope,
            submission_host=self.submission.host or cloud.submission_host,
            submission_port=self.submission.port or SUBMISSION_PORT,
            federation_audience=cloud.federation_audience,
            authority_named_by="spec.authority.url" if self.authority.url else "spec.cloud",
            submission_named_by=self._submission_named_by(),
        )

    def _submission_named_by(self) -> str:
        if self.submission.host:
            return "spec.submission.host"
        return "spec.submission.port" if self.submission.port else "spec.cloud"


def decode_spec(spec: Any) -> Spec:
    """The typed spec of a decoded JSON or YAML object.

    Raises InvalidSpec, its text beginning with the path of the wrong member, such as `spec.limits.connections`.
    """
    try:
        decoded = msgspec.convert(spec, Spec)
    except msgspec.ValidationError as error:
        problem = str(error)
    else:
        check_credential(decoded.credential)
        _check_authorities(decoded)
        return decoded
    raise InvalidSpec(_located(problem))


_ONE_CREDENTIAL: Final = "spec.credential: exactly one of clientSecret, certificate and workloadIdentity"


def check_credential(credential: CredentialSpec) -> None:
    """Raises InvalidSpec unless exactly one kind of credential is given."""
    given = [name for name in credential.__struct_fields__ if getattr(credential, name) is not None]
    if len(given) != 1:
        found = {0: "none is", 2: "two are", 3: "all are"}[len(given)]
        raise InvalidSpec(f"{_ONE_CREDENTIAL} is needed, and {found} given.")


def _check_authorities(spec: Spec) -> None:
    """Raises InvalidSpec unless each `ca` names either a Secret or a ConfigMap."""
    for member, ca in (("authority", spec.authority.ca), ("submission", spec.submission.ca)):
        if ca is not None and (ca.secret_ref is None) == (ca.config_map_ref is None):
            found = "both are" if ca.secret_ref else "none is"
            raise InvalidSpec(
                f"spec.{member}.ca: exactly one of secretRef and configMapRef is needed, and {found} given."
            )


_WORDS: Final = (
    (TENANT_PATTERN, "a tenant's GUID, or one of its domains"),
    (CLIENT_ID_PATTERN, "the application's client id, a GUID"),
    (AUTHORITY_PATTERN, "https://host or https://host:port, without a path"),
    (HOST_PATTERN, "a host name"),
    (SECRET_NAME_PATTERN, "the name of a Secret or ConfigMap"),
    (SERVICE_ACCOUNT_NAME_PATTERN, "a ServiceAccount's name"),
    (SECRET_KEY_PATTERN, "a key of a Secret or ConfigMap"),
    (MAILBOX_PATTERN, "a mailbox's address, such as noreply@contoso.com"),
    (NOTIFY_PATTERN, "`sender`, or an address such as postmaster@contoso.com"),
    (SENDER_PATTERN, "an address, or @contoso.com for all of a domain"),
    (DOMAIN_PATTERN, "a domain, such as contoso.com, without @ and *"),
    (r"^[0-9]+(ms|s|m|h|d)$", "a duration, such as 10s or 5m"),
    (r"^[0-9]+(Ki|Mi|Gi|k|M|G)?$", "a size, such as 35Mi"),
)
"""The words for a pattern in messages."""


def _located(problem: str) -> str:
    text, _, path = problem.partition(" - at `$")
    if text == "Expected `str`, got `bool`":
        text += ". YAML reads a bare on, off, yes or no as true or false: put it in quotes"
    for pattern, words in _WORDS:
        text = text.replace(f"Expected `str` matching regex {whole(pattern)!r}", f"expected {words}")
    return f"spec{path.rstrip('`')}: {text}"
