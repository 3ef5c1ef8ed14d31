"""The configuration: tenants, applications with their credentials, mailboxes, and settings.

It is one document. ``--config`` names its file, ``PUT /config`` replaces it and ``GET /config`` shows it. Every name in
it is camelCase. Unknown members are refused, so that a typo is found where it is made.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import jwt
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from o365mailer_emulator.errors import ConfigurationError
from o365mailer_emulator.replies import NAMED

DEFAULT_TENANT = "11111111-1111-4111-8111-111111111111"
DEFAULT_CLIENT = "22222222-2222-4222-8222-222222222222"
DEFAULT_SECRET = "emulator-client-secret-not-a-secret"
DEFAULT_MAILBOX = "noreply@contoso.com"

MASK = "…"  # shown in place of a secret
SEND_AS_APP = "SMTP.SendAsApp"
TOKEN_EXCHANGE = "api://AzureADTokenExchange"  # of federated credentials in the global cloud
AUDIENCES = ("https://outlook.office365.com", "https://outlook.office.com")

Shape = TypeVar("Shape")
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Document(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The base of every part of the configuration document."""


class Tenant(Document):
    """A directory. URLs name it by its id or by one of ``domains``.

    ``smtp_auth``: whether its mailboxes may use SMTP AUTH unless they say otherwise (Set-TransportConfig
    -SmtpClientAuthenticationDisabled). ``policy``: what refuses every login of its mailboxes, if anything.
    ``other_cloud``: it belongs to another national cloud, so this one gives it no token (AADSTS90038).
    """

    id: str
    domains: list[str] = []
    smtp_auth: bool = True
    policy: Literal["security-defaults", "conditional-access"] | None = None
    other_cloud: bool = False


class Secret(Document):
    """A client secret. After ``expires_at`` (RFC 3339, with an offset) it gets AADSTS7000222."""

    value: str
    expires_at: datetime | None = None


class FederatedCredential(Document):
    """Another issuer's token that an application accepts in place of a secret of its own.

    ``issuer`` and ``subject`` must be the claims ``iss`` and ``sub``, character by character, and one of ``audiences``
    one of ``aud``. Entra allows one audience and 20 credentials an application.
    """

    issuer: str
    subject: str
    audiences: list[str] = msgspec.field(default_factory=lambda: [TOKEN_EXCHANGE])


class Issuer(Document):
    """Where the keys of an issuer of federated credentials come from.

    ``jwks`` is its key set (RFC 7517). Without one, the emulator fetches the issuer's discovery document over TLS.
    ``ca``: the certificates in PEM to trust then; null means the system's.
    """

    jwks: dict[str, Any] | None = None
    ca: str | None = None


class Application(Document):
    """An app registration with its service principal.

    All credentials are valid at once, as during a rotation. ``certificates`` are PEM texts. ``roles`` become the
    token's claim ``roles``. Empty roles leave the claim out, as for an application without API permissions. A role
    alone opens no mailbox.

    ``object_id`` is the service principal's in Entra, and ``service_principal`` is what New-ServicePrincipal was given
    in Exchange as its ObjectId: absent, the right one; another one, the wrong one, often the app registration's; null,
    the command was never run. ``enabled`` is Entra's switch "Enabled for users to sign in".
    """

    client_id: str
    tenant: str
    name: str = "mailer"
    object_id: str = "33333333-3333-4333-8333-333333333333"
    roles: list[str] = msgspec.field(default_factory=lambda: [SEND_AS_APP])
    secrets: list[Secret] = []
    certificates: list[str] = []
    federated_credentials: list[FederatedCredential] = []
    service_principal: str | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool = True

    @property
    def known_to_exchange(self) -> bool:
        """Whether Exchange has a service principal for it, with the right object id."""
        registered = self.object_id if self.service_principal is msgspec.UNSET else self.service_principal
        return isinstance(registered, str) and registered.lower() == self.object_id.lower()


class LockAfter(Document):
    """After ``errors`` of one kind ``within`` so many seconds, a mailbox is locked for ``seconds``. 0 errors: never."""

    errors: Annotated[int, msgspec.Meta(ge=0)]
    within: Seconds = 600
    seconds: Seconds = 3600


