"""A certificate: an assertion that the application itself signed.

learn.microsoft.com "Microsoft identity platform application authentication certificate credentials". The older form is
RS256 with x5t (SHA-1), the newer PS256 with x5t#S256.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from o365mailer_emulator.aadsts import AADSTS
from o365mailer_emulator.credential.assertion import Assertion, stamp
from o365mailer_emulator.errors import EntraRefusal
from o365mailer_emulator.tenancy import Application

ALGORITHMS = ("RS256", "PS256")


def check(assertion: Assertion, application: Application, *, audiences: Sequence[str], now: float) -> None:
    """Raises EntraRefusal unless a registered certificate signed the assertion for one of ``audiences``."""
    certificate = _registered(assertion, application)
    _within_validity(certificate, now)
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise EntraRefusal(AADSTS[50027])
    if not assertion.verify(key, ALGORITHMS):
        raise EntraRefusal(
            AADSTS[700027],
            reason="The key used to sign the assertion does not match.",
            thumbprint=certificate.fingerprint(hashes.SHA256()).hex().upper(),
            client=application.client_id,
        )
    assertion.check_time(now)
    if not set(assertion.audiences) & set(audiences):
        raise EntraRefusal(AADSTS[700023])
    for claim in ("iss", "sub"):
        if assertion.claim(claim).lower() != application.client_id.lower():
            raise EntraRefusal(AADSTS[700021])


def _registered(assertion: Assertion, application: Application) -> x509.Certificate:
    """The registered certificate that the header's thumbprint names."""
    for name, algorithm in (("x5t#S256", hashes.SHA256()), ("x5t", hashes.SHA1())):  # noqa: S303 - x5t is SHA-1
        thumbprint = assertion.thumbprint(name)
        for pem in application.certificates:
            certificate = x509.load_pem_x509_certificate(pem.encode())
            if thumbprint is not None and certificate.fingerprint(algorithm) == thumbprint:
                return certificate
    shown = assertion.thumbprint("x5t#S256") or assertion.thumbprint("x5t") or b""
    raise EntraRefusal(
        AADSTS[700027],
        reason="The key was not found.",
        thumbprint=shown.hex().upper(),
        client=application.client_id,
    )


def _within_validity(certificate: x509.Certificate, now: float) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins.timestamp() <= now < ends.timestamp():
        raise EntraRefusal(AADSTS[1000502], valid_from=stamp(begins.timestamp()), valid_to=stamp(ends.timestamp()))
