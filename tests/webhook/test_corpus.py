"""Invariants of the injection over corpus.yaml, in every setting: what a pod has it keeps, and what it is it stays."""

import copy
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonpatch
import kubernetes_validate
import msgspec
import pytest
import yaml
from webhook.examples import SETTINGS, Manifest
from webhook.test_injection_properties import kept

from o365mailer_contract import names
from o365mailer_operator.webhook.injection import inject
from o365mailer_operator.webhook.pod import Pod, PodSpec
from o365mailer_operator.webhook.resources import qos_class
from o365mailer_operator.webhook.settings import Settings
from o365mailer_operator.webhook.verdict import Denial, Patch, Untouched, Verdict
from o365mailer_operator.webhook.workload import Workload, decide

VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
OLDEST_AND_NEWEST = (VERSIONS[0], VERSIONS[-1])
REFUSED = "example.com/refused"
CORPUS: list[Manifest] = list(yaml.safe_load_all(Path(__file__).with_name("corpus.yaml").read_text(encoding="utf-8")))
SAFE_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_syncookies"}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


@dataclasses.dataclass(frozen=True)
class Case:
    """How the installation and the annotations are."""

    settings: Settings = SETTINGS
    annotations: dict[str, str] = dataclasses.field(default_factory=dict)
    versions: tuple[str, ...] = OLDEST_AND_NEWEST
    """Of Kubernetes, by whose schemas the result is valid; a schema takes 20 ms a pod."""
    keeps_qos: bool = True
    """An annotation is the user's own word: a request makes a BestEffort pod Burstable."""


CASES = {
    "default": Case(versions=VERSIONS),
    "spool and pull Secret of the installation": Case(
        dataclasses.replace(SETTINGS, spool="ephemeral", image_pull_secrets=("mirror",))
    ),
    "OpenShift": Case(dataclasses.replace(SETTINGS, openshift=True)),
    "spool on a claim": Case(annotations={names.SPOOL_ANNOTATION: "outbox"}),
    "spool ends with the pod": Case(annotations={names.SPOOL_ANNOTATION: "ephemeral"}),
    "other ports": Case(annotations={names.PORTS_ANNOTATION: "2525", names.HEALTH_PORT_ANNOTATION: "9999"}),
    "an annotation of a newer version": Case(annotations={"o365mailer.dev/of-the-future": "x"}),
    "resources": Case(
        annotations={"o365mailer.dev/cpu-request": "20m", "o365mailer.dev/memory-limit": "99Mi"}, keeps_qos=False
    ),
}
Injector = Callable[[Manifest, Settings], Verdict]


def template_of(document: Manifest) -> Manifest:
    """A workload's pod template, or the pod itself."""
    spec = document["spec"]
    if "jobTemplate" in spec:
        spec = spec["jobTemplate"]["spec"]
    found: Manifest = spec.get("template", document)
    return found


def name_of(document: Manifest) -> str:
    return str(document["metadata"].get("name") or document["metadata"]["generateName"])


def pod_of(document: Manifest, case: Case) -> Manifest:
    """The annotated pod that the API server asks about."""
    template = copy.deepcopy(template_of(document))
    metadata = {"name": "x", **template.get("metadata", {})}
    own = metadata.get("annotations") or {}
    metadata["annotations"] = {names.INJECT_ANNOTATION: "noreply", **case.annotations, **own}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def ours(pod: Manifest, settings: Settings) -> Verdict:
    return inject(msgspec.convert(pod, Pod), namespace="shop", settings=settings)


def invalid(document: Manifest, versions: tuple[str, ...] = VERSIONS) -> set[str]:
    """Those of the versions whose strict schema refuses this document."""
    text = json.dumps(document, sort_keys=True)
    return {version for version in versions if not _valid(text, version)}


@functools.cache
def _valid(text: str, version: str) -> bool:
    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except kubernetes_validate.ValidationError:
        return False
    return True


