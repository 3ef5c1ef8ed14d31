"""Reads the Secrets and ConfigMaps that mailers name from the API server's cache, and shares a read among mailers.

Each may have 1 MiB, and a user who may create them and mailers in a namespace may create hundreds. So of each only what
a decision needs is kept, and at most KEPT bytes of all together.

A read with `resourceVersion=0` costs the API server no request to etcd, and is as old as the lag of its watch cache. A
reconcile that wants to write or to ask for a token reads everything again from etcd first (reconcile.py).
https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list, read 2026-11-28.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from o365mailer_operator.controller.cluster import Cluster, Resource
from o365mailer_operator.controller.mailer import Manifest

KEPT: Final = 16 << 20
"""Bytes of all objects that are kept; the oldest go first. 1,000 Secrets of a usual size have 3 MiB."""


@dataclass(frozen=True)
class _Read:
    """An object, when it was requested (monotonic), and about how many bytes it takes."""

    at: float
    found: Manifest = field(repr=False)
    size: int


@dataclass
class DataReader:
    """Reads Secrets and ConfigMaps by name. `clock` is monotonic; a read is kept for `longest` seconds."""

    cluster: Cluster
    longest: float
    clock: Callable[[], float]
    _reads: dict[tuple[Resource, str, str], _Read] = field(default_factory=dict, init=False, repr=False)
    """By kind, namespace and name, the oldest first. A missing object is never in here."""
    _kept: int = field(default=0, init=False)
    """Bytes, of all in `_reads`."""

    async def read(self, kind: Resource, name: str, *, namespace: str, max_age: float) -> Manifest | None:
        """The object as it was at most `max_age` seconds ago; with 0, as etcd has it now. None if there is none.

        Raises ClusterError.
        """
        began, place = self.clock(), (kind, namespace, name)
        known = self._reads.get(place)
        if known is not None and max_age and began - known.at < max_age:
            return known.found
        found = await self.cluster.find(kind, name=name, namespace=namespace, cached=max_age > 0)
        self._forget(place)
        if found is not None:
            found = {"metadata": {"uid": found["metadata"].get("uid")}} | {part: found.get(part) for part in _CONTENT}
            read = self._reads[place] = _Read(began, found, size=_size(found))
            self._kept += read.size
        self._forget_old(began)
        return found

    def _forget(self, place: tuple[Resource, str, str]) -> None:
        if place in self._reads:
            self._kept -= self._reads.pop(place).size

    def _forget_old(self, now: float) -> None:
        while self._reads:
            place, read = next(iter(self._reads.items()))
            if now - read.at < self.longest and self._kept <= KEPT:
                return
            self._forget(place)


_CONTENT: Final = ("data", "binaryData")


def _size(found: Manifest) -> int:
    """Bytes in memory, about: each text, with its entry in a dictionary, costs some 100 bytes more."""
    items = [item for part in _CONTENT for item in (found[part] or {}).items()]
    return sum(len(key) + len(text) + 200 for key, text in items) + 1000
