"""Where a pod's sidecar keeps mail that waits for Exchange: nowhere, in an emptyDir, or on the user's own volume.

A spool promises that mail is not lost, within limits. An annotation of the pod says what the spool survives.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_contract import names
from o365mailer_operator.webhook.pod import PodSpec
from o365mailer_operator.webhook.settings import Settings
from o365mailer_operator.webhook.verdict import fitted

EPHEMERAL_SURVIVES: Final = "restarts of the container and the node; not the pod's deletion, eviction or completion"
CLAIM_SURVIVES: Final = "the pod: the next sidecar that mounts the claim sends what is left"


@dataclass(frozen=True, kw_only=True)
class Spool:
    """The spool of one pod."""

    claim: str | None
    """The PersistentVolumeClaim that it is on; None: an emptyDir."""
    notes: tuple[str, ...]
    """What the user has to do, for the status annotation."""

    def volume(self) -> dict[str, Any]:
        """Without a sizeLimit, because exceeding it would evict the app. The mailer's settings limit the spool."""
        if self.claim is None:
            return {"name": names.SPOOL_VOLUME, "emptyDir": {}}
        return {"name": names.SPOOL_VOLUME, "persistentVolumeClaim": {"claimName": self.claim}}

    @property
    def ends_with_pod(self) -> bool:
        """Whether mail that Exchange has not taken by the pod's end is lost."""
        return self.claim is None

    def status(self) -> dict[str, str]:
        """The kind of volume, and what the spool survives."""
        if self.claim is None:
            return {"volume": names.SPOOL_EPHEMERAL, "survives": EPHEMERAL_SURVIVES}
        return {"volume": f"claim {self.claim}", "survives": CLAIM_SURVIVES}


def choose_spool(spec: PodSpec, annotated: str | None, *, settings: Settings) -> Spool | None:
    """The spool of this pod, None for none. `annotated` is the annotation, checked, or None.

    A pod that ends by itself, such as a Job's, gets an emptyDir only on request: mail that the relay has accepted with
    a 250 would be lost with the pod. After a 451 the Job would be retried.
    """
    usual = settings.spool if _stays(spec) else ""
    chosen = usual if annotated is None else annotated
    if chosen in ("", names.SPOOL_NONE):
        return None
    claim = None if chosen == names.SPOOL_EPHEMERAL else chosen
    notes = _on_emptydir(spec) if claim is None else _on_claim(spec, claim, openshift=settings.openshift)
    return Spool(claim=claim, notes=tuple(notes))


def _stays(spec: PodSpec) -> bool:
    return spec.restart_policy in (None, "Always")


def _on_emptydir(spec: PodSpec) -> Iterator[str]:
    if not _stays(spec):
        yield (
            f"the pod ends with its containers (restartPolicy: {spec.restart_policy}), and mail that Exchange has not "
            f"taken by then is lost: name a PersistentVolumeClaim in annotation {names.SPOOL_ANNOTATION}, or "
            f"{names.SPOOL_NONE}"
        )
    # kubelet counts emptyDirs against the limits of a pod (kubernetes.io, "Local ephemeral storage").
    limited = [each.name for each in spec.every_container() if each.limits("ephemeral-storage")]
    if limited:
        yield fitted(
            "the spool counts against the pod's ephemeral-storage limit (container {}), beyond which kubelet evicts "
            "the pod: keep the mailer's delivery.spool.maxSize well below it",
            limited[0],
        )


def _on_claim(spec: PodSpec, claim: str, *, openshift: bool) -> Iterator[str]:
    """Most volumes belong to root until an fsGroup gives them to a group. The webhook does not set one, because kubelet
    would change the group of every file of the app's own volumes too. OpenShift sets one for every pod."""
    if openshift or (spec.security_context and spec.security_context.fs_group is not None):
        return
    yield fitted(
        f"the pod has no fsGroup, so the volume of claim {{}} must let uid {names.SIDECAR_USER} write: set the "
        f"pod's securityContext.fsGroup, to {names.SIDECAR_USER} or another group, unless it does",
        claim,
    )
