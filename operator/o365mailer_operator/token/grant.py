"""Everything that one token request needs, from a spec and its Secrets. No network, no clock."""

import hashlib
from dataclasses import dataclass, field

from o365mailer_operator.token.certificate import read_authorities
from o365mailer_operator.token.credential import Credential, ReadSecret, read_credential, read_file
from o365mailer_operator.token.endpoints import AllowedHosts, Endpoints
from o365mailer_operator.token.spec import AuthoritiesRef, Spec


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


def grant_of(spec: Spec, read: ReadSecret, *, allowed: AllowedHosts) -> Grant:
    """The grant of a spec. Hosts are checked before any Secret is read.

    Raises TokenError.
    """
    spec.endpoints.check(allowed)
    return Grant(
        endpoints=spec.endpoints,
        client_id=spec.client_id,
        credential=read_credential(spec, read),
        allowed=allowed,
        authorities=authorities_of(spec.authority.ca_secret_ref, read),
        submission_authorities=authorities_of(spec.submission.ca_secret_ref, read),
    )


def token_identity(spec: Spec) -> str:
    """A digest of all that decides which token a spec gets, except the credential's content. It reveals no secret.

    Two specs of one identity can share a token; a token of another identity must not be used.
    """
    parts = (spec.endpoints.authority, spec.endpoints.scope, spec.client_id.lower())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def authorities_of(ref: AuthoritiesRef | None, read: ReadSecret) -> str | None:
    """The PEM authorities that a reference names; None without one. Raises CredentialError."""
    if ref is None:
        return None
    return read_authorities(read_file(ref.name, ref.key, read), secret=ref.name, key=ref.key)
