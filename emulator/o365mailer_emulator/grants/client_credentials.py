"""A token for an application itself (RFC 6749 §4.4).

learn.microsoft.com "OAuth 2.0 client credentials flow on the Microsoft identity platform".
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from o365mailer_emulator import credential
from o365mailer_emulator.aadsts import AADSTS
from o365mailer_emulator.errors import EntraRefusal
from o365mailer_emulator.signing import TokenRequest
from o365mailer_emulator.tenancy import Application, Tenancy, Tenant

GRANT_TYPE = "client_credentials"
DEFAULT_SCOPE = "/.default"


async def grant(
    form: Mapping[str, str], tenancy: Tenancy, tenant: Tenant, endpoint: credential.TokenEndpoint
) -> TokenRequest:
    """The token that ``form`` gets in ``tenant``. Raises EntraRefusal."""
    if not form.get("client_id"):
        raise EntraRefusal(AADSTS[900144], parameter="client_id")
    application = _application(form["client_id"], tenancy, tenant)
    kind = await credential.judge(form, application, endpoint)
    return TokenRequest(
        application=application,
        tenant=tenant,
        audience=_audience(form.get("scope", ""), tenant),
        lifetime=tenancy.settings.token_lifetime,
        credential=kind,
    )


def _application(client_id: str, tenancy: Tenancy, tenant: Tenant) -> Application:
    application = tenancy.application(client_id)
    home = tenancy.tenant(application.tenant) if application else None
    if application is None or home is None or home.id != tenant.id:
        raise EntraRefusal(AADSTS[700016], client=client_id, tenant=tenant.id)
    if not application.enabled:
        raise EntraRefusal(AADSTS[7000112], client=client_id)
    return application


def _audience(scope: str, tenant: Tenant) -> str:
    """The resource in ``scope``, which becomes the token's audience."""
    if not scope:
        raise EntraRefusal(AADSTS[900144], parameter="scope")
    if not scope.endswith(DEFAULT_SCOPE) or " " in scope:
        raise EntraRefusal(AADSTS[1002012], scope=scope)
    resource = scope.removesuffix(DEFAULT_SCOPE)
    if urlsplit(resource).scheme != "https":
        raise EntraRefusal(AADSTS[500011], scope=resource, tenant=tenant.id)
    return resource
