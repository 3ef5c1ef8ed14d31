"""How the Secrets that mailers name are read: from the API server's cache, and one that many name only now and then.

A read with `resourceVersion=0` costs the API server no request to etcd, and may be old by as much as its watch cache
lags. A look that decides to write or to ask for a token reads everything anew from etcd first (visit.py).
https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list, read 2026-11-28.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from o365mailer_operator.controller.cluster import SECRETS, Cluster, Manifest


@dataclass
class SecretReader:
    """Reads Secrets by name. `clock` is monotonic; a read is kept for `longest` seconds."""

    cluster: Cluster
    longest: float
    clock: Callable[[], float]
    _reads: dict[tuple[str, str], tuple[float, Manifest]] = field(default_factory=dict, init=False, repr=False)
    """By namespace and name, the oldest first. A Secret that is missing is never in here."""

    async def read(self, name: str, *, namespace: str, max_age: float) -> Manifest | None:
        """The Secret as it was at most `max_age` seconds ago; with 0 as etcd has it now. None where there is none.

        Raises ClusterError.
        """
        began, place = self.clock(), (namespace, name)
        read_at, known = self._reads.get(place, (float("-inf"), None))
        if known is not None and max_age and began - read_at < max_age:
            return known
        secret = await self.cluster.find(SECRETS, name=name, namespace=namespace, cached=max_age > 0)
        self._reads.pop(place, None)
        if secret is not None:
            self._reads[place] = (began, secret)
        self._forget_old(began)
        return secret

    def _forget_old(self, now: float) -> None:
        while self._reads:
            place, (read_at, _) = next(iter(self._reads.items()))
            if now - read_at < self.longest:
                return
            del self._reads[place]
