"""The relays in injected pods, and what each says of itself in its metrics.

The metrics are read through the API server (`pods/proxy`), with the user's own rights: nothing else in the cluster
needs to reach the pods, and no port is forwarded. docs/sidecar.md has the metrics.
"""

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_cli.cluster import PODS, Cluster, Manifest
from o365mailer_cli.concurrently import together
from o365mailer_cli.errors import Absent, ClusterError, Forbidden
from o365mailer_contract.names import CONTAINER, HEALTH_PORT, MAILER_LABEL, METRICS, STATUS_ANNOTATION

POD_SECONDS: Final = 3.0
"""For one pod's metrics: a page of text, from memory."""
ALL_SECONDS: Final = 10.0
"""For all pods' metrics."""
SAMPLE: Final = re.compile(r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
LONGEST_LINE: Final = 4096
"""Characters of a line of metrics that is looked at. No relay writes a longer one, and patterns take long for it."""
WORD: Final = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,39}")
"""A reason or a version, as a relay has them. Any pod may call itself a relay and write something else."""
MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
"""On the API server's picture of a static pod, which the kubelet runs from a file."""
FINISHED: Final = ("Succeeded", "Failed")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one relay says of itself."""

    version: str
    """Of the program; empty if it is older than that metric."""
    revision: int
    """Of the mailer directory that it uses; 0 if it has none."""
    ready: bool
    """It has a mailer and a token."""
    upstream_up: bool
    token_expires: float
    """Seconds since the epoch; 0 if unknown."""
    queued: int
    oldest: float
    """Age of the oldest queued message, in seconds."""
    dead: int
    damaged: int
    blocked: tuple[str, ...]
    """Reasons for which it sends nothing."""


@dataclass(frozen=True)
class Relay:
    """The relay of one pod."""

    pod: Manifest

    @property
    def namespace(self) -> str:
        """Of the pod."""
        return str(self.pod["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Of the pod."""
        return str(self.pod["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def mailer(self) -> str:
        """The name of its mailer."""
        return str(self.pod["metadata"].get("labels", {}).get(MAILER_LABEL, ""))

    @property
    def container(self) -> Manifest | None:
        """The relay's container; None in a pod that only has the label."""
        spec = self.pod["spec"]
        every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        return next((each for each in every if each["name"] == CONTAINER), None)

    @property
    def image(self) -> str:
        """The image that it was injected with."""
        return str((self.container or {}).get("image", ""))

    @property
    def phase(self) -> str:
        """Of the pod; `Terminating` while it is being deleted."""
        if self.pod["metadata"].get("deletionTimestamp"):
            return "Terminating"
        return str(self.pod.get("status", {}).get("phase", "Pending"))

    @property
    def finished(self) -> bool:
        """Whether the pod has run to its end, as a Job's."""
        return self.phase in FINISHED

    @property
    def running(self) -> bool:
        """Whether its container runs."""
        status = self.pod.get("status", {})
        every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        return any(each["name"] == CONTAINER and "running" in each.get("state", {}) for each in every)

    @property
    def health_port(self) -> int:
        """Where it serves its metrics."""
        port = status_of(self.pod).get("healthPort")
        return port if type(port) is int and 0 < port < 65536 else HEALTH_PORT


@dataclass(frozen=True)
class Reading:
    """A relay, and its figures or why there are none."""

    relay: Relay
    figures: Figures | None = None
    problem: ClusterError | None = None

    @property
    def forbidden(self) -> bool:
        """Whether the user lacks the right to `pods/proxy` there."""
        return isinstance(self.problem, Forbidden)


def status_of(pod: Manifest) -> Mapping[str, Any]:
    """What the webhook wrote on the pod; empty if it wrote nothing, or another writer wrote no JSON object there."""
    try:
        status = json.loads((pod["metadata"].get("annotations") or {}).get(STATUS_ANNOTATION, "{}"))
    except (ValueError, RecursionError):
        return {}
    return status if isinstance(status, dict) else {}


def listed(value: Any) -> list[Any]:
    """A member of that status that is a list; empty if another writer put something else there."""
    return value if isinstance(value, list) else []


def read_relays(cluster: Cluster, *, namespace: str | None) -> list[Relay]:
    """The relays of the pods of a namespace, or of all (None), without those of pods that have run to their end."""
    pods = cluster.list_all(PODS, namespace=namespace, labels=MAILER_LABEL)
    found = [relay for pod in pods if (relay := Relay(pod)).container is not None and not relay.finished]
    return sorted(found, key=str)


def read_figures(cluster: Cluster, relays: Sequence[Relay]) -> list[Reading]:
    """The figures of the relays that run, many at once, each with a deadline."""
    running = [relay for relay in relays if relay.running]
    answers = together([functools.partial(_metrics, cluster, relay) for relay in running], seconds=ALL_SECONDS)
    known = {str(relay): answer for relay, answer in zip(running, answers, strict=True)}

    def reading(relay: Relay) -> Reading:
        answer = known.get(str(relay))
        if answer is None:
            return Reading(relay)
        return Reading(relay, problem=answer) if isinstance(answer, ClusterError) else Reading(relay, figures=answer)

    return [reading(relay) for relay in relays]


def _metrics(cluster: Cluster, relay: Relay) -> Figures:
    seconds = min(POD_SECONDS, cluster.timeout)
    text = cluster.proxied(relay.pod, relay.health_port, METRICS, timeout=seconds)
    figures = figures_in(text)
    if figures is None:
        raise Absent(f"port {relay.health_port} of {relay} serves no metrics of a relay")
    return figures


def figures_in(text: str) -> Figures | None:
    """The figures in a page of metrics (Prometheus' text format 0.0.4); None if it is not a relay's."""
    found = list(samples(text))

    def value(name: str) -> float:
        return next((number for each, _, number in found if each == name), 0.0)

    def words(name: str, label: str) -> list[str]:
        every = [labels.get(label, "") for each, labels, number in found if each == name and number]
        return [word if WORD.fullmatch(word) else "?" for word in every]

    if not any(name == "o365mailer_mailer_ready" for name, *_ in found):
        return None
    return Figures(
        version=next(iter(words("o365mailer_relay_info", "version")), ""),
        revision=int(value("o365mailer_settings_revision")),
        ready=bool(value("o365mailer_mailer_ready")),
        upstream_up=bool(value("o365mailer_upstream_up")),
        token_expires=value("o365mailer_token_expires_timestamp_seconds"),
        queued=int(value("o365mailer_spool_messages")),
        oldest=value("o365mailer_spool_oldest_age_seconds"),
        dead=int(value("o365mailer_spool_dead_messages")),
        damaged=int(value("o365mailer_spool_damaged_messages")),
        blocked=tuple(sorted(set(words("o365mailer_blocked", "reason")))),
    )


def samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each sample of a page of metrics, without values that are no finite number."""
    for line in page.splitlines():
        match = SAMPLE.match(line) if len(line) <= LONGEST_LINE else None
        try:
            number = float(match["value"]) if match else math.nan
        except ValueError:
            continue
        if match and math.isfinite(number):
            yield match["name"], dict(LABEL.findall(match["labels"] or "")), number