def is_restricted(pod: Manifest) -> bool:
    """Pod Security `restricted`, of what was added (kubernetes.io, "Pod Security Standards")."""
    added = [each for each in pod["spec"]["initContainers"] if each["name"] == names.CONTAINER]
    context: Manifest = added[0].get("securityContext", {})
    volumes = [each for each in pod["spec"]["volumes"] if each["name"].startswith("o365mailer-")]
    return (
        context.get("runAsNonRoot") is True
        and context.get("allowPrivilegeEscalation") is False
        and not context.get("privileged")
        and context.get("runAsUser") != 0
        and context.get("capabilities") == {"drop": ["ALL"]}
        and context.get("seccompProfile") == {"type": "RuntimeDefault"}
        and all("hostPort" not in port for port in added[0].get("ports", []))
        and all(set(volume) - {"name"} <= VOLUMES for volume in volumes)
    )


def broken(pod: Manifest, case: Case, injector: Injector = ours) -> Iterator[str]:
    """The invariants that this injection breaks."""
    verdict = injector(pod, case.settings)
    assert isinstance(verdict, Patch), verdict
    try:
        after = jsonpatch.apply_patch(copy.deepcopy(pod), list(verdict.operations))
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        yield "applies"
        return
    if invalid(after, case.versions) - invalid(pod, case.versions):
        yield "valid"
    grace = "terminationGracePeriodSeconds"
    rest = copy.deepcopy(pod)
    rest["spec"].pop(grace, None)
    lists = (*SKIP_LISTS, names.STATUS_ANNOTATION)
    for key in lists:
        own = rest["metadata"]["annotations"].pop(key, "")
        if not after["metadata"]["annotations"].get(key, "").startswith(own):
            yield "kept"
    if not kept(rest, after) or after["spec"].get(grace, 30) < pod["spec"].get(grace, 0):
        yield "kept"
    if injector(after, case.settings) != Untouched(why="injected already"):
        yield "second pass"
    if not is_restricted(after):
        yield "restricted"
    sysctls = (after["spec"].get("securityContext") or {}).get("sysctls", [])
    if any(each["name"].replace("/", ".") not in SAFE_SYSCTLS for each in sysctls):
        yield "restricted"
    if case.keeps_qos and qos(after) != qos(pod):
        yield "QoS"


SKIP_LISTS = (
    "azure.workload.identity/skip-containers",
    "eks.amazonaws.com/skip-containers",
    "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes",
)


def qos(pod: Manifest) -> str:
    return qos_class(msgspec.convert(pod["spec"], PodSpec))


def injectable() -> list[Manifest]:
    return [document for document in CORPUS if REFUSED not in (document["metadata"].get("annotations") or {})]


@pytest.mark.promise("patch-keeps-the-pod")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("document", injectable(), ids=name_of)
def test_an_injected_pod_keeps_what_it_has_and_stays_what_it_is(document: Manifest, case: Case) -> None:
    assert list(broken(pod_of(document, case), case)) == []


@pytest.mark.promise("broken-annotation-explained")
@pytest.mark.parametrize("document", [each for each in CORPUS if each not in injectable()], ids=name_of)
def test_what_cannot_be_injected_is_refused_for_its_reason(document: Manifest) -> None:
    verdict = ours(pod_of(document, Case()), SETTINGS)
    assert isinstance(verdict, Denial)
    assert verdict.reason == document["metadata"]["annotations"][REFUSED]


@pytest.mark.promise("patch-keeps-the-pod")
@pytest.mark.parametrize("document", [each for each in CORPUS if each["kind"] != "Pod"], ids=name_of)
def test_a_workload_is_carried_into_or_refused_as_its_pods_are(document: Manifest) -> None:
    annotated = copy.deepcopy(document)
    annotated["metadata"].setdefault("annotations", {})[names.INJECT_ANNOTATION] = "noreply"
    template_of(annotated).setdefault("metadata", {})  # as the API server sends it, whose templates always have one
    verdict = decide(msgspec.convert(annotated, Workload), None, namespace="shop", settings=SETTINGS)
    pods = ours(pod_of(document, Case()), SETTINGS)
    if isinstance(pods, Denial):
        assert verdict == pods
        return
    assert isinstance(verdict, Patch)
    after = jsonpatch.apply_patch(copy.deepcopy(annotated), list(verdict.operations))
    assert invalid(after, OLDEST_AND_NEWEST) == set()
    assert kept(annotated, after)
    assert template_of(after)["metadata"]["annotations"][names.INJECT_ANNOTATION] == "noreply"


