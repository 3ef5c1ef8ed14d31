"""Pods and workloads to decide about, and what the API server would make of the answer."""

import copy
from typing import Any

import jsonpatch
import msgspec

from o365mailer_contract import names
from o365mailer_operator.webhook.injection import inject
from o365mailer_operator.webhook.pod import Pod
from o365mailer_operator.webhook.settings import Settings
from o365mailer_operator.webhook.verdict import Denial, Patch, Verdict
from o365mailer_operator.webhook.workload import Workload, decide

Manifest = dict[str, Any]
SETTINGS = Settings(image="registry.example/o365mailer-sidecar@sha256:0123")


def pod(annotations: dict[str, str] | None = None, *, spec: Manifest | None = None, **metadata: Any) -> Manifest:
    """A pod that asks for mailer noreply, with these annotations and parts of a spec besides."""
    return {
        "metadata": {
            "name": "web",
            "annotations": {names.INJECT_ANNOTATION: "noreply", **(annotations or {})},
            **metadata,
        },
        "spec": {"containers": [{"name": "app", "image": "app"}], **(spec or {})},
    }


def app(**fields: Any) -> Manifest:
    """Parts of a spec: one container with these fields."""
    return {"containers": [{"name": "app", "image": "app", **fields}]}


def verdict(manifest: Manifest, *, settings: Settings = SETTINGS, namespace: str = "shop") -> Verdict:
    """The decision about a pod."""
    return inject(msgspec.convert(manifest, Pod), namespace=namespace, settings=settings)


def injected(manifest: Manifest, *, settings: Settings = SETTINGS) -> Manifest:
    """The pod after the patch, applied as the API server applies it."""
    answer = verdict(manifest, settings=settings)
    assert isinstance(answer, Patch), answer
    return applied(answer, manifest)


def applied(answer: Patch, manifest: Manifest) -> Manifest:
    """The object after the patch; the object given stays as it is."""
    result: Manifest = jsonpatch.apply_patch(copy.deepcopy(manifest), list(answer.operations))
    return result


def sidecar(manifest: Manifest) -> Manifest:
    """The injected container."""
    (found,) = (each for each in manifest["spec"]["initContainers"] if each["name"] == names.CONTAINER)
    assert isinstance(found, dict)
    return found


def denial(manifest: Manifest) -> Denial:
    """The refusal of a pod."""
    answer = verdict(manifest)
    assert isinstance(answer, Denial), answer
    return answer


def workload(annotation: str | None, template: str | None, *, cronjob: bool = False, **spec: Any) -> Manifest:
    """A workload with the annotation on itself and on its template, where they are not None."""
    inner: Manifest = {"metadata": {}, "spec": {"containers": [{"name": "app", "image": "app"}], **spec}}
    if template is not None:
        inner["metadata"]["annotations"] = {names.INJECT_ANNOTATION: template}
    outer: Manifest = {"metadata": {"name": "web"}, "spec": {"template": inner}}
    if annotation is not None:
        outer["metadata"]["annotations"] = {names.INJECT_ANNOTATION: annotation}
    if cronjob:
        outer["spec"] = {"jobTemplate": {"spec": outer["spec"]}}
    return outer


def decision(new: Manifest, old: Manifest | None = None) -> Verdict:
    """The decision about a workload."""
    before = None if old is None else msgspec.convert(old, Workload)
    return decide(msgspec.convert(new, Workload), before, namespace="shop", settings=SETTINGS)
