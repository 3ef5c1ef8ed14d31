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


@dataclass(frozen=True, kw_only=True)
class Minted:
    """A signed token and its record. Only the record may be stored."""

    access_token: str
    record: IssuedToken


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
        self._fresh_id = fresh_id

    def mint(
        self,
        *,
        application: Application,
        tenant: Tenant,
        audience: str,
        lifetime: float,
        credential: str,
        started: float = 0,
        foreign: bool = False,
    ) -> Minted:
        """A token that is valid for ``lifetime`` seconds, from ``started`` seconds after now (negative: before now).

        ``foreign`` signs with a key that is not in the key set, like a forged token.
        """
        issued = self._clock() + started
        expires = issued + lifetime
        uti = self._fresh_id(16)
        claims = {
            **_identity(application, tenant),
            "aud": audience,
            "iat": int(issued),
            "nbf": int(issued),
            "exp": int(expires),
            "appidacr": "2" if credential == "certificate" else "1",
            "uti": uti,
        }
        key = self.foreign if foreign else self.key
        text = jwt.encode(claims, key.private, algorithm="RS256", headers={"kid": key.kid, "x5t": key.kid})
        record = IssuedToken(
            uti=uti,
            client_id=application.client_id,
            tenant=tenant.id,
            audience=audience,
            issued=issued,
            expires=int(expires),
            credential=credential,
        )
        return Minted(access_token=text, record=record)


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
