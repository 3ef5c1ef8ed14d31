"""A signed assertion (RFC 7523 §3), of which the signature is still to be checked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from o365mailer_emulator.aadsts import AADSTS
from o365mailer_emulator.errors import EntraRefusal

LEEWAY = 300  # seconds by which clocks may differ, as Entra allows
_UNCHECKED = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}


@dataclass(frozen=True)
class Assertion:
    """The text with its header and its claims. ``claims`` are only as true as the signature, see `verify`."""

    text: str
    header: dict[str, Any]
    claims: dict[str, Any]

    @classmethod
    def read(cls, text: str) -> Assertion:
        """Raises EntraRefusal (50027) if the text is no JWT whose claims are an object."""
        try:
            parsed = jwt.decode_complete(text, options={"verify_signature": False})
        except jwt.PyJWTError as wrong:
            raise EntraRefusal(AADSTS[50027]) from wrong
        return cls(text, parsed["header"], parsed["payload"])

    @property
    def names_certificate(self) -> bool:
        """Whether the header has the thumbprint of a certificate."""
        return bool({"x5t", "x5t#S256"} & set(self.header))

    def thumbprint(self, name: str) -> bytes | None:
        """The value of ``x5t`` or ``x5t#S256``, decoded; None if there is none."""
        encoded = self.header.get(name)
        if not isinstance(encoded, str):
            return None
        try:
            return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        except (ValueError, binascii.Error):
            return None

    def claim(self, name: str) -> str:
        """A claim that is a text; empty if it is anything else."""
        value = self.claims.get(name)
        return value if isinstance(value, str) else ""

    @property
    def audiences(self) -> list[str]:
        """The claim ``aud`` as a list, which Kubernetes always writes and others may (RFC 7519 §4.1.3)."""
        named = self.claims.get("aud")
        return [str(each) for each in (named if isinstance(named, list) else [named])]

    def verify(self, key: RSAPublicKey, algorithms: Sequence[str]) -> bool:
        """Whether ``key`` signed it. Raises EntraRefusal (50027) if the algorithm is none of ``algorithms``."""
        try:
            jwt.decode(self.text, key, algorithms=list(algorithms), options=_UNCHECKED)  # type: ignore[arg-type]
        except jwt.InvalidSignatureError:
            return False
        except jwt.PyJWTError as wrong:
            raise EntraRefusal(AADSTS[50027]) from wrong
        return True

    def check_time(self, now: float) -> None:
        """Raises EntraRefusal (700024) outside ``nbf`` and ``exp``. ``exp`` is required."""
        try:
            ends = float(self.claims["exp"])
            begins = float(self.claims.get("nbf", ends - 600))
        except (KeyError, TypeError, ValueError) as wrong:
            raise EntraRefusal(AADSTS[50027]) from wrong
        if not begins - LEEWAY <= now < ends + LEEWAY:
            raise EntraRefusal(AADSTS[700024], now=stamp(now), valid_from=stamp(begins), valid_to=stamp(ends))


def stamp(moment: float) -> str:
    """Epoch seconds as Entra writes them in its messages."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
