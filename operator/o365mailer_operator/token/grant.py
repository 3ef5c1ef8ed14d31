"""Everything that one token request needs, from a spec, its Secrets and its ConfigMaps. No network, no clock."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from o365mailer_operator.token import certificate, clientsecret, federated
from o365mailer_operator.token.authorities import authorities_of, authority_need
from o365mailer_operator.token.credential import Credential, Need, Source
from o365mailer_operator.token.endpoints import AllowedHosts, Endpoints
from o365mailer_operator.token.spec import Spec


@dataclass(frozen=True)
class Grant:
    """A client-credentials grant (RFC 6749 §4.4), ready to be sent."""

    endpoints: Endpoints
    client_id: str
    credential: Credential
    allowed: AllowedHosts = field(repr=False)
    authorities: str | None = field(default=None, repr=False)
    """PEM of the authorities to trust for the token endpoint; None: the system's."""
    submission_authorities: str | None = field(default=None, repr=False)
    """The same for the submission host: it goes into the mailer directory."""


class _Kind(Protocol):
    """The module of one kind of credential. `part` is the member of the spec that describes it."""

    def needs(self, part: Any) -> frozenset[Need]:
        """The objects that it names."""

    def read(self, part: Any, source: Source, spec: Spec) -> Credential:
        """The credential in them. Raises CredentialError."""


_KINDS: Final[Mapping[str, _Kind]] = {
    "client_secret": clientsecret,
    "certificate": certificate,
    "workload_identity": federated,
}
"""By the member of spec.credential."""


def credential_needs(spec: Spec) -> frozenset[Need]:
    """The objects that a spec's credential is read from."""
    kind, part = _credential(spec)
    return kind.needs(part)


def needs_of(spec: Spec) -> frozenset[Need]:
    """All objects that a spec names."""
    authorities = (authority_need(spec.authority.ca), authority_need(spec.submission.ca))
    return credential_needs(spec) | {need for need in authorities if need}


def secrets_needed(spec: Spec) -> Mapping[str, frozenset[str]]:
    """The names of the Secrets that a spec names, and the keys of each."""
    return _needed(spec, "Secret")


def config_maps_needed(spec: Spec) -> Mapping[str, frozenset[str]]:
    """The same for ConfigMaps."""
    return _needed(spec, "ConfigMap")


def _needed(spec: Spec, kind: str) -> Mapping[str, frozenset[str]]:
    needs = [need for need in needs_of(spec) if need.kind == kind]
    return {name: frozenset(need.key for need in needs if need.name == name) for name in {need.name for need in needs}}


def read_credential(spec: Spec, source: Source) -> Credential:
    """The credential of a spec. Raises CredentialError."""
    kind, part = _credential(spec)
    return kind.read(part, source, spec)


def _credential(spec: Spec) -> tuple[_Kind, Any]:
    return next((kind, part) for name, kind in _KINDS.items() if (part := getattr(spec.credential, name)) is not None)


def grant_of(spec: Spec, source: Source, *, allowed: AllowedHosts) -> Grant:
    """The grant of a spec. Hosts are checked before anything is read.

    Raises TokenError.
    """
    spec.endpoints.check(allowed)
    return Grant(
        endpoints=spec.endpoints,
        client_id=spec.client_id,
        credential=read_credential(spec, source),
        allowed=allowed,
        authorities=authorities_of(spec.authority.ca, source),
        submission_authorities=authorities_of(spec.submission.ca, source),
    )


def token_identity(spec: Spec) -> str:
    """A digest of all that decides which token a spec gets, except the credential's content. It reveals no secret.

    Two specs of one identity can share a token; a token of another identity must not be used.
    """
    parts = (spec.endpoints.authority, spec.endpoints.scope, spec.client_id.lower())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
