"""Entra's three addresses: discovery, signing keys, and the v2.0 token endpoint (RFC 6749 §5)."""

from __future__ import annotations

import base64
import binascii
import email.utils
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus, urlsplit

from aiohttp import web

from o365mailer_emulator.aadsts import AADSTS, Aadsts, correlation, error_document
from o365mailer_emulator.credential import TokenEndpoint
from o365mailer_emulator.errors import EntraRefusal
from o365mailer_emulator.grants import GRANTS

if TYPE_CHECKING:
    from o365mailer_emulator.service import Service
    from o365mailer_emulator.tenancy import Tenant

Work = Callable[[web.Request, dict[str, str]], Awaitable[dict[str, Any]]]

STATUS_ERRORS = {429: 90055, 500: 50000, 503: 90033, 504: 90033}  # the error for a scripted status without a code


@dataclass(frozen=True)
class Entra:
    """The handlers. ``authority`` is called for each answer, because the bound port is known only after listening."""

    service: Service
    authority: Callable[[], str]

    def application(self) -> web.Application:
        """The routes, which are served over TLS."""
        app = web.Application()
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self.discovery)
        app.router.add_get("/{tenant}/.well-known/openid-configuration", self.discovery)
        app.router.add_get("/{tenant}/discovery/v2.0/keys", self.keys)
        app.router.add_get("/discovery/v2.0/keys", self.keys)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self.token)
        app.router.add_get("/{tenant}/oauth2/v2.0/authorize", self.authorize)
        return app

    async def discovery(self, request: web.Request) -> web.StreamResponse:
        """The discovery document; an unknown tenant gets 400 with AADSTS90002."""
        return await self._answer(request, "discovery", self._discovery)

    async def keys(self, request: web.Request) -> web.StreamResponse:
        """The public keys of the tokens' signatures."""
        return await self._answer(request, "keys", self._keys)

    async def token(self, request: web.Request) -> web.StreamResponse:
        """A token for the client credentials in the form (or the Basic header), or Entra's error document."""
        return await self._answer(request, "token", self._token)

    async def authorize(self, _request: web.Request) -> web.Response:
        """The emulator has no users. The route exists because discovery must name it for MSAL."""
        return web.Response(
            status=501, text="The emulator has no users: ask its token endpoint with client credentials instead.\n"
        )

    async def _answer(self, request: web.Request, step: str, work: Work) -> web.StreamResponse:
        ledger, resets = self.service.ledger, self.service.resets
        ledger.tally.requests[step] += 1
        form = await _form(request)
        try:
            scripted = await self._scripted(request, step, form)
            if resets != self.service.resets:
                return _aborted(request)
            if scripted is not None:
                return scripted
            return web.json_response(await work(request, form), headers=self._headers(request))
        except EntraRefusal as refusal:
            ledger.tally.tokens_refused += step == "token"
            why = str(refusal.__cause__ or "")
            client = form.get("client_id", "")
            ledger.note("entra-refused", step=step, code=refusal.aadsts.code, client=client, reason=why)
            return self._refusal(request, refusal.aadsts, refusal.values)

    async def _scripted(self, request: web.Request, step: str, form: dict[str, str]) -> web.StreamResponse | None:
        """The scripted answer; None if there is no rule or only a pause."""
        rule = self.service.script.take(step, form.get("client_id", ""))
        if rule is None:
            return None
        note = self.service.ledger.note
        note("scripted", step=step)
        await self.service.script.hold(rule, stalled=lambda: note("stalled", step=step))
        if rule.close or rule.reset:
            return _aborted(request)
        if rule.aadsts is None and rule.status is None:
            return None
        entry = AADSTS[rule.aadsts or STATUS_ERRORS.get(rule.status or 500, 50000)]
        values = {"client": form.get("client_id", ""), "tenant": request.match_info.get("tenant", "")}
        return self._refusal(request, entry, values, status=rule.status, retry_after=rule.retry_after)

    def _refusal(
        self,
        request: web.Request,
        entry: Aadsts,
        values: dict[str, str],
        *,
        status: int | None = None,
        retry_after: int | None = None,
    ) -> web.Response:
        document = error_document(
            entry,
            values=values,
            now=self.service.clock(),
            correlation_id=correlation(request.headers.get("client-request-id"), fresh=str(uuid.uuid4())),
            trace_id=str(uuid.uuid4()),
            error_base=self.authority(),
        )
        headers = self._headers(request)
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        return web.json_response(document, status=status or entry.status, headers=headers)

    def _headers(self, request: web.Request) -> dict[str, str]:
        headers = {
            "Cache-Control": "no-store, no-cache",
            "Date": email.utils.formatdate(self.service.clock(), usegmt=True),
            "Pragma": "no-cache",
            "x-ms-request-id": str(uuid.uuid4()),
        }
        wanted = request.headers.get("client-request-id")
        if wanted and wanted.isascii() and wanted.isprintable():
            headers["client-request-id"] = wanted
        return headers

    async def _discovery(self, request: web.Request, _form: dict[str, str]) -> dict[str, Any]:
        tenant = self._tenant(request)
        named = request.match_info["tenant"]
        base = self.authority()
        return {
            "token_endpoint": f"{base}/{named}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": f"{base}/{named}/discovery/v2.0/keys",
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "grant_types_supported": list(GRANTS),
            "response_types_supported": [],  # a required member; the emulator has no users
            "issuer": f"{base}/{tenant.id}/v2.0",
            "request_uri_parameter_supported": False,
            "authorization_endpoint": f"{base}/{named}/oauth2/v2.0/authorize",
            "tenant_region_scope": "EU",
            "cloud_instance_name": urlsplit(base).netloc,
        }

    async def _keys(self, _request: web.Request, _form: dict[str, str]) -> dict[str, Any]:
        return {"keys": [self.service.mint.key.public_jwk(f"{self.authority()}/{{tenantid}}/v2.0")]}

    async def _token(self, request: web.Request, form: dict[str, str]) -> dict[str, Any]:
        tenant = self._tenant(request)
        if not form.get("grant_type"):
            raise EntraRefusal(AADSTS[900144], parameter="grant_type")
        grant = GRANTS.get(form["grant_type"])
        if grant is None:
            raise EntraRefusal(AADSTS[70003], grant=form["grant_type"])
        service, settings = self.service, self.service.tenancy.settings
        base = f"{self.authority()}/{request.match_info['tenant']}"
        known = TokenEndpoint(
            audiences=[
                f"{base}/oauth2/v2.0/token",
                f"{base}/v2.0",
                f"{self.authority()}/{tenant.id}/oauth2/v2.0/token",
            ],
            clock=service.clock,
            issuers=settings.issuers,
        )
        minted = service.mint.mint(await grant(form, service.tenancy, tenant, known))
        service.ledger.issue(minted.record)
        expires_in = max(0, int(minted.record.expires - service.clock()))
        answer: dict[str, Any] = {"token_type": "Bearer", "expires_in": expires_in, "ext_expires_in": expires_in}
        if settings.refresh_in is not None:
            answer["refresh_in"] = int(settings.refresh_in)
        return {**answer, "access_token": minted.access_token}

    def _tenant(self, request: web.Request) -> Tenant:
        named = request.match_info.get("tenant", "")
        tenant = self.service.tenancy.tenant(named)
        if tenant is None:
            raise EntraRefusal(AADSTS[90002], tenant=named)
        if tenant.other_cloud:
            raise EntraRefusal(AADSTS[90038], tenant=named)
        return tenant


def _aborted(request: web.Request) -> web.Response:
    """Resets the connection."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)  # the client never reads it


async def _form(request: web.Request) -> dict[str, str]:
    """The posted form, with client id and secret from a Basic header where there is one (RFC 6749 §2.3.1)."""
    if request.method != "POST":
        return {}
    form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        return form
    return {**form, "client_id": unquote_plus(client_id), "client_secret": unquote_plus(secret)}
