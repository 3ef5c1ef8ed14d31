"""Findings on one of the installation's Deployments. Pure."""

from collections.abc import Sequence
from typing import Any

from o365mailer_cli.check.rights import unread
from o365mailer_cli.cluster import Manifest
from o365mailer_cli.errors import ClusterError
from o365mailer_cli.finding import Finding, Status
from o365mailer_contract.names import DOCS, RELEASE

LINK = f"{DOCS}/troubleshooting.md#the-installation"
COMPONENT = "app.kubernetes.io/component"
VERSION_LABEL = "app.kubernetes.io/version"


def available(
    role: str, deployment: Manifest | ClusterError | None, pods: Sequence[Manifest], *, namespace: str
) -> Finding:
    """Whether the role's Deployment has all its replicas. `role`: controller or webhook. `pods`: the operator's."""
    name, subject = f"{role}.available", f"{namespace}/o365mailer-{role}"
    if isinstance(deployment, ClusterError):
        return unread(name, f"the {role}'s Deployment", deployment, namespace=namespace)
    if deployment is None:
        return Finding(
            name=name,
            status=Status.FAILED,
            title=f"the {role} is not installed",
            cause=f"Namespace {namespace} has no Deployment o365mailer-{role}.",
            remedy="Install O365 Mailer with its chart: helm upgrade --install.",
            link=f"{DOCS}/install.md",
        )
    wanted = int(deployment["spec"].get("replicas", 1))
    ready = int(deployment.get("status", {}).get("availableReplicas") or 0)
    if not wanted:
        return Finding(
            name=name,
            status=Status.FAILED,
            title=f"the {role} is scaled to 0",
            subject=subject,
            cause="Its Deployment asks for no replica.",
            remedy=f"kubectl scale deployment o365mailer-{role} -n {namespace} --replicas=2",
            link=LINK,
        )
    if ready < wanted:
        why = _waits(role, pods)
        return Finding(
            name=name,
            status=Status.WARNING if ready else Status.FAILED,
            title=f"{ready} of {wanted} replicas of the {role} are available",
            subject=subject,
            cause=why or "Its pods are not ready, or there are none.",
            remedy=f"kubectl describe pods -n {namespace} -l {COMPONENT}={role}",
            link=LINK,
        )
    return Finding(name=name, status=Status.OK, title=f"the {role} is available ({ready} of {wanted})")


def same_version(role: str, deployment: Manifest, told: str) -> Finding:
    """Whether the role has the version of this command. `told`: what its metrics say; empty if unknown."""
    labels = deployment["metadata"].get("labels") or {}
    version = told or labels.get(VERSION_LABEL, "")
    name = f"{role}.version"
    if not version:
        return Finding(
            name=name,
            status=Status.UNKNOWN,
            title=f"the {role}'s version is unknown",
            cause="Neither its metrics nor its Deployment's labels say it.",
            remedy="Install it with the chart of this version.",
            link=LINK,
        )
    if version != RELEASE:
        return Finding(
            name=name,
            status=Status.WARNING,
            title=f"the {role} is of version {version}, this command of {RELEASE}",
            cause="Versions may differ in the members of a mailer and in the words of conditions.",
            remedy=f"Install the command of version {version}, or upgrade the installation.",
            link=f"{DOCS}/install.md",
        )
    return Finding(name=name, status=Status.OK, title=f"the {role} is of version {version}, as this command")


def _waits(role: str, pods: Sequence[Manifest]) -> str:
    for pod in pods:
        if (pod["metadata"].get("labels") or {}).get(COMPONENT) != role:
            continue
        state = next(iter(_states(pod)), None)
        if state:
            return f"Pod {pod['metadata']['name']}: {state}"
        for condition in pod.get("status", {}).get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return f"Pod {pod['metadata']['name']}: {condition.get('message', 'it is not scheduled')}"
    return ""


def _states(pod: Manifest) -> list[str]:
    found = []
    for each in pod.get("status", {}).get("containerStatuses") or ():
        waiting: dict[str, Any] = each.get("state", {}).get("waiting") or {}
        if waiting:
            found.append(f"{waiting.get('reason', 'it waits')}. {waiting.get('message', '')}".strip())
    return found
