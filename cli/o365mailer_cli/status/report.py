"""What `status` finds out: each mailer, and what the relays of its pods say."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from o365mailer_cli.cluster import Cluster
from o365mailer_cli.concurrently import together
from o365mailer_cli.errors import ClusterError
from o365mailer_cli.installation import Installation, read_installation
from o365mailer_cli.mailers import AUTHENTICATED, CREDENTIAL_EXPIRING, Condition, Mailer, read_mailers
from o365mailer_cli.relays import Reading, Relay, read_figures, read_relays
from o365mailer_cli.wording import pods
from o365mailer_contract.names import DOCS


@dataclass(frozen=True)
class MailerStatus:
    """A mailer and the relays of its pods."""

    mailer: Mailer
    readings: Sequence[Reading]
    sidecar_image: str
    """What the webhook injects now; empty if that is unknown."""

    @property
    def known(self) -> list[Reading]:
        """The relays that told their figures."""
        return [each for each in self.readings if each.figures]

    @property
    def newest_token(self) -> int:
        """How many of them use the newest mailer directory. A relay may be newer than the status that was read."""
        return sum(each.figures.revision >= self.mailer.revision for each in self.readings if each.figures)

    @property
    def this_relay(self) -> int:
        """How many pods run the image that is injected now."""
        return sum(each.relay.image == self.sidecar_image for each in self.readings)

    @property
    def queued(self) -> int:
        """Messages that wait in all of them."""
        return sum(each.figures.queued for each in self.readings if each.figures)

    @property
    def oldest(self) -> float:
        """Age of the oldest one, in seconds."""
        return max((each.figures.oldest for each in self.readings if each.figures), default=0.0)

    @property
    def dead(self) -> int:
        """Dead letters in all of them."""
        return sum(each.figures.dead for each in self.readings if each.figures)

    def document(self) -> dict[str, Any]:
        """It as JSON; `null` for what is unknown."""
        mailer, ready = self.mailer, self.mailer.ready
        expiring = mailer.condition(CREDENTIAL_EXPIRING)
        return {
            "namespace": mailer.namespace,
            "name": mailer.name,
            "mailbox": mailer.mailbox,
            "ready": ready.status,
            "reason": ready.reason,
            "message": ready.message,
            "authenticated": _condition_document(mailer.condition(AUTHENTICATED)),
            "credentialExpiring": _condition_document(expiring) if expiring.status == "True" else None,
            "suspended": mailer.suspended,
            "tokenRevision": mailer.revision,
            "tokenExpiry": mailer.status.get("tokenExpiry"),
            "lastRefresh": mailer.status.get("lastRefresh"),
            "nextRefresh": mailer.status.get("nextRefresh"),
            "pods": {
                "total": len(self.readings),
                "known": len(self.known),
                "newestToken": self.newest_token,
                "newestRelay": self.this_relay if self.sidecar_image else None,
            },
            "queue": {"messages": self.queued, "oldestSeconds": self.oldest, "dead": self.dead},
            "relays": [_relay_document(each) for each in self.readings],
        }


def _condition_document(condition: Condition) -> dict[str, Any]:
    return {"status": condition.status, "reason": condition.reason, "message": condition.message}


def _relay_document(reading: Reading) -> dict[str, Any]:
    relay, figures = reading.relay, reading.figures
    return {
        "pod": relay.name,
        "phase": relay.phase,
        "image": relay.image,
        "problem": str(reading.problem) if reading.problem else None,
        "version": figures.version if figures else None,
        "revision": figures.revision if figures else None,
        "ready": figures.ready if figures else None,
        "upstreamUp": figures.upstream_up if figures else None,
        "blocked": list(figures.blocked) if figures else None,
        "messages": figures.queued if figures else None,
        "oldestSeconds": figures.oldest if figures else None,
        "dead": figures.dead if figures else None,
        "damaged": figures.damaged if figures else None,
    }


@dataclass(frozen=True)
class Status:
    """What `status` found."""

    mailers: Sequence[MailerStatus]
    place: str
    """`namespace x`, or `the cluster`."""
    sidecar_image: str
    problems: Sequence[str]
    """What could not be looked at, and why: said once for all pods."""

    def document(self) -> dict[str, Any]:
        """It as JSON."""
        return {
            "sidecarImage": self.sidecar_image or None,
            "mailers": [each.document() for each in self.mailers],
            "problems": list(self.problems),
        }


def read_status(cluster: Cluster, *, namespace: str | None, name: str | None = None) -> Status:
    """Ask for mailers, pods and the installation at once, then for all pods' metrics at once."""
    seconds = cluster.timeout * 3
    found: list[Any] = together(
        [
            functools.partial(read_mailers, cluster, namespace=namespace, name=name),
            functools.partial(read_relays, cluster, namespace=namespace),
            functools.partial(read_installation, cluster),
        ],
        seconds=seconds,
    )
    mailers, relays, installation = found
    if isinstance(mailers, ClusterError):
        raise mailers
    image = installation.sidecar_image if isinstance(installation, Installation) else ""
    problems = []
    if isinstance(relays, ClusterError):
        problems.append(f"The pods could not be listed. {relays}")
        relays = []
    wanted = {(each.namespace, each.name) for each in mailers}
    readings = read_figures(cluster, [each for each in relays if (each.namespace, each.mailer) in wanted])
    problems += _problems(readings)
    if not image:
        problems.append(
            "Which relay is injected now is unknown: the webhook's Deployment could not be read. "
            f"{DOCS}/command.md#rights says which right that needs."
        )
    by_mailer = {
        key: list(group)
        for key, group in itertools.groupby(
            sorted(readings, key=lambda each: (_key(each.relay), each.relay.name)), key=lambda each: _key(each.relay)
        )
    }
    return Status(
        mailers=[MailerStatus(each, by_mailer.get((each.namespace, each.name), []), image) for each in mailers],
        place=f"namespace {namespace}" if namespace else "the cluster",
        sidecar_image=image,
        problems=problems,
    )


def _key(relay: Relay) -> tuple[str, str]:
    return relay.namespace, relay.mailer


def _problems(readings: Sequence[Reading]) -> Iterator[str]:
    forbidden = [each for each in readings if each.forbidden]
    if forbidden:
        yield (
            f"The metrics of {pods(len(forbidden))} could not be read, because you may not get pods/proxy there. "
            f"{DOCS}/command.md#rights says which role has that right."
        )
    others = [each for each in readings if each.problem and not each.forbidden]
    if others:
        yield f"The metrics of {pods(len(others))} could not be read. {others[0].relay}: {others[0].problem}"
