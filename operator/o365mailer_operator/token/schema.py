"""Whether the CustomResourceDefinition that the API server has keeps every member of a mailer. Pure.

The API server prunes a member that its schema lacks, without a word. With an outdated CRD, `recipients.redirectTo`
would be lost, and a staging cluster would mail customers. The schema is read from `/openapi/v3`, which every user and
every ServiceAccount may (the ClusterRole system:discovery).
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning
"""

import functools
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

from o365mailer_contract.names import API_VERSION, GROUP, KIND, RELEASE, VERSION
from o365mailer_operator.token.spec import Spec

OPENAPI: Final = f"/openapi/v3/apis/{API_VERSION}"
"""The document's path. It is not there while no CRD is."""
SCHEMA: Final = f"{'.'.join(reversed(GROUP.split('.')))}.{VERSION}.{KIND}"
"""The schema's name in the document: the group's parts come in reverse order."""
SHOWN: Final = 5
"""Members that a text names at most."""

OUTDATED: Final = f"the CustomResourceDefinition is older than version {RELEASE}"
REMEDY: Final = (
    f"Apply the CRD of version {RELEASE}: kubectl apply --server-side -f crds/o365mailers.yaml. Then apply again the "
    "mailers that use these members. The chart does it unless crds.enabled is false."
)


@functools.cache
def spec_members() -> frozenset[str]:
    """The members of a spec that this version reads, such as `spec.recipients.redirectTo`.

    Reading the types takes milliseconds, and the controller asks again and again.
    """
    return frozenset(_members(msgspec.inspect.type_info(Spec), "spec"))


def served_members(document: Mapping[str, Any]) -> frozenset[str]:
    """The members of spec and status in what OPENAPI serves. Of the status only the first level."""
    schema = document.get("components", {}).get("schemas", {}).get(SCHEMA, {})
    properties = schema.get("properties") or {}
    status = (properties.get("status") or {}).get("properties") or {}
    return frozenset([*_served(properties.get("spec") or {}, "spec"), *(f"status.{member}" for member in status)])


def pruned(missing: Collection[str]) -> str:
    """What becomes of the members that the schema lacks, in words."""
    members = sorted(missing)
    others = " and others" if len(members) > SHOWN else ""
    return (
        f"It lacks {', '.join(members[:SHOWN])}{others}. The API server removes these members from every mailer, and "
        "says nothing."
    )


def _served(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if path != "spec":
        yield path
    for member, below in (schema.get("properties") or schema.get("items", {}).get("properties") or {}).items():
        yield from _served(below, f"{path}.{member}")


def _members(kind: Any, path: str) -> Iterator[str]:
    if path != "spec":
        yield path
    for struct in _structs(kind):
        for member in struct.fields:
            yield from _members(member.type, f"{path}.{member.encode_name}")


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
