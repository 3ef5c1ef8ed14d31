"""Findings on the CustomResourceDefinition: whether the API server keeps every member that this version reads. Pure.

The API server prunes a member that its schema lacks, without a word. With an outdated CRD, `recipients.redirectTo`
would be lost, and a staging cluster would mail customers. The schema is read from `/openapi/v3`, which every user may.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from o365mailer_cli.cluster import Manifest
from o365mailer_cli.errors import Absent, ClusterError
from o365mailer_cli.finding import Finding, Status
from o365mailer_contract.names import API_VERSION, DOCS, GROUP, KIND, RELEASE, VERSION
from o365mailer_operator.token.spec import Spec

OPENAPI: Final = f"/openapi/v3/apis/{API_VERSION}"
SCHEMA: Final = f"{'.'.join(reversed(GROUP.split('.')))}.{VERSION}.{KIND}"
"""The schema's name in the document: the group's parts come in reverse order."""
INSTALL: Final = f"{DOCS}/install.md"
STATUS_MEMBERS: Final = (
    *("observedGeneration", "conditions", "secretName", "tokenExpiry", "tokenRevision", "lastRefresh", "nextRefresh"),
    *("failedAttempts", "lastAttempt", "lastAttemptTime", "lastFailureTime", "login"),
)
"""What the controller writes into the status."""


def needed_members() -> frozenset[str]:
    """The members that this version reads or writes, such as `spec.recipients.redirectTo`."""
    status = (f"status.{member}" for member in STATUS_MEMBERS)
    return frozenset([*_spec_members(msgspec.inspect.type_info(Spec), "spec"), *status])


def schema_finding(document: Manifest | ClusterError) -> Iterator[Finding]:
    """What is to be said of the served schema. `document` is what OPENAPI serves."""
    name = "crd.schema"
    if isinstance(document, Absent):
        yield Finding(
            name="crd.installed",
            status=Status.FAILED,
            title=f"the cluster has no {KIND} resources",
            cause=f"The API server does not serve {API_VERSION}: O365 Mailer is not installed, or its "
            "CustomResourceDefinition was deleted.",
            remedy="Install O365 Mailer with its chart, or apply crds/o365mailers.yaml of the installed version.",
            link=INSTALL,
        )
        return
    if isinstance(document, ClusterError):
        yield Finding(
            name=name,
            status=Status.UNKNOWN,
            title="the served schema could not be read",
            cause=str(document),
            remedy="Try again.",
            link=INSTALL,
        )
        return
    yield Finding(name="crd.installed", status=Status.OK, title=f"{API_VERSION} is served")
    served = frozenset(served_members(document))
    missing = sorted(needed_members() - served)
    unknown = sorted(served - needed_members())
    if missing:
        yield Finding(
            name=name,
            status=Status.FAILED,
            title=f"the CustomResourceDefinition is older than version {RELEASE}",
            cause=f"It lacks {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}. The API server "
            "removes these members from every mailer, and says nothing.",
            remedy=f"Apply the CRD of version {RELEASE}: kubectl apply --server-side -f crds/o365mailers.yaml. Then "
            "apply again the mailers that use these members. The chart does it unless crds.enabled is false.",
            link=INSTALL,
        )
    elif unknown:
        yield Finding(
            name=name,
            status=Status.WARNING,
            title=f"the CustomResourceDefinition is newer than version {RELEASE}",
            cause=f"It has {', '.join(unknown[:5])}{' and others' if len(unknown) > 5 else ''}, which this command "
            "does not know. A controller of this version would ignore it.",
            remedy="Use the command, the controller and the CRD of one version.",
            link=INSTALL,
        )
    else:
        yield Finding(name=name, status=Status.OK, title="the CustomResourceDefinition has every member")


def served_members(document: Manifest) -> Iterator[str]:
    """The members of spec and status in an OpenAPI document, in the form of `needed_members`."""
    schema = document.get("components", {}).get("schemas", {}).get(SCHEMA, {})
    properties = schema.get("properties") or {}
    yield from _served(properties.get("spec") or {}, "spec")
    yield from (f"status.{member}" for member in (properties.get("status") or {}).get("properties") or {})


def _served(schema: Manifest, path: str) -> Iterator[str]:
    if path != "spec":
        yield path
    for member, below in (schema.get("properties") or schema.get("items", {}).get("properties") or {}).items():
        yield from _served(below, f"{path}.{member}")


def _spec_members(kind: Any, path: str) -> Iterator[str]:
    if path != "spec":
        yield path
    for struct in _structs(kind):
        for member in struct.fields:
            yield from _spec_members(member.type, f"{path}.{member.encode_name}")


def _structs(kind: Any) -> Iterator[msgspec.inspect.StructType]:
    if isinstance(kind, msgspec.inspect.StructType):
        yield kind
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _structs(each)
    elif isinstance(kind, msgspec.inspect.VarTupleType):
        yield from _structs(kind.item_type)
    elif isinstance(kind, msgspec.inspect.Metadata):
        yield from _structs(kind.type)
