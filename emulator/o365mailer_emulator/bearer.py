"""How Exchange checks AUTH XOAUTH2: the form, the token's signature and claims, and the mailbox.

Wire form: base64("user=" mailbox ^A "auth=Bearer " token ^A ^A), learn.microsoft.com "Authenticate an IMAP, POP or
SMTP connection using OAuth".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from o365mailer_emulator.errors import TokenRefused
from o365mailer_emulator.replies import NAMED
from o365mailer_emulator.tenancy import Mailbox, Tenancy


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
    right: bool = True
    """Whether the application has a right on the mailbox. Without one, a message is refused."""


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


@dataclass(frozen=True)
class Directory:
    """The configuration as a login sees it: ``rights`` may be older than ``tenancy``, because changes spread slowly."""

    tenancy: Tenancy
    rights: Tenancy
    key: RSAPublicKey
    no_right: Literal["auth", "body"]


def admit(credentials: Credentials, directory: Directory, *, now: float) -> Grant:
    """The mailbox that these credentials open. Raises TokenRefused with the reason and the reply.

    The order is signature, audience, time, application, mailbox, policies, rights. There is no leeway on time, because
    a relay that needs it would fail with the real service one day.
    """
    tenancy, rights = directory.tenancy, directory.rights
    claims = _claims(credentials.token, directory.key, tenancy.settings.audiences)
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
    _check_switches(rights, rights.mailbox(mailbox.address) or mailbox)
    problem = _missing_right(rights, mailbox.address, application.client_id)
    if problem and directory.no_right == "auth":
        raise TokenRefused(problem)
    return Grant(mailbox, str(claims.get("uti", "")), float(claims["exp"]), right=not problem)


def _check_switches(rights: Tenancy, mailbox: Mailbox) -> None:
    """Raises TokenRefused where SMTP AUTH is off for the mailbox or its tenant, or a policy blocks the login."""
    tenant = rights.tenant(mailbox.tenant)
    if mailbox.smtp_auth is False:
        raise TokenRefused("SMTP AUTH is off for the mailbox", reply=NAMED["smtp-auth-disabled-mailbox"].text)
    if mailbox.smtp_auth is None and tenant and not tenant.smtp_auth:
        raise TokenRefused("SMTP AUTH is off for the tenant", reply=NAMED["smtp-auth-disabled-tenant"].text)
    if tenant and tenant.policy:
        raise TokenRefused(f"a policy of the tenant blocks the login: {tenant.policy}", reply=NAMED[tenant.policy].text)


def _missing_right(rights: Tenancy, address: str, client_id: str) -> str:
    """What is missing for the application to open the mailbox; empty if nothing is."""
    application, mailbox = rights.application(client_id), rights.mailbox(address)
    if application is None or mailbox is None:
        return "the rights have not spread yet"
    if not application.known_to_exchange:
        wrong = isinstance(application.service_principal, str)
        return (
            "Exchange's service principal has another object id"
            if wrong
            else "Exchange has no service principal for the application"
        )
    listed = client_id.lower() in [each.lower() for each in mailbox.applications]
    return "" if listed else "the application has no right on this mailbox"


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


def _tenant_id(tenancy: Tenancy, name: str) -> str | None:
    tenant = tenancy.tenant(name)
    return tenant.id if tenant else None
