"""A mailer whose login is checked, from a document or from the cluster, and where its Secrets are read."""

import base64
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from o365mailer_cli.cluster import SECRETS, Cluster
from o365mailer_cli.concurrently import together
from o365mailer_cli.document import Document
from o365mailer_cli.errors import Absent, ClusterError, Forbidden
from o365mailer_cli.mailers import Mailer
from o365mailer_cli.secret_source import SecretSource
from o365mailer_operator.exchange.objects import object_name
from o365mailer_operator.token.errors import SECRET_UNREADABLE, CredentialError, InvalidSpec
from o365mailer_operator.token.grant import secrets_needed
from o365mailer_operator.token.spec import Spec, decode_spec


class Objects(Protocol):
    """Where Secrets come from."""

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        """The Secret's keys; None if there is no such Secret. Raises CredentialError."""

    def place(self, name: str, key: str) -> str:
        """Where the key has to be, for messages; empty if the name says it."""


@dataclass(frozen=True, kw_only=True)
class Applicant:
    """A mailer that applies for a login."""

    subject: str
    """For findings: `namespace/name`, or the name alone."""
    spec: Spec
    secrets: Objects = field(repr=False)
    name: str
    """Of its objects in Exchange, as `o365mailer setup` makes them."""
    setup: str
    """The command that prints the script for it."""
    send_test: str
    """The command that sends a message as it."""
    from_document: bool = False


@dataclass(frozen=True)
class Denied:
    """A mailer whose login cannot be tried: the user may not read its Secrets, or this version knows no such spec."""

    subject: str
    why: str
    forbidden: bool


RUN: Final = "o365mailer run -f FILE, then send one message through it"


def from_document(mailer: Document, source: SecretSource) -> Applicant:
    """The applicant that a document describes."""
    subject = f"{mailer.namespace}/{mailer.name}" if mailer.namespace else mailer.name
    return Applicant(
        subject=subject,
        spec=mailer.spec,
        secrets=source,
        name=object_name(mailer.name, mailer.namespace or ""),
        setup="o365mailer setup -f FILE",
        send_test=RUN,
        from_document=True,
    )


def from_cluster(cluster: Cluster, mailers: Sequence[Mailer]) -> list[Applicant | Denied]:
    """The applicants that mailers of the cluster describe. Reads their Secrets with the user's own rights."""
    specs = {str(mailer): _spec(mailer) for mailer in mailers if not mailer.suspended}
    wanted = sorted(
        {
            (mailer.namespace, name)
            for mailer in mailers
            if isinstance(spec := specs.get(str(mailer)), Spec)
            for name in secrets_needed(spec)
        }
    )
    answers = together(
        [functools.partial(_read, cluster, namespace, name) for namespace, name in wanted], seconds=cluster.timeout * 2
    )
    known = dict(zip(wanted, answers, strict=True))
    found: list[Applicant | Denied] = []
    for mailer in mailers:
        spec = specs.get(str(mailer))
        if isinstance(spec, Spec):
            found.append(_applicant(mailer, spec, known))
        elif spec:
            found.append(spec)
    return found


def _applicant(
    mailer: Mailer, spec: Spec, known: Mapping[tuple[str, str], Mapping[str, bytes] | ClusterError | None]
) -> Applicant | Denied:
    own = {name: known[mailer.namespace, name] for name in secrets_needed(spec)}
    forbidden = next((error for error in own.values() if isinstance(error, Forbidden)), None)
    if forbidden:
        return Denied(str(mailer), str(forbidden), forbidden=True)
    return Applicant(
        subject=str(mailer),
        spec=spec,
        secrets=_InCluster(own),
        name=object_name(mailer.name, mailer.namespace),
        setup=f"o365mailer setup {mailer.name} -n {mailer.namespace}",
        send_test=f"o365mailer send-test {mailer.name} -n {mailer.namespace}",
    )


def _spec(mailer: Mailer) -> Spec | Denied:
    try:
        return decode_spec(mailer.manifest.get("spec"))
    except InvalidSpec as error:
        return Denied(str(mailer), str(error), forbidden=False)


def _read(cluster: Cluster, namespace: str, name: str) -> Mapping[str, bytes] | None:
    try:
        secret = cluster.get(SECRETS, name=name, namespace=namespace)
    except Absent:
        return None
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}


@dataclass(frozen=True)
class _InCluster:
    """Secrets that were read already."""

    found: Mapping[str, Mapping[str, bytes] | ClusterError | None] = field(repr=False)

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        """Raises CredentialError."""
        content = self.found.get(name)
        if isinstance(content, ClusterError):
            raise CredentialError(SECRET_UNREADABLE, f"The Secret {name} cannot be read: {content}", secret=name)
        return content

    def place(self, _name: str, _key: str) -> str:
        """The message names the Secret and the key; there is nothing to add."""
        return ""
