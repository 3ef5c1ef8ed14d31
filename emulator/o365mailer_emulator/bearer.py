"""How Exchange checks AUTH XOAUTH2: the form, the token's signature and claims, and the mailbox.

Wire form: base64("user=" mailbox ^A "auth=Bearer " token ^A ^A), learn.microsoft.com "Authenticate an IMAP, POP or
SMTP connection using OAuth".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from o365mailer_emulator.errors import TokenRefused
from o365mailer_emulator.tenancy import SEND_AS_APP, Mailbox, Tenancy


@dataclass(frozen=True)
class Credentials:
    """The user and the token in XOAUTH2. The representation leaves the token out."""

    user: str
    token: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"


@dataclass(frozen=True)
class Grant:
    """A mailbox that a token opened. From here on only the token's identifier is known."""

    mailbox: Mailbox
    uti: str
    expires: float


def parse_xoauth2(encoded: str) -> Credentials:
    """Decodes the base64 text. Raises TokenRefused if it has another form."""
    try:
        text = base64.b64decode(encoded.encode("ascii"), validate=True).decode("utf-8")
    except (ValueError, binascii.Error) as wrong:
        raise TokenRefused("the initial response is not base64 of UTF-8") from wrong
    parts = text.split("\x01")
    if len(parts) != 4 or parts[2:] != ["", ""] or not parts[0].startswith("user="):
        raise TokenRefused("the initial response is not user=…^Aauth=Bearer …^A^A")
    scheme, _, token = parts[1].partition(" ")
    if scheme.lower() != "auth=bearer" or not token:
        raise TokenRefused("the initial response has no 'auth=Bearer' with a token")
    return Credentials(parts[0].removeprefix("user="), token)


def admit(credentials: Credentials, *, tenancy: Tenancy, key: RSAPublicKey, now: float) -> Grant:
    """The mailbox that these credentials open. Raises TokenRefused with the reason.

    The order is signature, audience, time, application, mailbox. There is no leeway on time, because a relay that needs
    it would fail with the real service one day.
    """
    claims = _claims(credentials.token, key, tenancy.settings.audiences)
    if claims["exp"] <= now:
        raise TokenRefused(f"the token expired {now - claims['exp']:.0f} s ago", expired=True)
    if claims["nbf"] > now + 1:
        raise TokenRefused("the token is not valid yet")
    application = tenancy.application(str(claims.get("appid", "")))
    if application is None:
        raise TokenRefused("the token's application is not registered")
    mailbox = tenancy.mailbox(credentials.user)
    if mailbox is None:
        raise TokenRefused("there is no such mailbox")
    if _tenant_id(tenancy, mailbox.tenant) != claims.get("tid"):
        raise TokenRefused("the mailbox is in another tenant than the token")
    if not _may_open(mailbox, application.client_id, claims):
        raise TokenRefused("the application has no right on this mailbox")
    return Grant(mailbox, str(claims.get("uti", "")), float(claims["exp"]))


def _claims(token: str, key: RSAPublicKey, audiences: list[str]) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=audiences,
            options={
                "require": ["exp", "nbf", "aud", "tid"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.InvalidAudienceError as wrong:
        raise TokenRefused("the token is for another audience") from wrong
    except jwt.PyJWTError as wrong:
        raise TokenRefused(f"the token does not verify ({type(wrong).__name__})") from wrong


def _may_open(mailbox: Mailbox, client_id: str, claims: dict[str, Any]) -> bool:
    """Whether the mailbox lists the application, like an RBAC scope of Exchange, or has no list and the role is enough.

    A token without roles opens no mailbox that does not list its application: learn.microsoft.com, "Role Based Access
    Control for Applications in Exchange Online".
    """
    if mailbox.applications is not None:
        return client_id.lower() in [listed.lower() for listed in mailbox.applications]
    return SEND_AS_APP in claims.get("roles", [])


def _tenant_id(tenancy: Tenancy, name: str) -> str | None:
    tenant = tenancy.tenant(name)
    return tenant.id if tenant else None