class Mailbox(Document):
    """A mailbox that may submit mail.

    ``send_as`` lists other addresses that it may send as. ``applications`` lists the client ids that have a right on
    it, by Add-MailboxPermission or by the scope of a role assignment; no other opens it. ``smtp_auth`` overrides
    the tenant's switch (Set-CASMailbox -SmtpClientAuthenticationDisabled); null does not. ``locked`` names the reply
    that refuses each of its messages, such as ``throttled-send-as``; null means that it is not locked.
    """

    address: str
    tenant: str
    send_as: list[str] = []
    applications: list[str] = []
    smtp_auth: bool | None = None
    locked: str | None = None


class Settings(Document):
    """The settings. Times are seconds, sizes are bytes; defaults are Exchange Online's documented ones.

    Limits: learn.microsoft.com, "Exchange Online limits" (3 connections, 30 messages a minute, 500 recipients, 35 MB)
    and "configurable token lifetimes" (60 to 90 minutes, 75 on average).

    ``profile`` sets every axis of ``behaviour.Behaviour``, the members from ``slots`` on; an axis that is null uses the
    profile's value. ``connections_per_mailbox`` is the number of slots, for connections or submissions.
    ``token_lifetime``: null means another one for each token, as Entra does. ``pace``: messages that a mailbox submits
    in ``pace_seconds`` before its replies are late; 0 for no limit.
    ``clock_offset``: seconds that the emulator's clock is ahead of the machine's; negative if it is slow.
    ``effective_after``: how long a change of a right takes until a login sees it. Exchange takes up to two hours.
    ``issuers``: the keys of issuers of federated credentials, by the issuer's URL. Others are fetched.
    """

    token_lifetime: float | None = None
    refresh_in: float | None = None
    connections_per_mailbox: int = 3
    recipients_per_message: int = 500
    message_size: int = 35 * 1024 * 1024
    service_size: int = 157_286_400
    idle_timeout: float = 300
    audiences: list[str] = msgspec.field(default_factory=lambda: list(AUDIENCES))
    kept_messages: int = 10_000
    pace: Annotated[int, msgspec.Meta(ge=0)] = 30
    pace_seconds: Seconds = 60
    effective_after: Seconds = 0
    clock_offset: float = 0
    issuers: dict[str, Issuer] = {}
    profile: Literal["default", "harsh"] = "default"
    slots: Literal["connection", "submission"] | None = None
    crowded_at: Literal["auth", "body"] | None = None
    submission_seconds: Seconds | None = None
    submission_jitter: Seconds | None = None
    session_seconds: Seconds | None = None
    lock_after: LockAfter | None = None
    expired_session: Literal["kept", "cut"] | None = None
    null_sender: Literal["taken", "refused"] | None = None
    bdat: Literal["taken", "refused"] | None = None
    no_right: Literal["auth", "body"] | None = None


class Tenancy(Document):
    """The whole document."""

    tenants: list[Tenant] = []
    applications: list[Application] = []
    mailboxes: list[Mailbox] = []
    settings: Settings = msgspec.field(default_factory=Settings)

    def tenant(self, name: str) -> Tenant | None:
        """The tenant with this id or domain; case does not matter."""
        wanted = name.lower()
        for tenant in self.tenants:
            if wanted == tenant.id.lower() or wanted in [domain.lower() for domain in tenant.domains]:
                return tenant
        return None

    def application(self, client_id: str) -> Application | None:
        """The application with this client id."""
        return next((app for app in self.applications if app.client_id.lower() == client_id.lower()), None)

    def mailbox(self, address: str) -> Mailbox | None:
        """The mailbox with this address; case does not matter."""
        return next((box for box in self.mailboxes if box.address.lower() == address.lower()), None)

    def copy(self) -> Tenancy:
        """An independent copy, so that a reset can restore the state at the start."""
        return msgspec.json.decode(msgspec.json.encode(self), type=Tenancy)


def default_tenancy() -> Tenancy:
    """Contoso: one tenant, one application with one secret, one mailbox. Nothing in it is a real credential."""
    return Tenancy(
        tenants=[Tenant(id=DEFAULT_TENANT, domains=["contoso.onmicrosoft.com", "contoso.com"])],
        applications=[
            Application(client_id=DEFAULT_CLIENT, tenant=DEFAULT_TENANT, secrets=[Secret(value=DEFAULT_SECRET)])
        ],
        mailboxes=[Mailbox(address=DEFAULT_MAILBOX, tenant=DEFAULT_TENANT, applications=[DEFAULT_CLIENT])],
    )


