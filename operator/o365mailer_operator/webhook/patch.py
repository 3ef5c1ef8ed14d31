"""JSON patch operations (RFC 6902), built by hand: arrays are appended to, maps get one key, nothing else is touched.

A patch made by comparing two documents would also carry every field that we do not know or that another admission
plugin has changed meanwhile; an operation a change is what we mean and no more.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

Operation: TypeAlias = dict[str, Any]
"""`{"op": "add" | "remove", "path": JSON pointer, "value": …}`."""


def pointer(*segments: str) -> str:
    """A JSON pointer (RFC 6901 §3: `~` is written `~0`, `/` is written `~1`)."""
    return "".join("/" + segment.replace("~", "~0").replace("/", "~1") for segment in segments)


def append(existing: Collection[object] | None, *path: str, values: list[Any]) -> Iterator[Operation]:
    """The values at the end of an array, which is made when it is absent."""
    if existing is None:
        yield {"op": "add", "path": pointer(*path), "value": values}
        return
    for value in values:
        yield {"op": "add", "path": pointer(*path, "-"), "value": value}


def insert_first(existing: Collection[object] | None, *path: str, value: Any) -> Iterator[Operation]:
    """The value as the first of an array, which is made when it is absent; what was there moves back by one."""
    if existing is None:
        yield {"op": "add", "path": pointer(*path), "value": [value]}
    else:
        yield {"op": "add", "path": pointer(*path, "0"), "value": value}


def set_key(existing: Mapping[str, object] | None, *path: str, key: str, value: Any) -> Iterator[Operation]:
    """One key of a map, which is made when it is absent; the map's other keys stay."""
    if existing is None:
        yield {"op": "add", "path": pointer(*path), "value": {key: value}}
    else:
        yield set_member(*path, key, value=value)


def set_member(*path: str, value: Any) -> Operation:
    """A member of an object that exists: added, or given a new value."""
    return {"op": "add", "path": pointer(*path), "value": value}


def remove(*path: str) -> Operation:
    """A member that exists is taken away."""
    return {"op": "remove", "path": pointer(*path)}
