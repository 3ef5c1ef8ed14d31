"""A whole O365Mailer document that a user wrote into a file. No API server has validated it."""

import difflib
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from o365mailer_contract.names import API_VERSION, KIND
from o365mailer_operator.token.endpoints import AUTHORITY_PORT, AllowedHosts, Endpoints, Remedies
from o365mailer_operator.token.errors import InvalidSpec
from o365mailer_operator.token.spec import Spec, decode_spec

NAME_PATTERN: Final = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
"""A mailer's name: a DNS label (RFC 1123) of 40 characters at most, so that names made from it stay legal."""

_TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")


@dataclass(frozen=True)
class Document:
    """One O365Mailer: its name, namespace and spec."""

    name: str
    namespace: str | None
    spec: Spec


def named_hosts(endpoints: Endpoints) -> AllowedHosts:
    """Only the hosts that the mailer names, because its user owns both the spec and the secret."""
    authority = urlsplit(endpoints.authority)
    return AllowedHosts(
        authority={f"{authority.hostname}:{authority.port or AUTHORITY_PORT}"},
        submission={f"{endpoints.submission_host}:{endpoints.submission_port}"},
        remedies=Remedies("Check spec.authority.url.", "Check spec.submission."),
    )


def decode_document(document: Any) -> Document:
    """The mailer in a decoded document. Stricter than the API server: an unknown member is an error.

    Raises InvalidSpec. Its text begins with the path of the fault.
    """
    if not isinstance(document, Mapping):
        raise InvalidSpec(f"the document: expected one {KIND} object, got {_kind_of(document)}.")
    _check_head(document)
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping):
        raise InvalidSpec("metadata: expected an object with a name.")
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        raise InvalidSpec("metadata.name: expected lower-case letters, digits and hyphens, 40 characters at most.")
    if not (namespace is None or isinstance(namespace, str)):
        raise InvalidSpec("metadata.namespace: expected a text.")
    if "spec" not in document:
        raise InvalidSpec("spec: is missing.")
    spec = document["spec"]
    for path in unknown_members(spec, Spec, "spec"):
        raise InvalidSpec(path)
    for path in broken_lines(spec, "spec"):
        raise InvalidSpec(path)
    return Document(name, namespace, decode_spec(spec))


def _check_head(document: Mapping[Any, Any]) -> None:
    for member, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(member) != expected:
            found = repr(document[member]) if member in document else "nothing"
            raise InvalidSpec(f"{member}: expected {expected}, got {found}.")
    for member in document:
        if member not in _TOP:
            raise InvalidSpec(f"{member}: there is no such member{_meant(str(member), _TOP)}.")


def unknown_members(value: Any, kind: Any, path: str) -> Iterator[str]:
    """One text for each member of `value` that `kind` does not have, with the nearest one that it has."""
    struct = _struct_in(kind)
    if struct is None or not isinstance(value, Mapping):
        if isinstance(value, list | tuple):
            for index, item in enumerate(value):
                yield from unknown_members(item, _item_of(kind), f"{path}[{index}]")
        return
    known = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    for name, member in value.items():
        if name in known:
            yield from unknown_members(member, known[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}: there is no such member{_meant(str(name), tuple(known))}."


def broken_lines(value: Any, path: str) -> Iterator[str]:
    """One text for each value with a line break: Python's `$` allows one at the end, the API server's does not.

    `|` and `>` in YAML produce them. One in a host or a mailbox would fail only much later, with a worse message.
    """
    if isinstance(value, str) and "\n" in value:
        yield f"{path}: there is a line break in it. Write it on one line, without | or >."
    members = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield from broken_lines(member, f"{path}.{name}" if isinstance(value, Mapping) else f"{path}[{name}]")


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    for candidate in (kind, *typing.get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _item_of(kind: Any) -> Any:
    """The element type of an annotation such as `Annotated[tuple[X, ...], …]`; None if it has none."""
    if typing.get_origin(kind) is tuple:
        return typing.get_args(kind)[0]
    return next((found for part in typing.get_args(kind) if (found := _item_of(part)) is not None), None)


def _meant(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; {near[0]} is near" if near else f"; there are {', '.join(known)}"


def _kind_of(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
