"""Reads what a scan looks at from a cluster: one paged LIST per kind, and Secrets only if the user allows it."""

import functools
from collections.abc import Callable
from typing import Final

from o365mailer_cli import cluster as api
from o365mailer_cli.cluster import Cluster, Resource
from o365mailer_cli.concurrently import together
from o365mailer_cli.errors import Absent, ClusterError, Forbidden
from o365mailer_cli.scan.inventory import Inventory
from o365mailer_cli.scan.workload import unread_secrets
from o365mailer_contract.names import KIND

ROLLOUTS: Final = Resource("/apis/argoproj.io/v1alpha1", "rollouts")
_KINDS: Final = {
    "Deployment": api.DEPLOYMENTS,
    "StatefulSet": api.STATEFUL_SETS,
    "DaemonSet": api.DAEMON_SETS,
    "CronJob": api.CRON_JOBS,
    "Job": api.JOBS,
    "ReplicaSet": api.REPLICA_SETS,
    "ReplicationController": api.REPLICATION_CONTROLLERS,
    "Pod": api.PODS,
    "Rollout": ROLLOUTS,
    "ConfigMap": api.CONFIG_MAPS,
    KIND: api.MAILERS,
}
_OPTIONAL: Final = frozenset({"Rollout", KIND})
"""Kinds that a cluster need not serve."""
SECONDS: Final = 300
"""For all Secrets together."""


def read_cluster(cluster: Cluster, *, namespace: str | None, secrets: bool, told: Callable[[str], None]) -> Inventory:
    """The inventory of a namespace, or of the cluster for None. `told` gets each kind before it is read.

    A kind that the user may not list is noted in `unread`. Raises ClusterError if no workload can be listed.
    """
    inventory = Inventory()
    refusal: ClusterError | None = None
    readable = 0
    for kind, resource in _KINDS.items():
        told(f"reading {resource.plural}")
        try:
            inventory.add_all(cluster.list_all(resource, namespace=namespace), kind=kind)
            readable += kind not in {"ConfigMap", KIND}
        except Forbidden as error:
            if kind in _OPTIONAL and not _is_served(cluster, resource):
                continue
            refusal = error
            inventory.unread.append(f"{resource.plural} may not be listed. Ask for the right to list them.")
        except Absent:
            if kind not in _OPTIONAL:
                raise
    if refusal is not None and not readable:
        raise refusal
    if secrets:
        told("reading the Secrets that pod templates name")
        _read_secrets(cluster, inventory)
    return inventory


def _is_served(cluster: Cluster, resource: Resource) -> bool:
    """Whether the API server knows the kind. Rights are judged first, so a kind that it lacks may be forbidden."""
    try:
        return f'"name":"{resource.plural}"' in cluster.text(resource.root)
    except ClusterError:
        return False


def _read_secrets(cluster: Cluster, inventory: Inventory) -> None:
    """Read the Secrets that pod templates name, one by one: listing them would show all others too."""
    named = sorted(
        {(one.namespace, name) for one in inventory.workloads for name in unread_secrets(one, inventory.stored)}
    )
    calls = [functools.partial(cluster.find, api.SECRETS, name=name, namespace=space) for space, name in named]
    for (space, name), found in zip(named, together(calls, seconds=SECONDS), strict=True):
        if isinstance(found, ClusterError):
            inventory.unread.append(f"Secret {space}/{name} could not be read: {found}")
        elif found is not None:
            inventory.add_all([found], kind="Secret", secrets=True)
