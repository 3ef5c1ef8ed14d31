"""One active controller, by a Lease of the API (coordination.k8s.io/v1).

The client library's own elector is not used: it renews after the work that it guards has died, does not release, reads
the wall clock, and lets a hung request outlive the Lease. Here:

- A waiting replica takes over when the record has not changed for its `leaseDurationSeconds` on the replica's own
  monotonic clock. Clocks of different machines are never compared (client-go does the same).
- The holder counts its deadline from before it sends a renewal, and stops work at two thirds of the duration, before
  another replica can begin.
- A holder that could not renew in time keeps its process and takes the Lease again. This is safe at any later time: the
  record still names this process, and the write carries the resourceVersion that was read or written last, so no other
  replica has held the Lease in between. If the record names another holder, LeaseLost ends the process.
- Time in which a waiting replica gets no answer from the API server counts for little: the holder could not renew then
  either, and it may still have tokens in memory that it could not write.
- A request may take a third of the duration at most.
- `leaseDurationSeconds` is four fifths of the duration. The last fifth is two pauses between attempts, so another
  replica works within the duration.
"""

import asyncio
import dataclasses
import logging
from typing import Any, Final

from o365mailer_operator.clock import Clock
from o365mailer_operator.controller.cluster import LEASES, Cluster, micro_time
from o365mailer_operator.controller.cluster_errors import Absent, ClusterError, Conflict, Unavailable
from o365mailer_operator.controller.mailer import Manifest

LEASE_NAME: Final = "o365mailer-controller"
RENEW_SHARE: Final = 2 / 3
REQUEST_SHARE: Final = 1 / 3
EXPIRY_SHARE: Final = 4 / 5
RETRY_SHARE: Final = 1 / 10
"""Of the duration: 10, 5, 12 and 1.5 s of 15 s."""
SHORTEST: Final = 5.0
"""Seconds. The record counts whole seconds; a shorter duration leaves no time between the holder's stop and expiry."""

log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another replica holds the Lease, or has held it since this process did: the process has to end."""


class NotLeading(Exception):
    """This process does not hold the Lease now: do nothing that another replica might do too."""


@dataclasses.dataclass(frozen=True)
class _Sighting:
    """A version of the record: when it was last seen (monotonic), and for how many seconds it has not changed."""

    version: str
    at: float
    unchanged: float = 0.0


class Lease:
    """The controllers' Lease, as one process sees it. `identity` is unique to the process, not to the pod.

    `duration` is in seconds. The wall clock is only written into the record, for people to read.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        identity: str,
        duration: float,
        clock: Clock,
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.name = LEASE_NAME
        self.identity = identity
        self.duration = duration
        self.clock = clock
        self.deadline = float("-inf")
        self.sighting: _Sighting | None = None
        self.written: Manifest | None = None
        """The record as our last write left it; None after a write that failed, or whose answer was lost."""
        self.looked = False
        """Whether the API server has ever answered."""
        self.terms = 0
        """How many times this process has taken the Lease. A renewal in time does not count."""

    @property
    def held(self) -> bool:
        """Whether this process may act now. Ask before each act that must not happen twice."""
        return self.clock.monotonic() < self.deadline

    def check(self) -> None:
        """Raises NotLeading while the Lease is not held."""
        if not self.held:
            raise NotLeading("this replica does not hold the Lease")

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
        """Renews the Lease, and takes it again after it could not be renewed. Ends only by raising LeaseLost."""
        paused = False
        while True:
            await asyncio.sleep(self.duration * RETRY_SHARE)
            try:
                if not await self._attempt():
                    raise LeaseLost("another replica holds the Lease")
            except ClusterError as error:
                log.warning("the Lease could not be renewed", extra={"error": str(error)})
            if self.held == paused:
                paused = not self.held
                log.warning(
                    "paused: the Lease is not renewed" if paused else "leading again", extra={"lease": self.name}
                )

    async def release(self) -> None:
        """Give it back, so that another replica need not wait. A failure does no harm."""
        if not self.held:
            return
        self.deadline = float("-inf")
        try:
            lease = await self.cluster.get(LEASES, name=self.name, namespace=self.namespace)
            if lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._write(lease)
        except ClusterError as error:
            log.warning("the Lease could not be released", extra={"error": str(error)})

    async def _attempt(self) -> bool:
        """Take or renew the Lease. False if another replica holds it. Raises ClusterError."""
        began = self.clock.monotonic()
        try:
            async with asyncio.timeout(self.duration * REQUEST_SHARE):
                taken = await self._take()
        except TimeoutError:
            raise Unavailable("the Lease: no answer in time") from None
        except Conflict:
            return self.terms > 0 and await self._still_ours()
        if taken:
            self.terms += not self.held
            self.deadline = began + self.duration * RENEW_SHARE
        return taken

    async def _still_ours(self) -> bool:
        lease = await self.cluster.find(LEASES, name=self.name, namespace=self.namespace)
        return lease is not None and lease["spec"].get("holderIdentity") == self.identity

    async def _renew(self) -> bool:
        """One write without a read: its resourceVersion fails it if another client has written in between."""
        written, self.written = self.written, None
        if written is None or not self.held:
            return False
        try:
            self.written = await self._write(self._ours(written, self.identity))
        except (Conflict, Absent):
            return False
        return True

    async def _take(self) -> bool:
        if await self._renew():
            return True
        lease = await self.cluster.find(LEASES, name=self.name, namespace=self.namespace)
        self.looked = True
        if lease is None:
            self.written = await self.cluster.create(LEASES, self._first(), namespace=self.namespace)
            return True
        holder = lease["spec"].get("holderIdentity") or ""
        if holder != self.identity and self.terms:
            return False  # another replica has worked in between, even if the Lease has expired since
        if holder not in ("", self.identity) and not self._expired(lease):
            return False
        self.written = await self._write(self._ours(lease, holder))
        return True

    async def _write(self, lease: Manifest) -> Manifest:
        return await self.cluster.replace(LEASES, lease, namespace=self.namespace)

    def _expired(self, lease: Manifest) -> bool:
        version, now, before = lease["metadata"]["resourceVersion"], self.clock.monotonic(), self.sighting
        if before is None or before.version != version:
            self.sighting = _Sighting(version=version, at=now)
        else:
            elapsed = min(now - before.at, self.duration * (REQUEST_SHARE + RETRY_SHARE))
            self.sighting = _Sighting(version=version, at=now, unchanged=before.unchanged + elapsed)
        return self.sighting.unchanged >= (lease["spec"].get("leaseDurationSeconds") or self.duration)

    def _first(self) -> Manifest:
        now = micro_time(self.clock.now())
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
            "renewTime": micro_time(self.clock.now()),
        }
