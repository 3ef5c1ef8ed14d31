"""How Entra checks an application's credential. One module a kind: a secret, a certificate, a federated credential."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from o365mailer_emulator.aadsts import AADSTS
from o365mailer_emulator.credential import certificate, federated, secret
from o365mailer_emulator.credential.assertion import Assertion
from o365mailer_emulator.errors import EntraRefusal
from o365mailer_emulator.tenancy import Application, Issuer

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Kind = Literal["secret", "certificate", "federated"]


@dataclass(frozen=True, kw_only=True)
class TokenEndpoint:
    """What the endpoint knows besides the application. ``clock`` gives epoch seconds.

    ``audiences`` are the values of ``aud`` that name it. ``issuers`` are the settings of issuers of
    federated credentials.
    """

    audiences: Sequence[str]
    clock: Callable[[], float]
    issuers: Mapping[str, Issuer] = field(default_factory=dict)


async def judge(form: Mapping[str, str], application: Application, endpoint: TokenEndpoint) -> Kind:
    """The kind of credential in ``form`` that was accepted. Raises EntraRefusal otherwise.

    An assertion that names a certificate by its thumbprint is the application's own (RFC 7523 §3). One without is
    another issuer's, such as the token of a Kubernetes ServiceAccount.
    """
    if form.get("client_assertion"):
        if form.get("client_assertion_type") != JWT_BEARER:
            raise EntraRefusal(AADSTS[900144], parameter="client_assertion_type")
        assertion = Assertion.read(form["client_assertion"])
        if assertion.names_certificate:
            certificate.check(assertion, application, audiences=endpoint.audiences, now=endpoint.clock())
            return "certificate"
        await federated.check(assertion, application, issuers=endpoint.issuers, clock=endpoint.clock)
        return "federated"
    if form.get("client_secret"):
        secret.check(form["client_secret"], application, now=endpoint.clock())
        return "secret"
    raise EntraRefusal(AADSTS[7000216])
