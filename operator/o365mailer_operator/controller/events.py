"""One Event for each change of a mailer's condition, which `kubectl describe` shows.

A change that happens again raises the count of its Event, as with the API's own recorder
(https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/).
"""

import datetime
import hashlib
import logging
from collections.abc import Callable
from typing import Final

from o365mailer_contract import names
from o365mailer_operator.controller.cluster import EVENTS, Cluster, micro_time
from o365mailer_operator.controller.cluster_errors import ClusterError, Conflict
from o365mailer_operator.controller.conditions import BAD_WHEN_TRUE, news_in
from o365mailer_operator.controller.mailer import Condition, Mailer, Manifest

REPORTER: Final = f"{names.GROUP}/controller"
NOTE_LIMIT: Final = 1024
INSTANCE_LIMIT: Final = 128
"""What the API server accepts in `note` (bytes) and `reportingInstance` (characters)."""
REST: Final = " ... kubectl describe shows all of it."

log = logging.getLogger(__name__)


def event_of(mailer: Mailer, condition: Condition, *, now: datetime.datetime, instance: str) -> Manifest:
    """The Event of a condition's change. The same change has the same name."""
    metadata = mailer.metadata
    change = " ".join((metadata.uid, condition.type, *news_in(condition)))
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata.name}.{hashlib.sha256(change.encode()).hexdigest()[:16]}",
            "namespace": metadata.namespace,
        },
        "eventTime": micro_time(now),
        "reportingController": REPORTER,
        "reportingInstance": instance[:INSTANCE_LIMIT],
        "action": condition.type,
        "reason": condition.reason,
        "type": "Normal" if condition.status == "True" and condition.type not in BAD_WHEN_TRUE else "Warning",
        "note": _note(condition.message),
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
        },
    }


def _note(message: str) -> str:
    """The message; of a long one the beginning, and where the rest is."""
    if len(message.encode()) <= NOTE_LIMIT:
        return message
    beginning = message.encode()[: NOTE_LIMIT - len(REST)].decode(errors="ignore")
    return f"{beginning}{REST}"


def repeated(event: Manifest, *, now: datetime.datetime) -> Manifest:
    """The patch for an Event that happens once more. The API server lets nothing else in an Event change."""
    count = (event.get("series") or {}).get("count", 1)
    return {"series": {"count": count + 1, "lastObservedTime": micro_time(now)}}


class Recorder:
    """Writes Events. If one cannot be written, that is logged and nothing waits for it."""

    def __init__(self, cluster: Cluster, *, instance: str, clock: Callable[[], datetime.datetime]) -> None:
        self.cluster = cluster
        self.instance = instance
        self.clock = clock

    async def record(self, mailer: Mailer, condition: Condition) -> None:
        """Write the Event of one change."""
        event = event_of(mailer, condition, now=self.clock(), instance=self.instance)
        try:
            await self._write(event)
        except ClusterError as error:
            log.warning("an Event could not be written", extra={"mailer": str(mailer.key), "error": str(error)})

    async def _write(self, event: Manifest) -> None:
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        try:
            await self.cluster.create(EVENTS, event, namespace=namespace)
        except Conflict:
            before = await self.cluster.find(EVENTS, name=name, namespace=namespace)
            if before is not None:
                change = repeated(before, now=self.clock())
                await self.cluster.patch(EVENTS, change, name=name, namespace=namespace)
