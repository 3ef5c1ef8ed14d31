"""Mailers as the API server has them: what a person wants to know of one. Pure but for `read_mailers`."""

import datetime
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_cli.cluster import MAILERS, NAMESPACES, Cluster, Manifest
from o365mailer_cli.errors import Absent, Forbidden
from o365mailer_contract.names import DOCS, KIND

READY: Final = "Ready"
TOKEN_ISSUED: Final = "TokenIssued"
AUTHENTICATED: Final = "Authenticated"
CREDENTIAL_EXPIRING: Final = "CredentialExpiring"
SUSPENDED: Final = "Suspended"


@dataclass(frozen=True)
class Condition:
    """One condition. `status` is True, False or Unknown, also where there is no such condition yet."""

    status: str = "Unknown"
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Mailer:
    """One mailer."""

    manifest: Manifest

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.manifest["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def mailbox(self) -> str:
        """Its mailbox; empty in a spec that an older CRD let through."""
        return str(self.manifest.get("spec", {}).get("mailbox") or "")

    @property
    def suspended(self) -> bool:
        """Whether its user has stopped it."""
        return bool(self.manifest.get("spec", {}).get("suspend"))

    @property
    def status(self) -> dict[str, Any]:
        """Its status; empty before the controller has looked at it."""
        return self.manifest.get("status") or {}

    @property
    def revision(self) -> int:
        """Of its mailer directory; 0 before the first token."""
        return int(self.status.get("tokenRevision") or 0)

    @property
    def token_expiry(self) -> datetime.datetime | None:
        """When the token in its Secret expires."""
        return instant(self.status.get("tokenExpiry"))

    @property
    def last_refresh(self) -> datetime.datetime | None:
        """When that token was issued."""
        return instant(self.status.get("lastRefresh"))

    def condition(self, kind: str) -> Condition:
        """One condition."""
        for each in self.status.get("conditions") or ():
            if each.get("type") == kind:
                return Condition(each.get("status", "Unknown"), each.get("reason", ""), each.get("message", ""))
        return Condition()

    @property
    def ready(self) -> Condition:
        """Whether pods can submit mail. Unknown: the controller has not looked at it yet."""
        return self.condition(READY)

    def outdated(self, now: datetime.datetime) -> bool:
        """Whether it says Ready although its token has ended: no controller looks at it any more."""
        ended = self.token_expiry is not None and self.token_expiry <= now
        return ended and self.ready.status == "True" and not self.suspended

    @property
    def failed(self) -> bool:
        """Whether its pods cannot mail although its user wants that."""
        return self.ready.status == "False" and not self.suspended


def instant(text: str | None) -> datetime.datetime | None:
    """An API timestamp."""
    return datetime.datetime.fromisoformat(text) if text else None


def reason_link(reason: str) -> str:
    """The section of docs/troubleshooting.md about a condition's reason."""
    return f"{DOCS}/troubleshooting.md#{reason.lower()}"


def read_mailers(cluster: Cluster, *, namespace: str | None, name: str | None = None) -> list[Mailer]:
    """The mailers of a namespace, or of all (None), or the one of this name; sorted.

    Raises Absent: there is no such mailer, no such namespace, or O365 Mailer is not installed.
    """
    try:
        if name:
            return [Mailer(cluster.get(MAILERS, name=name, namespace=namespace))]
        found = [Mailer(each) for each in cluster.list_all(MAILERS, namespace=namespace)]
    except Absent as error:
        if error.kind_missing:
            raise Absent(
                f"The cluster has no {KIND} resources: O365 Mailer is not installed in it, or this is another cluster "
                f"({cluster.server}). {DOCS}/install.md says how to install it.",
                kind_missing=True,
            ) from None
        raise Absent(
            f"There is no mailer {name} in namespace {namespace}{_others(cluster, namespace)}. Name it as kubectl get "
            "o365mailers -A lists it."
        ) from None
    if not found and namespace:
        require_namespace(cluster, namespace)
    return sorted(found, key=str)


def require_namespace(cluster: Cluster, namespace: str) -> None:
    """Raises Absent if the namespace does not exist. A user who may not look is given the benefit of the doubt."""
    try:
        missing = cluster.find(NAMESPACES, name=namespace) is None
    except Forbidden:
        return
    if missing:
        raise Absent(f"There is no namespace {namespace}. kubectl get namespaces lists them; -n names one.")


def _others(cluster: Cluster, namespace: str | None) -> str:
    try:
        names = sorted(each["metadata"]["name"] for each in cluster.list_all(MAILERS, namespace=namespace))
    except (Absent, Forbidden):
        return ""
    return f"; it has {', '.join(names[:10])}" if names else ", which has none"