def test_the_corpus_is_valid_itself() -> None:
    """Or the schemas would prove nothing; null where an array may be is the one exception that some versions make."""
    wrong = {name_of(each): invalid(each, OLDEST_AND_NEWEST) for each in CORPUS}
    assert {name for name, versions in wrong.items() if versions} <= {
        "nothing-said",
        "one-budget",
        "one-guaranteed-budget",
    }


# --- Injectors that are broken on purpose: each is found by the invariant that it breaks ------------------------------


def changed(change: Callable[[list[dict[str, Any]], Manifest], None]) -> Injector:
    """Our injector, with its operations changed."""

    def injector(pod: Manifest, settings: Settings) -> Verdict:
        verdict = ours(pod, settings)
        if not isinstance(verdict, Patch):
            return verdict
        operations = copy.deepcopy(list(verdict.operations))
        sidecar = next(each["value"] for each in operations if each["path"].startswith("/spec/initContainers"))
        change(operations, sidecar[0] if isinstance(sidecar, list) else sidecar)
        return dataclasses.replace(verdict, operations=tuple(operations))

    return injector


def wrong_path(operations: list[dict[str, Any]], _: Manifest) -> None:
    operations.append({"op": "add", "path": "/spec/affinities/0", "value": {}})


def wrong_type(_: list[dict[str, Any]], sidecar: Manifest) -> None:
    sidecar["ports"][0]["containerPort"] = "9025"


def unknown_field(_: list[dict[str, Any]], sidecar: Manifest) -> None:
    sidecar["restartPolicies"] = "Always"


def array_replaced(operations: list[dict[str, Any]], _: Manifest) -> None:
    operations.append({"op": "add", "path": "/spec/containers", "value": [{"name": "b", "image": "b"}]})


def grace_lowered(operations: list[dict[str, Any]], _: Manifest) -> None:
    operations.append({"op": "add", "path": "/spec/terminationGracePeriodSeconds", "value": 1})


def list_replaced(operations: list[dict[str, Any]], _: Manifest) -> None:
    key = SKIP_LISTS[0].replace("/", "~1")
    operations.append({"op": "add", "path": f"/metadata/annotations/{key}", "value": "x"})


def no_status(operations: list[dict[str, Any]], _: Manifest) -> None:
    operations[:] = [each for each in operations if not each["path"].endswith("~1status")]


def privileged(_: list[dict[str, Any]], sidecar: Manifest) -> None:
    sidecar["securityContext"]["privileged"] = True


def host_path(operations: list[dict[str, Any]], _: Manifest) -> None:
    operations.append(
        {"op": "add", "path": "/spec/volumes/-", "value": {"name": "o365mailer-x", "hostPath": {"path": "/"}}}
    )


def some_memory(_: list[dict[str, Any]], sidecar: Manifest) -> None:
    sidecar["resources"] = {"requests": {"memory": "1Mi"}}


@pytest.mark.parametrize(
    ("change", "invariant"),
    [
        (wrong_path, "applies"),
        (wrong_type, "valid"),
        (unknown_field, "valid"),
        (array_replaced, "kept"),
        (grace_lowered, "kept"),
        (list_replaced, "kept"),
        (no_status, "second pass"),
        (privileged, "restricted"),
        (host_path, "restricted"),
        (some_memory, "QoS"),
    ],
)
def test_an_injector_that_is_broken_on_purpose_is_found(
    change: Callable[[list[dict[str, Any]], Manifest], None], invariant: str
) -> None:
    case = Case(versions=("1.37",))
    assert any(invariant in broken(pod_of(each, case), case, changed(change)) for each in injectable())
