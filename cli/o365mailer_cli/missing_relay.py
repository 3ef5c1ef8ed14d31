"""Why a pod has no relay, from what the API server still knows of it. Pure."""

import datetime
from collections.abc import Mapping
from typing import Final, NamedTuple

from o365mailer_cli.cluster import Manifest
from o365mailer_cli.installation import Installation, unmet
from o365mailer_cli.mailers import instant
from o365mailer_cli.relays import MIRROR_ANNOTATION, status_of
from o365mailer_contract.names import GROUP, INJECT_ANNOTATION, USER_ANNOTATIONS

SLACK: Final = datetime.timedelta(seconds=2)
"""Timestamps of the API have whole seconds."""


class Why(NamedTuple):
    """One cause, and what to do."""

    cause: str
    """The same for all pods of a workload that have no relay for this cause."""
    remedy: str
    detail: str = ""
    """What holds for this pod alone, such as when it was created."""


def why_not_injected(pod: Manifest, *, installation: Installation, labels: Mapping[str, str] | None, again: str) -> Why:
    """The first cause that explains an annotated pod without a relay. The pod's metadata are enough.

    `labels`: of its namespace, None if unknown. `again`: how its workload gets new pods.
    """
    annotations = pod["metadata"].get("annotations") or {}
    if MIRROR_ANNOTATION in annotations:
        return Why(
            "It is a static pod: the node runs it from a file, and no admission changes it.",
            "Run the app as a Deployment, or as a pod that the API server creates.",
        )
    if labels is not None and (requirement := unmet(installation.pods_webhook.get("namespaceSelector"), labels)):
        return Why(
            f"The webhook is not asked about this namespace: its namespaceSelector wants {requirement}.",
            "Change the namespace's labels or the chart's webhook.namespaceSelector, or move the app to another "
            f"namespace. Then {again}.",
        )
    created = instant(pod["metadata"].get("creationTimestamp"))
    installed = instant((installation.configuration or {}).get("metadata", {}).get("creationTimestamp"))
    if created and installed and created < installed:
        return Why(
            "The pod is older than the webhook.",
            f"Get new pods: {again}.",
            f"It was created at {created:%Y-%m-%d %H:%M:%S} UTC, the webhook's configuration at "
            f"{installed:%Y-%m-%d %H:%M:%S} UTC.",
        )
    annotated = annotated_at(pod)
    if created and annotated and annotated > created + SLACK:
        return Why(
            "The annotation was written on the running pod. A pod gets its relay when it is created, and never later.",
            f"Annotate the workload, or the pod template: kubectl annotate deployment NAME {INJECT_ANNOTATION}=MAILER.",
            f"It was written at {annotated:%Y-%m-%d %H:%M:%S} UTC.",
        )
    if status_of(pod):
        return Why(
            f"The pod has the annotation {GROUP}/status, which only the webhook writes: its manifest was copied from "
            "an injected pod, and the container removed.",
            f"Remove the annotation {GROUP}/status from the manifest, and create the pod again.",
        )
    if installation.configuration is None:
        return Why(
            "The cluster has no webhook configuration admission.o365mailer.dev, or you may not read it.",
            f"Is O365 Mailer installed? helm list -A shows it. If it is, get new pods: {again}.",
        )
    if installation.pods_webhook.get("failurePolicy") == "Ignore":
        return Why(
            "The webhook did not answer when the pod was created, and its failurePolicy is Ignore: then pods start "
            "without a relay.",
            f"Get new pods: {again}. webhook.failurePolicy Fail holds annotated pods back until the webhook answers.",
        )
    return Why(
        "The webhook was not asked when the pod was created, or another webhook removed the relay afterwards.",
        f"Get new pods: {again}. Then run o365mailer explain for a new one.",
    )


def annotated_at(manifest: Manifest) -> datetime.datetime | None:
    """When the inject annotation was last written, as far as managedFields say; they may be gone."""
    field = f"f:{INJECT_ANNOTATION}"
    times = [
        instant(each.get("time"))
        for each in manifest["metadata"].get("managedFields") or ()
        if field in each.get("fieldsV1", {}).get("f:metadata", {}).get("f:annotations", {})
    ]
    return max((each for each in times if each), default=None)


def misplaced(manifest: Manifest) -> Why | None:
    """A near miss: the key as a label, or a key of ours that does not exist."""
    metadata = manifest.get("metadata") or {}
    if INJECT_ANNOTATION in (metadata.get("labels") or {}):
        return Why(f"{INJECT_ANNOTATION} is a label here. It has to be an annotation.", "Move it to the annotations.")
    known = {*USER_ANNOTATIONS, f"{GROUP}/status"}
    unknown = [key for key in metadata.get("annotations") or () if key.startswith(f"{GROUP}/") and key not in known]
    if unknown:
        return Why(
            f"The annotation {unknown[0]} does not exist.",
            f"Correct its name; known are {', '.join(sorted(USER_ANNOTATIONS))}.",
        )
    return None