def read_tenancy(text: bytes, *, source: str) -> Tenancy:
    """The document in ``text``. Raises ConfigurationError that names ``source``, the path in it and the remedy."""
    tenancy = decode(text, Tenancy, source=source)
    belonging = {
        **{f"applications[{index}]": entry.tenant for index, entry in enumerate(tenancy.applications)},
        **{f"mailboxes[{index}]": entry.tenant for index, entry in enumerate(tenancy.mailboxes)},
    }
    for where, named in belonging.items():
        if tenancy.tenant(named) is None:
            raise ConfigurationError(
                f"{source}: {where}.tenant is {named!r}, which no entry of 'tenants' has as its id "
                "or among its domains; add that tenant or name one that is there"
            )
    for index, tenant in enumerate(tenancy.tenants):
        _require_guid(tenant.id, f"{source}: tenants[{index}].id")
    check_settings(tenancy.settings, source=source)
    for index, application in enumerate(tenancy.applications):
        _require_credentials(application, f"{source}: applications[{index}]")
    for index, mailbox in enumerate(tenancy.mailboxes):
        if mailbox.locked is not None and mailbox.locked not in NAMED:
            raise ConfigurationError(
                f"{source}: mailboxes[{index}].locked is {mailbox.locked!r}, and there is no such reply; GET /replies "
                "lists them"
            )
    return tenancy


def decode(text: bytes, shape: type[Shape], *, source: str) -> Shape:
    """``text`` as ``shape``; ConfigurationError with the path inside the document when it does not fit."""
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.DecodeError as wrong:
        raise ConfigurationError(f"{source}: {wrong}; docs/emulator.md shows the document") from wrong


def patched(entry: Shape, text: bytes, *, source: str) -> Shape:
    """``entry`` with the members of the JSON object ``text`` put in place of its own."""
    changes = decode(text, dict[str, Any], source=source)
    merged = {**msgspec.to_builtins(entry), **changes}
    return decode(msgspec.json.encode(merged), type(entry), source=source)


def _require_credentials(application: Application, where: str) -> None:
    for index, secret in enumerate(application.secrets):
        if secret.value in {"", MASK}:
            raise ConfigurationError(
                f"{where}.secrets[{index}].value is {secret.value!r}: it must be a text of one character or more, and "
                "not what GET /config shows in place of a secret; PATCH /applications changes one without it"
            )
    for index, pem in enumerate(application.certificates):
        try:
            x509.load_pem_x509_certificate(pem.encode())
        except ValueError as wrong:
            raise ConfigurationError(
                f"{where}.certificates[{index}] is no certificate in PEM; start it with -----BEGIN CERTIFICATE-----"
            ) from wrong


def check_settings(settings: Settings, *, source: str) -> None:
    """Raises ConfigurationError if an issuer's key set or CA cannot be used."""
    for url, issuer in settings.issuers.items():
        where = f"{source}: settings.issuers[{url!r}]"
        if issuer.jwks is not None:
            _require_key_set(issuer.jwks, f"{where}.jwks")
        if issuer.ca is not None:
            try:
                x509.load_pem_x509_certificates(issuer.ca.encode())
            except ValueError as wrong:
                raise ConfigurationError(
                    f"{where}.ca is no certificate in PEM; start it with -----BEGIN CERTIFICATE-----"
                ) from wrong


def _require_key_set(jwks: dict[str, Any], where: str) -> None:
    try:
        keys = jwt.PyJWKSet.from_dict(jwks).keys
    except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as wrong:
        raise ConfigurationError(
            f"{where} is no key set: {wrong}; give what the issuer's jwks_uri answers, which for Kubernetes "
            "'kubectl get --raw /openid/v1/jwks' prints"
        ) from wrong
    if any(isinstance(key.key, RSAPrivateKey) for key in keys):
        raise ConfigurationError(f"{where} has a private key; give the public one, without the member 'd'")


def _require_guid(text: str, where: str) -> None:
    try:
        uuid.UUID(text)
    except ValueError as wrong:
        raise ConfigurationError(f"{where} is {text!r}, not a GUID; write it as {DEFAULT_TENANT}") from wrong
