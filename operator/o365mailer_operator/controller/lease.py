"""One active controller, by a Lease of the API (coordination.k8s.io/v1).

The client library's own elector is not used: it goes on renewing when the work it guards has died, does not release,
believes the wall clock, and lets a hung request outlive the Lease. Here:

- whoever waits takes over when the record has not changed for its `leaseDurationSeconds` on *this* process's monotonic
  clock; clocks of different machines are never compared (as client-go does it);
- the holder counts its own deadline from before each renewal was sent, and stops at two thirds of the duration, so
  that it is silent before anybody else can begin;
- a request may take a third of the duration at most;
- `leaseDurationSeconds` is four fifths of the duration: with two pauses between looks, the fifth that is left, another
  replica is at work within the duration.
"""

import asyncio
import dataclasses
import datetime
import logging
from collections.abc import Callable
from typing import Any, Final

from o365mailer_operator.controller.cluster import LEASES, Cluster, Manifest
from o365mailer_operator.controller.cluster_errors import ClusterError, Conflict, Unavailable
from o365mailer_operator.controller.events import micro_time

RENEW_SHARE: Final = 2 / 3
REQUEST_SHARE: Final = 1 / 3
EXPIRY_SHARE: Final = 4 / 5
RETRY_SHARE: Final = 1 / 10
"""Of the duration: 10, 5, 12 and 1.5 s of 15 s."""
SHORTEST: Final = 5.0
"""Seconds. The record counts whole seconds; a shorter duration would leave no time between silence and expiry."""

log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """The Lease could not be renewed in time, or somebody else has it: stop at once."""


@dataclasses.dataclass(frozen=True)
class _Sighting:
    """The record as it was last seen to change, and when (monotonic)."""

    version: str
    at: float


class Lease:
    """The Lease of one name, as one process sees it. `identity` is unique to the process, not to the pod.

    `duration` seconds; `clock` is monotonic, `wall` is only written for people to read.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: float,
        clock: Callable[[], float],
        wall: Callable[[], datetime.datetime],
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.name = name
        self.identity = identity
        self.duration = duration
        self.clock = clock
        self.wall = wall
        self.deadline = float("-inf")
        self.sighting: _Sighting | None = None
        self.looked = False
        """Whether the API server has ever answered about it."""

    @property
    def held(self) -> bool:
        """Whether we may act now. Ask again before each act that nobody may do twice."""
        return self.clock() < self.deadline

    async def acquire(self) -> None:
        """Returns when the Lease is ours."""
        standing_by = False
        while True:
            try:
                if await self._attempt():
                    return
                if not standing_by:
                    log.info("standing by: another replica holds the Lease", extra={"lease": self.name})
                    standing_by = True
            except ClusterError as error:
                log.warning("the Lease could not be looked at", extra={"error": str(error)})
            await asyncio.sleep(self.duration * RETRY_SHARE)

    async def hold(self) -> None:
        """Renews for as long as it can. Ends only by raising LeaseLost."""
        while self.held:
            await asyncio.sleep(min(self.duration * RETRY_SHARE, max(0.0, self.deadline - self.clock())))
            try:
                if not await self._attempt():
                    raise LeaseLost("another replica holds the Lease")
            except ClusterError as error:
                log.warning("the Lease could not be renewed", extra={"error": str(error)})
        raise LeaseLost(f"the Lease could not be renewed for {self.duration * RENEW_SHARE:g} s")

    async def release(self) -> None:
        """Give it back, so that another replica need not wait. Failing to is no harm."""
        if not self.held:
            return
        self.deadline = float("-inf")
        try:
            lease = await self.cluster.get(LEASES, name=self.name, namespace=self.namespace)
            if lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self.cluster.replace(LEASES, lease, namespace=self.namespace)
        except ClusterError as error:
            log.warning("the Lease could not be released", extra={"error": str(error)})

    async def _attempt(self) -> bool:
        """Take or renew the Lease. False where it is somebody else's; raises ClusterError where nobody knows."""
        began = self.clock()
        try:
            async with asyncio.timeout(self.duration * REQUEST_SHARE):
                taken = await self._take()
        except TimeoutError:
            raise Unavailable("the Lease: no answer in time") from None
        except Conflict:
            return False if not self.held else await self._still_ours()
        if taken:
            self.deadline = began + self.duration * RENEW_SHARE
        return taken

    async def _still_ours(self) -> bool:
        lease = await self.cluster.find(LEASES, name=self.name, namespace=self.namespace)
        return lease is not None and lease["spec"].get("holderIdentity") == self.identity

    async def _take(self) -> bool:
        lease = await self.cluster.find(LEASES, name=self.name, namespace=self.namespace)
        self.looked = True
        if lease is None:
            await self.cluster.create(LEASES, self._first(), namespace=self.namespace)
            return True
        holder = lease["spec"].get("holderIdentity") or ""
        if holder not in ("", self.identity) and not self._expired(lease):
            return False
        await self.cluster.replace(LEASES, self._ours(lease, holder), namespace=self.namespace)
        return True

    def _expired(self, lease: Manifest) -> bool:
        version = lease["metadata"]["resourceVersion"]
        if self.sighting is None or self.sighting.version != version:
            self.sighting = _Sighting(version=version, at=self.clock())
        duration = lease["spec"].get("leaseDurationSeconds") or self.duration
        return self.clock() >= self.sighting.at + duration

    def _first(self) -> Manifest:
        now = micro_time(self.wall())
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": self._term() | {"acquireTime": now, "leaseTransitions": 0},
        }

    def _ours(self, lease: Manifest, holder: str) -> Manifest:
        spec = lease["spec"] | self._term()
        if holder != self.identity:
            spec["acquireTime"] = spec["renewTime"]
            spec["leaseTransitions"] = spec.get("leaseTransitions", 0) + 1
        return lease | {"spec": spec}

    def _term(self) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": round(self.duration * EXPIRY_SHARE),
            "renewTime": micro_time(self.wall()),
        }
