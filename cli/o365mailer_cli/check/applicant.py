"""A mailer whose login is checked, from a document or from the cluster, and where what it names is read."""

import base64
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from o365mailer_cli.cluster import CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS, Cluster, Resource
from o365mailer_cli.concurrently import together
from o365mailer_cli.document import Document
from o365mailer_cli.errors import Absent, ClusterError, Forbidden
from o365mailer_cli.mailers import Mailer
from o365mailer_cli.object_source import Content, ObjectSource
from o365mailer_operator.exchange.objects import object_name
from o365mailer_operator.token.credential import ServiceAccount
from o365mailer_operator.token.errors import (
    CONFIG_MAP_UNREADABLE,
    SECRET_UNREADABLE,
    SERVICE_ACCOUNT_UNREADABLE,
    ConfigMapError,
    CredentialError,
    InvalidSpec,
    ServiceAccountError,
    TokenError,
)
from o365mailer_operator.token.grant import config_maps_needed, secrets_needed
from o365mailer_operator.token.spec import Spec, decode_spec


@dataclass(frozen=True, kw_only=True)
class Applicant:
    """A mailer that applies for a login."""

    subject: str
    """For findings: `namespace/name`, or the name alone."""
    spec: Spec
    source: ObjectSource = field(repr=False)
    name: str
    """Of its objects in Exchange, as `o365mailer setup` makes them."""
    setup: str
    """The command that prints the script for it."""
    send_test: str
    """The command that sends a message as it."""
    from_document: bool = False


Kind = Literal["Secret", "ConfigMap", "ServiceAccount"]


class Place(NamedTuple):
    """An object that a mailer names."""

    kind: Kind
    namespace: str
    name: str


KINDS: Final[Mapping[Kind, Resource]] = {
    "Secret": SECRETS,
    "ConfigMap": CONFIG_MAPS,
    "ServiceAccount": SERVICE_ACCOUNTS,
}
Read = Content | ServiceAccount | ClusterError | None
"""What was read, why it was not, or None if there is no such object."""


@dataclass(frozen=True)
class Denied:
    """A mailer whose login cannot be tried: the user may not read what it names, or this version knows no such spec."""

    subject: str
    why: str
    forbidden: bool


RUN: Final = "o365mailer run -f FILE, then send one message through it"


def from_document(mailer: Document, source: ObjectSource) -> Applicant:
    """The applicant that a document describes."""
    subject = f"{mailer.namespace}/{mailer.name}" if mailer.namespace else mailer.name
    return Applicant(
        subject=subject,
        spec=mailer.spec,
        source=source,
        name=object_name(mailer.name, mailer.namespace or ""),
        setup="o365mailer setup -f FILE",
        send_test=RUN,
        from_document=True,
    )


def from_cluster(cluster: Cluster, mailers: Sequence[Mailer]) -> list[Applicant | Denied]:
    """The applicants that mailers of the cluster describe. Reads what they name with the user's own rights."""
    specs = {str(mailer): _spec(mailer) for mailer in mailers if not mailer.suspended}
    wanted = sorted(
        {
            place
            for mailer in mailers
            if isinstance(spec := specs.get(str(mailer)), Spec)
            for place in _places(mailer, spec)
        }
    )
    answers = together([functools.partial(_read, cluster, place) for place in wanted], seconds=cluster.timeout * 2)
    known = dict(zip(wanted, answers, strict=True))
    found: list[Applicant | Denied] = []
    for mailer in mailers:
        spec = specs.get(str(mailer))
        if isinstance(spec, Spec):
            found.append(_applicant(mailer, spec, known))
        elif spec:
            found.append(spec)
    return found


def _places(mailer: Mailer, spec: Spec) -> Iterator[Place]:
    """What a spec names."""
    for name in secrets_needed(spec):
        yield Place("Secret", mailer.namespace, name)
    for name in config_maps_needed(spec):
        yield Place("ConfigMap", mailer.namespace, name)
    if identity := spec.credential.workload_identity:
        yield Place("ServiceAccount", mailer.namespace, identity.service_account_ref.name)


def _applicant(mailer: Mailer, spec: Spec, known: Mapping[Place, Read]) -> Applicant | Denied:
    own = {(place.kind, place.name): known[place] for place in _places(mailer, spec)}
    forbidden = next((error for error in own.values() if isinstance(error, Forbidden)), None)
    if forbidden:
        return Denied(str(mailer), str(forbidden), forbidden=True)
    return Applicant(
        subject=str(mailer),
        spec=spec,
        source=_InCluster(own),
        name=object_name(mailer.name, mailer.namespace),
        setup=f"o365mailer setup {mailer.name} -n {mailer.namespace}",
        send_test=f"o365mailer send-test {mailer.name} -n {mailer.namespace}",
    )


def _spec(mailer: Mailer) -> Spec | Denied:
    try:
        return decode_spec(mailer.manifest.get("spec"))
    except InvalidSpec as error:
        return Denied(str(mailer), str(error), forbidden=False)


def _read(cluster: Cluster, place: Place) -> Content | ServiceAccount | None:
    try:
        found = cluster.get(KINDS[place.kind], name=place.name, namespace=place.namespace)
    except Absent:
        return None
    if place.kind == "ServiceAccount":
        return ServiceAccount.of(found)
    if place.kind == "Secret":
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    texts = {key: value.encode(errors="surrogatepass") for key, value in (found.get("data") or {}).items()}
    return texts | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


@dataclass(frozen=True)
class _InCluster:
    """Secrets, ConfigMaps and ServiceAccounts that were read already, by kind and name."""

    found: Mapping[tuple[Kind, str], Read] = field(repr=False)

    def secret(self, name: str) -> Content | None:
        """Raises CredentialError."""
        content = self.found.get(("Secret", name))
        if isinstance(content, ClusterError):
            raise CredentialError(SECRET_UNREADABLE, f"The Secret {name} cannot be read: {content}", secret=name)
        return content if isinstance(content, Mapping) else None

    def config_map(self, name: str) -> Content | None:
        """Raises ConfigMapError."""
        content = self.found.get(("ConfigMap", name))
        if isinstance(content, ClusterError):
            text = f"The ConfigMap {name} cannot be read: {content}"
            raise ConfigMapError(CONFIG_MAP_UNREADABLE, text, config_map=name)
        return content if isinstance(content, Mapping) else None

    def service_account(self, name: str) -> ServiceAccount | None:
        """Raises ServiceAccountError."""
        account = self.found.get(("ServiceAccount", name))
        if isinstance(account, ClusterError):
            text = f"The ServiceAccount {name} cannot be read: {account}"
            raise ServiceAccountError(SERVICE_ACCOUNT_UNREADABLE, text, service_account=name)
        return account if isinstance(account, ServiceAccount) else None

    def place(self, _error: TokenError) -> str:
        """The message names the object and the key; there is nothing to add."""
        return ""
