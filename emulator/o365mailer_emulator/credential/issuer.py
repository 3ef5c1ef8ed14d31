"""The signing keys of an issuer: those in the settings, or those that its discovery document names.

OpenID Connect Discovery 1.0 §4; RFC 7517 for the key set. Entra keeps the keys for a while. The emulator fetches them
for each request, so that a test sees a change at once.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from o365mailer_emulator.aadsts import AADSTS
from o365mailer_emulator.errors import EntraRefusal
from o365mailer_emulator.tenancy import Issuer

SECONDS = 10  # for each of the two requests


async def signing_keys(url: str, issuers: Mapping[str, Issuer]) -> dict[str, RSAPublicKey]:
    """The RSA keys by key id. Raises EntraRefusal if they cannot be fetched (90061) or read (900612)."""
    settings = issuers.get(url, Issuer())
    key_set = settings.jwks if settings.jwks is not None else await _fetched(url, ca=settings.ca)
    try:
        return {
            str(key.key_id): key.key
            for key in jwt.PyJWKSet.from_dict(key_set).keys
            if isinstance(key.key, RSAPublicKey)
        }
    except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as wrong:
        raise EntraRefusal(AADSTS[900612]) from wrong


async def _fetched(url: str, *, ca: str | None) -> dict[str, Any]:
    trust = ssl.create_default_context(cadata=ca)
    trust.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)  # CAs of API servers often lack an AKI
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=trust)) as client:
            document = await _json(client, url.removesuffix("/") + "/.well-known/openid-configuration")
            if document.get("issuer") != url:
                raise EntraRefusal(AADSTS[90061])
            return await _json(client, str(document.get("jwks_uri")))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as wrong:
        raise EntraRefusal(AADSTS[90061]) from wrong


async def _json(client: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """The object at ``url``. Raises ValueError if there is none or no TLS, or aiohttp.ClientError."""
    if not url.startswith("https://"):
        raise ValueError(f"{url} is not https")
    async with client.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise ValueError(f"{url} answers {answer.status}")
        document = await answer.json(content_type=None)
    if not isinstance(document, dict):
        raise ValueError(f"{url} is no JSON object")
    return document
