"""Reads the Secrets that mailers name from the API server's cache, and shares a read among mailers for a while.

A Secret may have 1 MiB, and a user who may create Secrets and mailers in a namespace may create hundreds. So of each
only what a decision needs is kept, and at most KEPT bytes of all together.

A read with `resourceVersion=0` costs the API server no request to etcd, and is as old as the lag of its watch cache. A
reconcile that wants to write or to ask for a token reads everything again from etcd first (reconcile.py).
https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list, read 2026-11-28.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from o365mailer_operator.controller.cluster import SECRETS, Cluster
from o365mailer_operator.controller.mailer import Manifest

KEPT: Final = 16 << 20
"""Bytes of all Secrets that are kept; the oldest go first. 1,000 of a usual size have 3 MiB."""


@dataclass(frozen=True)
class _Read:
    """A Secret, when it was requested (monotonic), and about how many bytes it takes."""

    at: float
    secret: Manifest = field(repr=False)
    size: int


@dataclass
class SecretReader:
    """Reads Secrets by name. `clock` is monotonic; a read is kept for `longest` seconds."""

    cluster: Cluster
    longest: float
    clock: Callable[[], float]
    _reads: dict[tuple[str, str], _Read] = field(default_factory=dict, init=False, repr=False)
    """By namespace and name, the oldest first. A missing Secret is never in here."""
    _kept: int = field(default=0, init=False)
    """Bytes, of all in `_reads`."""

    async def read(self, name: str, *, namespace: str, max_age: float) -> Manifest | None:
        """The Secret as it was at most `max_age` seconds ago; with 0, as etcd has it now. None if there is none.

        Raises ClusterError.
        """
        began, place = self.clock(), (namespace, name)
        known = self._reads.get(place)
        if known is not None and max_age and began - known.at < max_age:
            return known.secret
        secret = await self.cluster.find(SECRETS, name=name, namespace=namespace, cached=max_age > 0)
        self._forget(place)
        if secret is not None:
            secret = {"metadata": {"uid": secret["metadata"].get("uid")}, "data": secret.get("data")}
            read = self._reads[place] = _Read(began, secret, size=_size(secret))
            self._kept += read.size
        self._forget_old(began)
        return secret

    def _forget(self, place: tuple[str, str]) -> None:
        if place in self._reads:
            self._kept -= self._reads.pop(place).size

    def _forget_old(self, now: float) -> None:
        while self._reads:
            place, read = next(iter(self._reads.items()))
            if now - read.at < self.longest and self._kept <= KEPT:
                return
            self._forget(place)


def _size(secret: Manifest) -> int:
    """Bytes in memory, about: each text, with its entry in a dictionary, costs some 100 bytes more."""
    return sum(len(key) + len(text) + 200 for key, text in (secret["data"] or {}).items()) + 1000
