"""The pod or workload that the user names, with its pod template, its pods and what it was refused."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_cli.cluster import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Cluster,
    Manifest,
    Resource,
)
from o365mailer_cli.errors import Absent, Forbidden, WrongInput
from o365mailer_cli.mailers import require_namespace

KINDS: Final[Mapping[str, tuple[Resource, str]]] = {
    "pod": (PODS, "po pods"),
    "deployment": (DEPLOYMENTS, "deploy deployments"),
    "statefulset": (STATEFUL_SETS, "sts statefulsets"),
    "daemonset": (DAEMON_SETS, "ds daemonsets"),
    "replicaset": (REPLICA_SETS, "rs replicasets"),
    "replicationcontroller": (REPLICATION_CONTROLLERS, "rc replicationcontrollers"),
    "job": (JOBS, "jobs"),
    "cronjob": (CRON_JOBS, "cj cronjobs"),
}
"""Each kind that can have a relay, where it lives, and kubectl's other names for it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is to be explained."""

    kind: str
    manifest: Manifest
    pods: Sequence[Manifest]
    """Its pods, newest first; of a pod, itself."""
    refusals: Sequence[str]
    """Why the API server did not create its pods, newest first, each once (Events FailedCreate)."""

    @property
    def name(self) -> str:
        """Of the object."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Of the object."""
        return str(self.manifest["metadata"]["namespace"])

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def is_pod(self) -> bool:
        """Whether it is a pod itself."""
        return self.kind == "pod"

    @property
    def annotations(self) -> Mapping[str, str]:
        """Of the object itself."""
        return self.manifest["metadata"].get("annotations") or {}

    @property
    def template(self) -> Manifest:
        """Its pod template; of a pod, itself."""
        if self.is_pod:
            return self.manifest
        spec = self.manifest["spec"]
        template = spec["jobTemplate"]["spec"]["template"] if self.kind == "cronjob" else spec.get("template")
        return template or {}

    @property
    def template_annotations(self) -> Mapping[str, str]:
        """Of its pod template."""
        return (self.template.get("metadata") or {}).get("annotations") or {}

    @property
    def template_path(self) -> str:
        """Where its pod template's metadata are."""
        return "spec.jobTemplate.spec.template.metadata" if self.kind == "cronjob" else "spec.template.metadata"

    @property
    def restart(self) -> str:
        """How new pods come about."""
        where = f"-n {self.namespace}"
        if self.kind in ("deployment", "statefulset", "daemonset"):
            return f"kubectl rollout restart {self} {where}"
        if self.kind == "cronjob":
            return "wait for its next run"
        if self.kind == "job":
            return "delete the Job and create it again"
        if self.is_pod and controller_of(self.manifest) is None:
            return "delete the pod and create it again"
        return f"delete the pods, and new ones take their place: kubectl delete pod {where}"


def find(cluster: Cluster, text: str) -> Target:
    """What `deploy/web`, `pod/web-abc` or `web` names.

    Raises WrongInput, Absent.
    """
    kind, slash, name = text.rpartition("/")
    if slash and not (kind and name):
        raise WrongInput(f"{text!r} is no object; write one such as deployment/web, pod/web-abc or cronjob/report.")
    return _target(cluster, _kind_of(kind) if slash else "", name)


def _kind_of(text: str) -> str:
    word = text.lower().partition(".")[0]
    for kind, (_, others) in KINDS.items():
        if word == kind or word in others.split():
            return kind
    raise WrongInput(f"{text!r} is no kind that can have a relay; there are {', '.join(KINDS)}.")


def _target(cluster: Cluster, kind: str, name: str) -> Target:
    namespace = cluster.namespace
    for candidate in [kind] if kind else KINDS:
        manifest = cluster.find(KINDS[candidate][0], name=name, namespace=namespace)
        if manifest is not None:
            owned = _descendants(cluster, candidate, manifest)
            pods = [manifest] if candidate == "pod" else [each for found, each in owned if found == "pod"]
            pods.sort(key=lambda each: str(each["metadata"]["creationTimestamp"]), reverse=True)
            # What an earlier ReplicaSet or Job was refused is of no interest any more.
            between = [each["metadata"] for found, each in owned if found != "pod"]
            newest = max(between, key=_revision, default=None)
            names = {name, *([newest["name"]] if newest else ())}
            return Target(
                kind=candidate,
                manifest=manifest,
                pods=pods,
                refusals=[] if candidate == "pod" else _refusals(cluster, namespace, names, pods),
            )
    require_namespace(cluster, namespace)
    what = f"{kind} {name}" if kind else f"pod or workload {name}"
    raise Absent(f"There is no {what} in namespace {namespace}. kubectl get all -n {namespace} lists what there is.")


def _descendants(cluster: Cluster, kind: str, manifest: Manifest) -> list[tuple[str, Manifest]]:
    """What the object controls, and what that controls: ReplicaSets, Jobs, pods."""
    between = {"deployment": "replicaset", "cronjob": "job"}.get(kind)
    if kind == "pod":
        return []
    namespace = manifest["metadata"]["namespace"]
    owners = {manifest["metadata"]["uid"]}
    found: list[tuple[str, Manifest]] = []
    for child in filter(None, (between, "pod")):
        children = [
            each
            for each in cluster.list_all(KINDS[child][0], namespace=namespace)
            if (controller_of(each) or {}).get("uid") in owners
        ]
        found += [(child, each) for each in children]
        owners |= {each["metadata"]["uid"] for each in children}
    return found


def _revision(metadata: Manifest) -> tuple[int, str]:
    """Which of a Deployment's ReplicaSets is in use (a rollback takes an old one again); of Jobs, which is newest."""
    number = (metadata.get("annotations") or {}).get("deployment.kubernetes.io/revision", "")
    return int(number) if number.isdigit() else 0, str(metadata["creationTimestamp"])


def controller_of(manifest: Manifest) -> dict[str, Any] | None:
    """The owner that controls the object; None if there is none."""
    owners = manifest["metadata"].get("ownerReferences") or ()
    return next((dict(owner) for owner in owners if owner.get("controller")), None)


def _refusals(cluster: Cluster, namespace: str, names: set[str], pods: Sequence[Manifest]) -> list[str]:
    """Refusals since the newest pod was created: what was refused before that has been corrected."""
    try:
        events = cluster.list_all(EVENTS, namespace=namespace, fields="reason=FailedCreate")
    except Forbidden:
        return []
    since = str(pods[0]["metadata"]["creationTimestamp"]) if pods else ""
    ours = [each for each in events if each.get("involvedObject", {}).get("name") in names and _moment(each) > since]
    ours.sort(key=_moment, reverse=True)
    return list(dict.fromkeys(_messages(ours)))


def _messages(events: Sequence[Manifest]) -> Iterator[str]:
    for event in events:
        yield str(event.get("message", "")).removeprefix("Error creating: ")


def _moment(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])
