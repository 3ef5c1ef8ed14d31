"""The decision about one pod. Pure and idempotent.

A pod that has the container's name and the status annotation stays as it is. So a second call (`reinvocationPolicy:
IfNeeded`) or a manifest copied from a running pod changes nothing.
"""

import json
from collections.abc import Collection, Iterator
from typing import Any, Final

from o365mailer_contract import names
from o365mailer_operator.webhook import patch
from o365mailer_operator.webhook.annotations import read_annotations, shown, unknown_keys
from o365mailer_operator.webhook.container import LOCAL_VOLUMES, container, volumes
from o365mailer_operator.webhook.patch import Operation
from o365mailer_operator.webhook.pod import Pod, PodSpec
from o365mailer_operator.webhook.ports import SYSCTL, Listening, choose_ports
from o365mailer_operator.webhook.resources import choose_resources, limit_range_gives
from o365mailer_operator.webhook.settings import Settings
from o365mailer_operator.webhook.spool import Spool, choose_spool
from o365mailer_operator.webhook.verdict import (
    DOCUMENTATION,
    WARNING_PREFIX,
    Denial,
    Patch,
    Reason,
    Refused,
    Untouched,
    Verdict,
    fitted,
)

MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
"""On the API server's copy of a static pod. No admission changes the pod on the node."""
SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
"""Names of emptyDirs that do not keep the autoscaler (1.27 and later) from removing a node."""
SKIP_CONTAINERS: Final = {
    "azure.workload.identity/skip-containers": ";",
    "eks.amazonaws.com/skip-containers": ",",
}
"""Lists of containers that get no token from the identity webhooks of AKS and EKS, and the separator of the names. Both
webhooks run after ours (by name) and give every other container the app's token (Azure/azure-workload-identity
pkg/webhook; aws/amazon-eks-pod-identity-webhook pkg/handler)."""
MOST_UNKNOWN: Final = 10
"""Annotations that a warning each tells of."""
GRACE_FLOOR: Final = 30
"""Seconds between SIGTERM and SIGKILL that a pod gets at least, as is Kubernetes' default. The sidecar is stopped after
the app, and finishes messages in flight within 25 seconds (its `--grace`)."""
LAST_TRY: Final = 30
"""Seconds that a pod whose spool ends with it gets beyond its own: in 25 of them its sidecar tries every message once
more, even if the app used up all of the pod's own time."""


def inject(pod: Pod, *, namespace: str, settings: Settings) -> Verdict:
    """The verdict on a pod that is being created. `namespace` is the request's, because a workload's pod names none."""
    if pod.metadata.annotation(names.INJECT_ANNOTATION) is None:
        return Untouched(why="no annotation")
    if pod.metadata.annotation(MIRROR_ANNOTATION) is not None:
        return Untouched(why="static pod")
    if any(each.name == names.CONTAINER for each in pod.spec.every_container()):
        return _has_container(pod)
    try:
        return _patch(pod, namespace=namespace, settings=settings)
    except Refused as refused:
        return refused.denial


def _has_container(pod: Pod) -> Untouched | Denial:
    """Our container comes with our status annotation. A user who writes that annotation gets no sidecar."""
    if pod.metadata.annotation(names.STATUS_ANNOTATION) is not None:
        return Untouched(why="injected already")
    return Denial(
        reason=Reason.CONTAINER_NAME_TAKEN,
        message=f"the pod has a container named {names.CONTAINER}, which is the sidecar's name: give your container "
        f"another name, or remove annotation {names.INJECT_ANNOTATION}; in a manifest copied from an injected pod, "
        "remove the container",
    )


def _patch(pod: Pod, *, namespace: str, settings: Settings) -> Patch:
    annotations = read_annotations(pod.metadata.annotations or {}, namespace=namespace)
    mailer = annotations.mailer
    spool = choose_spool(pod.spec, annotations.spool, settings=settings)
    added = volumes(mailer, spool)
    _refuse_impossible(pod, mailer, volumes={volume["name"] for volume in added})
    listening = choose_ports(pod.spec, annotations)
    amounts = choose_resources(
        pod.spec, annotations.resources, defaults=settings.resources, given=limit_range_gives(pod)
    )
    sidecar = container(pod.spec, listening=listening, spool=spool, amounts=amounts, settings=settings)
    notes = (*_unknown(pod), *listening.notes, *(spool.notes if spool else ()))
    operations = (
        *patch.insert_first(pod.spec.init_containers, "spec", "initContainers", value=sidecar),
        *patch.append(pod.spec.volumes, "spec", "volumes", values=added),
        *_pull_secrets(pod.spec, settings),
        *_sysctl(pod.spec, listening.sysctl),
        *_grace(pod.spec, spool),
        *patch.set_key(pod.metadata.labels, "metadata", "labels", key=names.MAILER_LABEL, value=mailer),
        *_annotations(pod, _status(mailer, listening, spool, notes), spool),
    )
    return Patch(operations=operations, mailer=mailer, warnings=tuple(WARNING_PREFIX + note for note in notes))


