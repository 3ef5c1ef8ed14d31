"""How Entra checks an application's credential: a client secret or a signed assertion.

Assertions: learn.microsoft.com "Microsoft identity platform application authentication certificate credentials" and
RFC 7523 §3. The older form is RS256 with x5t (SHA-1), the newer PS256 with x5t#S256.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from o365mailer_emulator.aadsts import AADSTS
from o365mailer_emulator.errors import EntraRefusal
from o365mailer_emulator.tenancy import Application

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LEEWAY = 300  # seconds by which clocks may differ, as Entra allows


def accepted(form: Mapping[str, str], application: Application, *, audiences: list[str], now: float) -> str:
    """The kind of credential that was accepted, ``secret`` or ``certificate``. Raises EntraRefusal otherwise."""
    if form.get("client_assertion"):
        if form.get("client_assertion_type") != JWT_BEARER:
            raise EntraRefusal(AADSTS[900144], parameter="client_assertion_type")
        _check_assertion(form["client_assertion"], application, audiences=audiences, now=now)
        return "certificate"
    if form.get("client_secret"):
        _check_secret(form["client_secret"], application, now=now)
        return "secret"
    raise EntraRefusal(AADSTS[7000216])


def _check_secret(offered: str, application: Application, *, now: float) -> None:
    matching = [secret for secret in application.secrets if secret.value == offered]
    if not matching:
        raise EntraRefusal(AADSTS[7000215], client=application.client_id)
    if all(secret.expires_at is not None and secret.expires_at.timestamp() <= now for secret in matching):
        raise EntraRefusal(AADSTS[7000222], client=application.client_id)


def _check_assertion(assertion: str, application: Application, *, audiences: list[str], now: float) -> None:
    header = _header(assertion)
    certificate = _registered(header, application)
    _within_validity(certificate, now)
    claims = _verified(assertion, certificate, application)
    _within_time(claims, now)
    named = claims.get("aud")
    if not set(named if isinstance(named, list) else [named]) & set(audiences):
        raise EntraRefusal(AADSTS[700023])
    for claim in ("iss", "sub"):
        if str(claims.get(claim, "")).lower() != application.client_id.lower():
            raise EntraRefusal(AADSTS[700021])


def _header(assertion: str) -> dict[str, Any]:
    try:
        return jwt.get_unverified_header(assertion)
    except jwt.PyJWTError as wrong:
        raise EntraRefusal(AADSTS[50027]) from wrong


def _registered(header: dict[str, Any], application: Application) -> x509.Certificate:
    """The registered certificate that the header's thumbprint names."""
    for name, algorithm in (("x5t#S256", hashes.SHA256()), ("x5t", hashes.SHA1())):  # noqa: S303 - x5t is SHA-1
        thumbprint = _decoded(header.get(name))
        for pem in application.certificates:
            certificate = x509.load_pem_x509_certificate(pem.encode())
            if thumbprint is not None and certificate.fingerprint(algorithm) == thumbprint:
                return certificate
    shown = _decoded(header.get("x5t#S256")) or _decoded(header.get("x5t")) or b""
    raise EntraRefusal(
        AADSTS[700027],
        reason="The key was not found.",
        thumbprint=shown.hex().upper(),
        client=application.client_id,
    )


def _verified(assertion: str, certificate: x509.Certificate, application: Application) -> dict[str, Any]:
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise EntraRefusal(AADSTS[50027])
    unchecked = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
    try:
        return jwt.decode(assertion, key, algorithms=["RS256", "PS256"], options=unchecked)  # type: ignore[arg-type]
    except jwt.InvalidSignatureError as wrong:
        raise EntraRefusal(
            AADSTS[700027],
            reason="The key used to sign the assertion does not match.",
            thumbprint=certificate.fingerprint(hashes.SHA256()).hex().upper(),
            client=application.client_id,
        ) from wrong
    except jwt.PyJWTError as wrong:
        raise EntraRefusal(AADSTS[50027]) from wrong


def _within_validity(certificate: x509.Certificate, now: float) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins.timestamp() <= now < ends.timestamp():
        raise EntraRefusal(AADSTS[1000502], valid_from=_stamp(begins.timestamp()), valid_to=_stamp(ends.timestamp()))


def _within_time(claims: dict[str, Any], now: float) -> None:
    try:
        ends = float(claims["exp"])
        begins = float(claims.get("nbf", ends - 600))
    except (KeyError, TypeError, ValueError) as wrong:
        raise EntraRefusal(AADSTS[50027]) from wrong
    if not begins - LEEWAY <= now < ends + LEEWAY:
        raise EntraRefusal(AADSTS[700024], now=_stamp(now), valid_from=_stamp(begins), valid_to=_stamp(ends))


def _decoded(encoded: object) -> bytes | None:
    if not isinstance(encoded, str):
        return None
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (ValueError, binascii.Error):
        return None


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
