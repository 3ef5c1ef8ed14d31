"""Whether the watch delivers what a LIST shows. Readiness and a metric follow from the last time that they agreed.

On a quiet cluster a dead watch looks like one in which nothing happens, and kopf can wait for ever without a log line.
So a LIST of the mailers' metadata, page by page, is compared with what the watch delivered:
- A mailer that differs for a while is reconciled, so a dead watch delays a mailer by minutes and loses none.
- After RESTART_AFTER without agreement WatchEnded ends the process, and Kubernetes starts it again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from o365mailer_operator.clock import Clock
from o365mailer_operator.controller.cluster import MAILERS, Cluster
from o365mailer_operator.controller.cluster_errors import ClusterError
from o365mailer_operator.controller.mailer import Key
from o365mailer_operator.controller.mailer_cache import Difference, MailerCache, Version, key_of, version_of
from o365mailer_operator.controller.watch import WatchEnded

INTERVAL: Final = 300.0
"""Seconds between two comparisons."""
EMPTY_INTERVAL: Final = 30.0
"""The same while there are no mailers: a watch that never began agrees with an empty list."""
TOLERANCE: Final = 10.0
"""Seconds that a difference may last: the watch and the LIST may come from caches of different age."""
RESTART_AFTER: Final = 300.0
"""Seconds of a difference after which the process ends."""
LONGEST_SILENCE: Final = 2 * INTERVAL + 60
"""Seconds without agreement after which the replica is not ready."""

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Agreement:
    """Compares for as long as it runs. `notice` asks for a reconcile of a mailer."""

    cluster: Cluster
    cache: MailerCache
    namespaces: Sequence[str]
    notice: Callable[[Key], None]
    leading: Callable[[], bool]
    clock: Clock
    last: float | None = None
    """When they last agreed, on the monotonic clock."""
    last_wall: float = 0.0
    """The same in Unix time; 0 until they have agreed once."""

    @property
    def stale(self) -> bool:
        """Whether they have never agreed, or not for LONGEST_SILENCE."""
        return self.last is None or self.clock.monotonic() - self.last > LONGEST_SILENCE

    async def run(self) -> None:
        """Compares until it is cancelled. Raises WatchEnded."""
        while True:
            await self._reach()
            self.last, self.last_wall = self.clock.monotonic(), self.clock.now().timestamp()
            await asyncio.sleep(INTERVAL if self.cache.delivered else EMPTY_INTERVAL)

    async def _reach(self) -> None:
        """Returns when the LIST and the watch agree, or differ only in what has just changed."""
        began: float | None = None  # of comparisons without a gap; after a gap, a difference may be of any age
        told = False
        since: dict[tuple[Key, Difference], float] = {}
        pause = 1.0
        while True:
            found = await self._differences()
            now = self.clock.monotonic()
            if found is None:
                began = None
            else:
                began = now if began is None else began
                since = {each: since.get(each, now) for each in found}
            lasting = [key for (key, _), first in since.items() if now - first >= TOLERANCE]
            if began is not None and not lasting and (not found or now - began >= TOLERANCE):
                return
            if lasting and not told:
                told = True
                log.error("the watch does not deliver what the API server lists", extra={"mailers": len(lasting)})
                for key in lasting:
                    self.notice(key)
            if lasting and now - min(since.values()) >= RESTART_AFTER:
                raise WatchEnded(f"the watch did not deliver what the API server lists for {RESTART_AFTER:g} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, TOLERANCE)

    async def _differences(self) -> set[tuple[Key, Difference]] | None:
        """What differs now; None where the API server does not answer, or this replica does not lead."""
        if not self.leading():
            return None
        try:
            listed: dict[Key, Version] = {}
            for namespace in self.namespaces or (None,):
                async for metadata in self.cluster.list_metadata(MAILERS, namespace=namespace):
                    listed[key_of(metadata)] = version_of(metadata)
        except ClusterError as error:
            log.warning("the mailers cannot be listed", extra={"error": str(error)})
            return None
        return set(self.cache.differences(listed))
