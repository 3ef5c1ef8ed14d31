"""The tokens: RSA-signed JWTs with the claims that Exchange checks.

The claims are those of a v1.0 access token, which is what the Exchange resource gets from the v2.0 endpoint
(learn.microsoft.com, "Access token claims reference").
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from o365mailer_emulator.ledger import IssuedToken
from o365mailer_emulator.tenancy import Application, Tenant

LIFETIMES = (3600, 5400)  # seconds; learn.microsoft.com "Configurable token lifetimes"


@dataclass(frozen=True, kw_only=True)
class Minted:
    """A signed token and its record. Only the record may be stored."""

    access_token: str
    record: IssuedToken


@dataclass(frozen=True, kw_only=True)
class TokenRequest:
    """What a token is issued for."""

    application: Application
    tenant: Tenant
    audience: str
    lifetime: float | None
    """Seconds, from `started`; None for another one each time, as Entra does."""
    credential: str
    """`secret`, `certificate`, `federated` or `control`."""
    started: float = 0
    """Seconds after now; negative for a token that was issued earlier."""
    foreign: bool = False
    """Sign with a key that is not in the key set, like a forged token."""


class SigningKey:
    """One RSA key with its key id, as in the key set that discovery names."""

    def __init__(self) -> None:
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self.private.public_key().public_numbers()
        self.kid = _b64url(hashlib.sha1(numbers.n.to_bytes(256, "big")).digest())  # noqa: S324 - a name, no security

    def public_jwk(self, issuer: str) -> dict[str, Any]:
        """The public half as Entra publishes it."""
        jwk = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": jwk["n"],
            "e": jwk["e"],
            "issuer": issuer,
        }


class Mint:
    """Signs tokens. ``clock`` gives epoch seconds, ``fresh_id`` a random identifier of so many bytes."""

    def __init__(self, *, clock: Callable[[], float], fresh_id: Callable[[int], str]) -> None:
        self.key = SigningKey()
        self.foreign = SigningKey()
        self._clock = clock
        self.fresh_id = fresh_id

    def mint(self, request: TokenRequest) -> Minted:
        """A signed token."""
        issued = self._clock() + request.started
        expires = issued + (self._usual_lifetime() if request.lifetime is None else request.lifetime)
        uti = self.fresh_id(16)
        claims = {
            **_identity(request.application, request.tenant),
            "aud": request.audience,
            "iat": int(issued),
            "nbf": int(issued),
            "exp": int(expires),
            "appidacr": "2" if request.credential in {"certificate", "federated"} else "1",
            "uti": uti,
        }
        key = self.foreign if request.foreign else self.key
        text = jwt.encode(claims, key.private, algorithm="RS256", headers={"kid": key.kid, "x5t": key.kid})
        record = IssuedToken(
            uti=uti,
            client_id=request.application.client_id,
            tenant=request.tenant.id,
            audience=request.audience,
            issued=issued,
            expires=int(expires),
            credential=request.credential,
        )
        return Minted(access_token=text, record=record)

    def _usual_lifetime(self) -> float:
        """Seconds, evenly distributed in Entra's bounds."""
        shortest, longest = LIFETIMES
        return shortest + (longest - shortest) * int(self.fresh_id(4), 16) / 2**32


def _identity(application: Application, tenant: Tenant) -> dict[str, Any]:
    """The claims that identify the application. Without roles, there is no claim ``roles``."""
    issuer = f"https://sts.windows.net/{tenant.id}/"
    return {
        "iss": issuer,
        "idp": issuer,
        "idtyp": "app",
        "app_displayname": application.name,
        "appid": application.client_id,
        "oid": application.object_id,
        "sub": application.object_id,
        "tid": tenant.id,
        "ver": "1.0",
        **({"roles": list(application.roles)} if application.roles else {}),
    }


def _b64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
