"""A federated credential: an assertion of another issuer that the application trusts, without a stored secret.

learn.microsoft.com "Workload identity federation". Issuer, subject and audience are compared exactly, with case and
trailing slash ("Federated Identity Credentials now use case-sensitive matching", August 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from o365mailer_emulator.aadsts import AADSTS
from o365mailer_emulator.credential.assertion import Assertion
from o365mailer_emulator.credential.issuer import signing_keys
from o365mailer_emulator.errors import EntraRefusal
from o365mailer_emulator.tenancy import Application, Issuer

ALGORITHMS = ("RS256",)  # the only one that Entra takes from other issuers


async def check(
    assertion: Assertion, application: Application, *, issuers: Mapping[str, Issuer], clock: Callable[[], float]
) -> None:
    """Raises EntraRefusal unless a federated credential matches and its issuer signed the assertion.

    The keys come last: Entra requests no document of an issuer that no credential names.
    """
    _match(assertion, application)
    keys = await signing_keys(assertion.claim("iss"), issuers)
    key = keys.get(str(assertion.header.get("kid")))
    if key is None:
        raise EntraRefusal(AADSTS[50013], reason="The key was not found.")
    if not assertion.verify(key, ALGORITHMS):
        raise EntraRefusal(AADSTS[50013], reason="The key used to sign the assertion does not match.")
    assertion.check_time(clock())


def _match(assertion: Assertion, application: Application) -> None:
    """Raises EntraRefusal with the first of issuer, subject and audience that no credential has."""
    issuer, subject = assertion.claim("iss"), assertion.claim("sub")
    trusted = application.federated_credentials
    if not trusted:
        raise EntraRefusal(AADSTS[70025], client=application.client_id, name=application.name)
    trusted = [each for each in trusted if each.issuer == issuer]
    if not trusted:
        raise EntraRefusal(AADSTS[700211], issuer=issuer)
    wrong_case = subject.lower() in [each.subject.lower() for each in trusted]
    trusted = [each for each in trusted if each.subject == subject]
    if not trusted:
        raise EntraRefusal(AADSTS[7002138 if wrong_case else 700213], subject=subject)
    if not any(set(each.audiences) & set(assertion.audiences) for each in trusted):
        raise EntraRefusal(AADSTS[700212], audience=", ".join(assertion.audiences))