def _unknown(pod: Pod) -> Iterator[str]:
    """A pod may have 10,000 of them: then the notes in its status annotation would make it invalid."""
    keys = unknown_keys(pod.metadata.annotations)
    if len(keys) > MOST_UNKNOWN:
        yield (
            f"{len(keys) - MOST_UNKNOWN} more annotations of {names.GROUP} are not known to this version and have no "
            "effect"
        )
    for key in keys[:MOST_UNKNOWN]:
        yield fitted(
            "annotation {} is not known to this version and has no effect: correct its name, or remove it "
            f"({DOCUMENTATION} lists the known ones)",
            key,
        )


def _refuse_impossible(pod: Pod, mailer: str, *, volumes: Collection[str]) -> None:
    spec = pod.spec
    if spec.windows():  # first, because a Windows HostProcess pod must have hostNetwork
        raise Refused(
            Reason.WINDOWS,
            "the pod runs on Windows and the sidecar is a Linux image: send mail from a Linux pod, and remove "
            f"annotation {names.INJECT_ANNOTATION} here",
        )
    if spec.host_network:
        raise Refused(
            Reason.HOST_NETWORK,
            "the pod uses the node's network (hostNetwork: true), where the sidecar's ports would be open to "
            f"everything on the node: remove hostNetwork, or annotation {names.INJECT_ANNOTATION}",
        )
    taken = [volume.name for volume in spec.volumes or () if volume.name in volumes]
    if taken:
        raise Refused(
            Reason.VOLUME_NAME_TAKEN,
            f"the pod has a volume named {taken[0]}, which is the sidecar's: give your volume another name",
        )
    label = (pod.metadata.labels or {}).get(names.MAILER_LABEL)
    if label not in (None, mailer):
        # Overwriting it could take the pod out of its ReplicaSet's selector; the ReplicaSet would create pods
        # endlessly.
        raise Refused(
            Reason.LABEL_DIFFERS,
            f"label {names.MAILER_LABEL} is {shown(label)} and annotation {names.INJECT_ANNOTATION} is {mailer!r}: "
            "remove the label, the sidecar's injection sets it",
        )


def _pull_secrets(spec: PodSpec, settings: Settings) -> Iterator[Operation]:
    present = {reference.name for reference in spec.image_pull_secrets or ()}
    missing = [{"name": name} for name in settings.image_pull_secrets if name not in present]
    if missing:
        yield from patch.append(spec.image_pull_secrets, "spec", "imagePullSecrets", values=missing)


def _sysctl(spec: PodSpec, value: str | None) -> Iterator[Operation]:
    if value is None:
        return
    entry = {"name": SYSCTL, "value": value}
    if spec.security_context is None:
        yield patch.set_member("spec", "securityContext", value={"sysctls": [entry]})
    else:
        yield from patch.append(spec.security_context.sysctls, "spec", "securityContext", "sysctls", values=[entry])


def _grace(spec: PodSpec, spool: Spool | None) -> Iterator[Operation]:
    """The API server writes its default before it calls the webhook; a template may have none."""
    said = spec.termination_grace_period_seconds
    given = GRACE_FLOOR if said is None else said
    needed = max(given, GRACE_FLOOR)
    if spool is not None and spool.ends_with_pod:
        needed = max(GRACE_FLOOR, given + LAST_TRY)
    if needed > given:
        yield patch.set_member("spec", "terminationGracePeriodSeconds", value=needed)


def _status(mailer: str, listening: Listening, spool: Spool | None, notes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "mailer": mailer,
        "container": names.CONTAINER,
        "ports": list(listening.ports),
        "healthPort": listening.health_port,
        **({"spool": spool.status()} if spool else {}),
        **({"notes": list(notes)} if notes else {}),
    }


def _annotations(pod: Pod, status: dict[str, Any], spool: Spool | None) -> Iterator[Operation]:
    """With a spool in an emptyDir the autoscaler must not remove the node; a spool on a claim outlives the pod."""
    values = {names.STATUS_ANNOTATION: json.dumps(status)}
    for key, separator in SKIP_CONTAINERS.items():
        values[key] = _listed(pod, key, separator, names.CONTAINER)
    if spool is None or not spool.ends_with_pod:
        values[SAFE_TO_EVICT] = _listed(pod, SAFE_TO_EVICT, ",", *LOCAL_VOLUMES)
    for key, value in values.items():
        yield from patch.set_key(pod.metadata.annotations, "metadata", "annotations", key=key, value=value)


def _listed(pod: Pod, key: str, separator: str, *added: str) -> str:
    """The pod's own list as it is, and after it the names that it lacks."""
    own = pod.metadata.annotation(key) or ""
    missing = [name for name in added if name not in own.split(separator)]
    return separator.join([own, *missing] if own else missing)
