"""Findings on the API server and the kubelets. Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from o365mailer_cli.check.rights import unread
from o365mailer_cli.cluster import Manifest
from o365mailer_cli.errors import ClusterError
from o365mailer_cli.finding import Finding, Status
from o365mailer_contract.names import DOCS

OLDEST: Final = (1, 32)
NEWEST: Final = (1, 37)
"""The minors that this version is tested on."""
SIDECARS_SINCE: Final = (1, 29)
"""The first kubelet that runs native sidecars by default (KEP-753)."""
RESTART_FAULT: Final = ((1, 35, 0), (1, 35, 3))
"""After a kubelet of these versions restarts, it never restarts a crashed container next to a sidecar with a startup
probe (github.com/kubernetes/kubernetes/pull/137146, cherry-pick 137885)."""
RESTART_FAULT_LINK: Final = "https://github.com/kubernetes/kubernetes/pull/137885"
VERSIONS: Final = f"{DOCS}/install.md"
VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


def parse_version(text: str) -> tuple[int, int, int] | None:
    """`v1.35.4-eks-1` → (1, 35, 4)."""
    match = VERSION.match(text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def server_findings(
    server: str, identity: str, version: str, nodes: Sequence[Manifest] | ClusterError
) -> list[Finding]:
    """What is to be said of an API server that answered."""
    reached = Finding(name="api.reachable", status=Status.OK, title=f"{server} answers ({identity})")
    return [reached, _version(version), *_kubelets(nodes)]


def _version(text: str) -> Finding:
    version, name = parse_version(text), "api.version"
    supported = f"{_minor(OLDEST)} to {_minor(NEWEST)}"
    if version is None:
        return Finding(
            name=name,
            status=Status.UNKNOWN,
            title=f"the API server's version {text} is not one of Kubernetes",
            cause="It is not of the form v1.35.4.",
            remedy=f"Find out which Kubernetes it is; {supported} are supported.",
            link=VERSIONS,
        )
    if version[:2] < OLDEST:
        return Finding(
            name=name,
            status=Status.FAILED,
            title=f"Kubernetes {text} is older than {_minor(OLDEST)}",
            cause="Only from there on does every kubelet that may belong to the cluster run the relay as a sidecar.",
            remedy=f"Upgrade the cluster: {supported} are supported.",
            link=VERSIONS,
        )
    if version[:2] > NEWEST:
        return Finding(
            name=name,
            status=Status.WARNING,
            title=f"Kubernetes {text} is newer than {_minor(NEWEST)}",
            cause=f"This version of O365 Mailer was tested with {supported}.",
            remedy="Look for a newer version of O365 Mailer.",
            link=VERSIONS,
        )
    return Finding(name=name, status=Status.OK, title=f"Kubernetes {text} is supported")


def _kubelets(nodes: Sequence[Manifest] | ClusterError) -> Iterator[Finding]:
    name = "api.kubelets"
    if isinstance(nodes, ClusterError):
        yield unread(name, "the nodes", nodes)
        return
    versions = {node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes}
    parsed = {node: parse_version(version) for node, version in versions.items()}
    old = sorted(node for node, version in parsed.items() if version and version[:2] < SIDECARS_SINCE)
    faulty = sorted(
        node for node, version in parsed.items() if version and RESTART_FAULT[0] <= version <= RESTART_FAULT[1]
    )
    if old:
        yield Finding(
            name=name,
            status=Status.FAILED,
            title=f"{_nodes(old, versions)} cannot run sidecars",
            cause=f"A kubelet runs native sidecars from {_minor(SIDECARS_SINCE)} on. A pod with a relay hangs on an "
            "older one, because it waits for the relay to end.",
            remedy="Upgrade the kubelets, or keep pods with a relay away from these nodes (kubectl cordon NODE).",
            link=VERSIONS,
        )
    if faulty:
        yield Finding(
            name=name,
            status=Status.WARNING,
            title=f"{_nodes(faulty, versions)} may not restart containers",
            cause="After a restart of such a kubelet, it never restarts a crashed container next to a sidecar with a "
            "startup probe. The relay has no startup probe, but another sidecar of the pod may have one.",
            remedy="Upgrade these kubelets to 1.35.4 or newer.",
            link=RESTART_FAULT_LINK,
        )
    if not old and not faulty:
        yield Finding(name=name, status=Status.OK, title=f"{_count(len(versions), 'kubelet')} can run the relay")


def _nodes(some: Sequence[str], versions: dict[str, str]) -> str:
    shown = ", ".join(f"{node} ({versions[node]})" for node in some[:3])
    return f"{_count(len(some), 'kubelet')}: {shown}" + (" and others" if len(some) > 3 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _minor(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
