"""JSON patch operations (RFC 6902), one for each change: arrays grow, maps get one key, everything else stays.

A patch from a comparison of two documents would also contain every field that we do not know, or that another admission
plugin has changed in between.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

Operation: TypeAlias = dict[str, Any]
"""`{"op": "add" | "remove", "path": JSON pointer, "value": …}`."""


def pointer(*segments: str) -> str:
    """A JSON pointer (RFC 6901 §3: `~` is written `~0`, `/` is written `~1`)."""
    return "".join("/" + segment.replace("~", "~0").replace("/", "~1") for segment in segments)


def append(existing: Collection[object] | None, *path: str, values: list[Any]) -> Iterator[Operation]:
    """Adds the values at the end of an array, which is created if absent."""
    if existing is None:
        yield {"op": "add", "path": pointer(*path), "value": values}
        return
    for value in values:
        yield {"op": "add", "path": pointer(*path, "-"), "value": value}


def insert_first(existing: Collection[object] | None, *path: str, value: Any) -> Iterator[Operation]:
    """Adds the value as the first of an array, which is created if absent; the others move by one."""
    if existing is None:
        yield {"op": "add", "path": pointer(*path), "value": [value]}
    else:
        yield {"op": "add", "path": pointer(*path, "0"), "value": value}


def set_key(existing: Mapping[str, object] | None, *path: str, key: str, value: Any) -> Iterator[Operation]:
    """Sets one key of a map, which is created if absent; the other keys stay."""
    if existing is None:
        yield {"op": "add", "path": pointer(*path), "value": {key: value}}
    else:
        yield set_member(*path, key, value=value)


def set_member(*path: str, value: Any) -> Operation:
    """Adds or replaces a member of an existing object."""
    return {"op": "add", "path": pointer(*path), "value": value}


def remove(*path: str) -> Operation:
    """Removes an existing member."""
    return {"op": "remove", "path": pointer(*path)}
