"""Workload identity: a Kubernetes ServiceAccount proves who the application is, and no secret is stored.

The application has a federated credential in Entra, which trusts the issuer of this cluster for one ServiceAccount. The
controller asks the API server for a token of that ServiceAccount and presents it to Entra as a client assertion (RFC
7523 §2.2). Entra compares issuer, subject and audience with the federated credential, letter by letter, and checks the
signature with the keys that the issuer publishes.

A user who may write mailers must not be able to use every ServiceAccount of the namespace. So the ServiceAccount opts
in: an annotation names the one application that its tokens may be presented for.

https://learn.microsoft.com/entra/workload-id/workload-identity-federation and
https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/, read 2026-11-28.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_contract import names
from o365mailer_operator.printable import printable
from o365mailer_operator.token.answer import Presented
from o365mailer_operator.token.bearer import Token, claims_of
from o365mailer_operator.token.credential import Attempt, Need, Proof, ServiceAccount, Source
from o365mailer_operator.token.errors import (
    SERVICE_ACCOUNT_NOT_FOUND,
    SERVICE_ACCOUNT_NOT_OPTED_IN,
    TOKEN_REQUEST_FAILED,
    ServiceAccountError,
)
from o365mailer_operator.token.spec import Spec, WorkloadIdentityCredential

LONGEST_SHOWN: Final = 300
"""Characters of a claim in a message. A ServiceAccount's subject has at most 345."""


@dataclass(frozen=True)
class WorkloadIdentity:
    """A ServiceAccount that has opted in for this application."""

    account: ServiceAccount
    client_id: str
    audience: str

    def __str__(self) -> str:
        return f"the ServiceAccount {self.account.name}"

    def content(self) -> Sequence[bytes]:
        """A ServiceAccount that was deleted and made again is another one, as it is for the API server."""
        return (self.account.uid.encode(), self.account.client_id.lower().encode())

    async def acquire(self, attempt: Attempt) -> Token:
        """A token of Entra's for one of the ServiceAccount's. Raises TokenError."""
        assertion = await attempt.service_account_token(self.account, self.audience)
        claims = claims_of(assertion)
        if _uid_in(claims) != self.account.uid:
            raise ServiceAccountError(
                TOKEN_REQUEST_FAILED,
                f"The ServiceAccount {self.account.name} was deleted or replaced meanwhile. It is tried again.",
                service_account=self.account.name,
            )
        # A callable, because MSAL warns about a text: a process that lives long has to renew it.
        proof = Proof(str(self), self._presented(claims), {"client_assertion": lambda: assertion})
        return await attempt.ask(proof)

    def _presented(self, claims: Mapping[str, Any]) -> Presented:
        """The assertion in words: what a person compares with the federated credential. Never the assertion itself."""
        issuer, subject = _shown(claims.get("iss")), _shown(claims.get("sub"))
        audiences = claims.get("aud")
        audience = _shown(audiences[0] if isinstance(audiences, list) and audiences else audiences)
        return Presented(
            f"the token of the ServiceAccount {self.account.namespace}/{self.account.name} "
            f"(issuer {issuer}, subject {subject}, audience {audience})",
            command=create_command(
                self.client_id, federated_credential(self.account, issuer=issuer, subject=subject, audience=audience)
            ),
        )


def needs(part: WorkloadIdentityCredential) -> frozenset[Need]:
    """The ServiceAccount that a spec names."""
    return frozenset({Need("ServiceAccount", part.service_account_ref.name)})


def read(part: WorkloadIdentityCredential, source: Source, spec: Spec) -> WorkloadIdentity:
    """The credential of a spec. Raises ServiceAccountError."""
    name = part.service_account_ref.name
    account = source.service_account(name)
    if account is None:
        raise ServiceAccountError(
            SERVICE_ACCOUNT_NOT_FOUND,
            f"There is no ServiceAccount {name} in the mailer's namespace. Create it (kubectl create serviceaccount "
            f"{name}), or name another one in spec.credential.workloadIdentity.",
            service_account=name,
        )
    if account.client_id.lower() != spec.client_id.lower():
        raise _not_opted_in(account, spec.client_id)
    return WorkloadIdentity(account, spec.client_id, spec.endpoints.federation_audience)


def subject_of(namespace: str, name: str) -> str:
    """The subject of a ServiceAccount's tokens."""
    return f"system:serviceaccount:{namespace}:{name}"


def credential_name(namespace: str, name: str) -> str:
    """A name for the federated credential of a ServiceAccount: letters, digits and hyphens, at most 120."""
    return f"{namespace}-{name}".replace(".", "-")[:120]


def federated_credential(account: ServiceAccount, *, issuer: str, subject: str, audience: str) -> Mapping[str, Any]:
    """A federated credential as Microsoft Graph writes it."""
    return {
        "name": credential_name(account.namespace, account.name),
        "issuer": issuer,
        "subject": subject,
        "audiences": [audience],
    }


def create_command(client_id: str, credential: Mapping[str, Any]) -> str:
    """The command that adds a federated credential to an application."""
    parameters = shlex.quote(json.dumps(credential))
    return f"az ad app federated-credential create --id {client_id} --parameters {parameters}"


def _not_opted_in(account: ServiceAccount, client_id: str) -> ServiceAccountError:
    found = "is missing"
    if account.client_id:
        found = f"is {_shown(account.client_id)}, and not the mailer's spec.clientId"
    overwrite = " --overwrite" if account.client_id else ""
    return ServiceAccountError(
        SERVICE_ACCOUNT_NOT_OPTED_IN,
        f"The ServiceAccount {account.name} does not allow this application: its annotation "
        f"{names.WORKLOAD_IDENTITY_ANNOTATION} {found}. To allow it, run: kubectl annotate{overwrite} serviceaccount "
        f"{account.name} --namespace {account.namespace} {names.WORKLOAD_IDENTITY_ANNOTATION}={client_id}",
        service_account=account.name,
    )


def _uid_in(claims: Mapping[str, Any]) -> str:
    """The ServiceAccount's uid in the API server's private claims."""
    try:
        return str(claims["kubernetes.io"]["serviceaccount"]["uid"])
    except (KeyError, TypeError):
        return ""


def _shown(value: object) -> str:
    return printable(str(value), longest=LONGEST_SHOWN)
