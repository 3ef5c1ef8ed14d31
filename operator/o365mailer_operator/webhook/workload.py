"""Copies a workload's own annotation into its pod template. Pure.

A user only runs `kubectl annotate deployment web o365mailer.dev/inject=noreply`; pods come from the template. The
rules, with the workload's annotation W, its value before this request, and the template's annotation T:

- W is set and T is not → T becomes W (copy).
- W is set and T equals the former W → T becomes W (follow).
- W is removed and T equals the former W → T is removed.
- W is set and T has another value of its own → denied: annotate in one place.
- In every other case nothing happens, and the API server does not call the webhook (the matchConditions of
  charts/o365mailer/templates/admission-mutatingwebhookconfiguration.yaml).

The API server never calls the webhook for a workload that is annotated only on its template, so it can be updated while
the webhook is away.
"""

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from o365mailer_contract import names
from o365mailer_contract.settings import Part
from o365mailer_operator.webhook import patch
from o365mailer_operator.webhook.annotations import shown, unknown_keys
from o365mailer_operator.webhook.injection import inject
from o365mailer_operator.webhook.pod import Metadata, Pod
from o365mailer_operator.webhook.settings import Settings
from o365mailer_operator.webhook.verdict import WARNING_PREFIX, Denial, Patch, Reason, Untouched, Verdict

IN_WORKLOAD = ("spec", "template")
KEEPS_OLD_PODS = ("ReplicaSet", "ReplicationController")
"""Kinds that have a pod template and no rollout."""
IN_CRONJOB = ("spec", "jobTemplate", "spec", "template")


class JobSpec(Part, frozen=True):
    """The spec of a CronJob's Jobs."""

    template: Pod | None = None


class JobTemplate(Part, frozen=True):
    """The template of a CronJob's Jobs."""

    spec: JobSpec = JobSpec()


class Spec(Part, frozen=True):
    """A workload's spec; it has one of the two templates."""

    template: Pod | None = None
    job_template: JobTemplate | None = None


class Workload(Part, frozen=True):
    """A Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job or CronJob."""

    kind: str = ""
    metadata: Metadata = Metadata()
    spec: Spec = Spec()

    def place(self) -> tuple[Pod | None, tuple[str, ...]]:
        """The pod template, and the path to it."""
        if self.spec.job_template is not None:
            return self.spec.job_template.spec.template, IN_CRONJOB
        return self.spec.template, IN_WORKLOAD

    def unknown(self) -> list[tuple[str, str]]:
        """The annotations of our group that this version does not know, each with the path of its metadata."""
        template, path = self.place()
        inner = template.metadata.annotations if template else None
        return [
            *(("metadata", key) for key in unknown_keys(self.metadata.annotations)),
            *((f"{'.'.join(path)}.metadata", key) for key in unknown_keys(inner)),
        ]


def decide(new: Workload, old: Workload | None, *, namespace: str, settings: Settings) -> Verdict:
    """The verdict on a workload that is created (`old` is None) or updated."""
    template, path = new.place()
    if template is None:
        return Untouched(why="no pod template")
    if new.kind in KEEPS_OLD_PODS and new.metadata.controlled:
        return Untouched(why="of a controller")
    wanted = new.metadata.annotation(names.INJECT_ANNOTATION)
    before = old.metadata.annotation(names.INJECT_ANNOTATION) if old else None
    present = template.metadata.annotation(names.INJECT_ANNOTATION)
    if wanted == present:
        return Untouched(why="carried already")
    if wanted is None:
        if before is None or present != before:
            return Untouched(why="annotated on the template only")
        removal = patch.remove(*path, "metadata", "annotations", names.INJECT_ANNOTATION)
        return Patch(operations=(removal,), mailer=None)
    if present is not None and present != before:
        return _conflict(wanted, present, path)
    unknown = _new_unknown(new, old)
    if unknown is not None:
        return unknown
    verdict = _carry(wanted, template, path, namespace=namespace, settings=settings)
    if isinstance(verdict, Patch):
        warnings = (*verdict.warnings, *_without_effect(new.metadata, template.metadata, path), *_old_pods(new, old))
        return replace(verdict, warnings=warnings)
    return verdict


def _conflict(wanted: str, present: str, path: tuple[str, ...]) -> Denial:
    return Denial(
        reason=Reason.CONFLICTING_ANNOTATION,
        message=f"annotation {names.INJECT_ANNOTATION} is {shown(wanted)} on the workload and {shown(present)} in "
        f"{'.'.join(path)}.metadata: say it in one place, and remove the other",
    )


def _new_unknown(new: Workload, old: Workload | None) -> Denial | None:
    """The refusal of an annotation of our group that this version does not know.

    An annotation from before is not refused, nor one on an object that a controller makes (a CronJob's Job): after a
    rollback the operator refuses only what a person has just written.
    """
    before = set(old.unknown()) if old else set()
    unknown = [found for found in new.unknown() if found not in before]
    if not unknown or new.metadata.controlled:
        return None
    place, key = unknown[0]
    return Denial(
        reason=Reason.ANNOTATION_UNKNOWN,
        message=f"annotation {shown(key)} in {place}.annotations is not known: correct or remove it; known are "
        + ", ".join(sorted(names.USER_ANNOTATIONS)),
    )


def _without_effect(workload: Metadata, template: Metadata, path: tuple[str, ...]) -> Iterator[str]:
    """Only the mailer's name is copied. A user who writes `spool` on the workload should not expect a spool."""
    for key in sorted(names.USER_ANNOTATIONS - {names.INJECT_ANNOTATION}):
        if workload.annotation(key) is not None and template.annotation(key) is None:
            yield (
                f"{WARNING_PREFIX}annotation {key} has no effect on the workload: write it in "
                f"{'.'.join(path)}.metadata.annotations"
            )


def _old_pods(new: Workload, old: Workload | None) -> Iterator[str]:
    if old is not None and new.kind in KEEPS_OLD_PODS:
        yield (
            f"{WARNING_PREFIX}a {new.kind} leaves running pods as they are: delete its pods, and the new ones have the "
            "sidecar"
        )


def _carry(wanted: str, template: Pod, path: tuple[str, ...], *, namespace: str, settings: Settings) -> Verdict:
    """The template with the annotation, unless its pods would then be refused. The refusal of a pod is only an Event of
    its ReplicaSet, so the person who annotates the workload gets it here."""
    annotations = {**(template.metadata.annotations or {}), names.INJECT_ANNOTATION: wanted}
    metadata = msgspec.structs.replace(template.metadata, annotations=annotations)
    foreseen = inject(msgspec.structs.replace(template, metadata=metadata), namespace=namespace, settings=settings)
    if isinstance(foreseen, Denial):
        return foreseen
    operations = patch.set_key(
        template.metadata.annotations,
        *path,
        "metadata",
        "annotations",
        key=names.INJECT_ANNOTATION,
        value=wanted,
    )
    return Patch(
        operations=tuple(operations),
        mailer=wanted,
        warnings=foreseen.warnings if isinstance(foreseen, Patch) else (),
    )
