"""Workload annotations, through kubectl, on a real API server: what people type, in the orders they type it."""

import json

import pytest
from support.waiting import eventually
from webhook.examples import Manifest
from webhook.installation import Installation

from o365mailer_contract import names

KEY = names.INJECT_ANNOTATION
PATHS = {
    "deployment": ("apps/v1", ("spec", "template")),
    "statefulset": ("apps/v1", ("spec", "template")),
    "daemonset": ("apps/v1", ("spec", "template")),
    "replicaset": ("apps/v1", ("spec", "template")),
    "replicationcontroller": ("v1", ("spec", "template")),
    "job": ("batch/v1", ("spec", "template")),
    "cronjob": ("batch/v1", ("spec", "jobTemplate", "spec", "template")),
}
KINDS = {
    "statefulset": "StatefulSet",
    "daemonset": "DaemonSet",
    "replicaset": "ReplicaSet",
    "replicationcontroller": "ReplicationController",
    "cronjob": "CronJob",
}

CHANGEABLE = [kind for kind in PATHS if kind != "job"]


def manifest(
    kind: str, *, annotation: str | None = None, template: str | None = None, image: str = "app", name: str = "web"
) -> Manifest:
    """A workload as a user's file has it."""
    inner: Manifest = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": image}]},
    }
    if template is not None:
        inner["metadata"]["annotations"] = {KEY: template}
    spec: Manifest = {"template": inner}
    if kind in ("job", "cronjob"):
        inner["spec"]["restartPolicy"] = "Never"
        spec["suspend"] = True
    else:
        spec["selector"] = {"app": name} if kind == "replicationcontroller" else {"matchLabels": {"app": name}}
    if kind == "statefulset":
        spec["serviceName"] = name
    if kind == "cronjob":
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}}
    annotations = {} if annotation is None else {"annotations": {KEY: annotation}}
    return {
        "apiVersion": PATHS[kind][0],
        "kind": KINDS.get(kind, kind.capitalize()),
        "metadata": {"name": name, **annotations},
        "spec": spec,
    }


class Workloads:
    """One namespace, as seen and changed through kubectl."""

    def __init__(self, installation: Installation) -> None:
        self.namespace = installation.new_namespace()
        self.kubectl = installation.plane.kubectl

    def run(self, *arguments: str, stdin: Manifest | None = None) -> str:
        text = None if stdin is None else json.dumps(stdin)
        return self.kubectl("--namespace", self.namespace, *arguments, stdin=text)

    def refused(self, *arguments: str, stdin: Manifest | None = None) -> str:
        text = None if stdin is None else json.dumps(stdin)
        done = self.kubectl.process("--namespace", self.namespace, *arguments, stdin=text)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def apply(self, document: Manifest, *flags: str) -> None:
        self.run("apply", *flags, "--filename", "-", stdin=document)

    def annotate(self, kind: str, *values: str, name: str = "web") -> None:
        self.run("annotate", kind, name, *values)

    def carried(self, kind: str, name: str = "web") -> str | None:
        """The template's annotation."""
        found = self.kubectl.json("--namespace", self.namespace, "get", kind, name)
        for step in PATHS[kind][1]:
            found = found[step]
        value: str | None = found["metadata"].get("annotations", {}).get(KEY)
        return value

    def generation(self, kind: str = "deployment") -> int:
        return int(self.kubectl.json("--namespace", self.namespace, "get", kind, "web")["metadata"]["generation"])


@pytest.fixture
def workloads(installation: Installation) -> Workloads:
    return Workloads(installation)


@pytest.mark.promise("workload-annotation-followed")
@pytest.mark.parametrize("kind", CHANGEABLE)
def test_annotate_overwrite_and_remove_reach_the_template(workloads: Workloads, kind: str) -> None:
    workloads.apply(manifest(kind))
    assert workloads.carried(kind) is None
    workloads.annotate(kind, f"{KEY}=noreply")
    assert workloads.carried(kind) == "noreply"
    workloads.annotate(kind, f"{KEY}=billing", "--overwrite")
    assert workloads.carried(kind) == "billing"
    workloads.annotate(kind, f"{KEY}-")
    assert workloads.carried(kind) is None


@pytest.mark.promise("workload-annotation-followed")
@pytest.mark.parametrize("kind", PATHS)
def test_a_workload_created_with_the_annotation_carries_it(workloads: Workloads, kind: str) -> None:
    workloads.apply(manifest(kind, annotation="noreply"))
    assert workloads.carried(kind) == "noreply"


def test_annotating_a_deployment_alone_injects_its_next_pods(workloads: Workloads) -> None:
    workloads.apply(manifest("deployment"))
    workloads.annotate("deployment", f"{KEY}=noreply")
    select = ("--namespace", workloads.namespace, "get", "pods", "-l", f"{names.MAILER_LABEL}=noreply")
    pods = eventually(lambda: workloads.kubectl.json(*select)["items"], "the injected pod")
    assert pods[0]["spec"]["initContainers"][0]["name"] == names.CONTAINER


@pytest.mark.promise("workload-annotation-followed")
@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client side", "server side"])
def test_a_file_applied_twice_keeps_the_annotation_and_rolls_nothing_out(
    workloads: Workloads, flags: tuple[str, ...]
) -> None:
    document = manifest("deployment", annotation="noreply")
    workloads.apply(document, *flags)
    first = workloads.generation()
    workloads.apply(document, *flags)
    assert (workloads.carried("deployment"), workloads.generation()) == ("noreply", first)
    workloads.apply(manifest("deployment", annotation="billing"), *flags)
    assert workloads.carried("deployment") == "billing"
    workloads.apply(manifest("deployment"), *flags)
    assert workloads.carried("deployment") is None


@pytest.mark.promise("workload-annotation-followed")
@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client side", "server side"])
def test_a_file_without_the_annotation_applied_over_kubectl_annotate_keeps_it(
    workloads: Workloads, flags: tuple[str, ...]
) -> None:
    workloads.apply(manifest("deployment"), *flags)
    workloads.annotate("deployment", f"{KEY}=noreply")
    workloads.apply(manifest("deployment", image="app:2"), *flags)
    assert workloads.carried("deployment") == "noreply"


def test_kubectl_replace_without_the_annotation_removes_nothing_that_was_not_there(workloads: Workloads) -> None:
    workloads.apply(manifest("deployment", annotation="noreply"))
    workloads.run("replace", "--filename", "-", stdin=manifest("deployment"))
    assert workloads.carried("deployment") is None


@pytest.mark.promise("workload-annotation-followed")
def test_rollout_undo_of_a_deployment_goes_back_with_its_annotation(workloads: Workloads) -> None:
    workloads.apply(manifest("deployment"))
    _wait_for_revision(workloads, 1)
    workloads.annotate("deployment", f"{KEY}=noreply")
    _wait_for_revision(workloads, 2)
    workloads.annotate("deployment", f"{KEY}=billing", "--overwrite")
    _wait_for_revision(workloads, 3)
    workloads.run("rollout", "undo", "deployment", "web")
    assert workloads.carried("deployment") == "noreply"
    workloads.run("rollout", "undo", "deployment", "web", "--to-revision=1")
    assert workloads.carried("deployment") is None


def _wait_for_revision(workloads: Workloads, revision: int) -> None:
    """The controller's work, which the annotation of the ReplicaSet is part of."""
    key = "deployment.kubernetes.io/revision"
    select = ("--namespace", workloads.namespace, "get", "deployment", "web")
    eventually(
        lambda: workloads.kubectl.json(*select)["metadata"].get("annotations", {}).get(key) == str(revision),
        f"revision {revision}",
    )


@pytest.mark.promise("workload-annotation-followed")
def test_rollout_undo_of_a_stateful_set_is_carried_into_again(workloads: Workloads) -> None:
    workloads.apply(manifest("statefulset"))
    revisions = ("--namespace", workloads.namespace, "get", "controllerrevisions")
    eventually(lambda: len(workloads.kubectl.json(*revisions)["items"]) == 1, "the first revision")
    workloads.annotate("statefulset", f"{KEY}=noreply")
    eventually(lambda: len(workloads.kubectl.json(*revisions)["items"]) == 2, "the second revision")
    workloads.run("rollout", "undo", "statefulset", "web")
    assert workloads.carried("statefulset") == "noreply"


@pytest.mark.promise("workload-annotation-followed")
def test_a_replica_set_of_a_deployment_is_the_deployments(installation: Installation, workloads: Workloads) -> None:
    """The Deployment's controller copies the annotation to it, and its template is what the Deployment says."""
    workloads.apply(manifest("deployment", template="billing"))
    select = ("--namespace", workloads.namespace, "get", "replicasets")
    found = eventually(lambda: workloads.kubectl.json(*select)["items"], "the ReplicaSet")
    name = found[0]["metadata"]["name"]
    before = installation.api.webhook_requests()
    workloads.annotate("replicaset", f"{KEY}=noreply", name=name)
    assert workloads.carried("replicaset", name) == "billing"
    assert installation.api.webhook_requests() == before
    workloads.apply(manifest("replicaset", template="billing", name="own"))
    assert "(ConflictingAnnotation)" in workloads.refused("annotate", "replicaset", "own", f"{KEY}=noreply")


@pytest.mark.promise("workload-annotation-followed")
@pytest.mark.parametrize("kind", ["replicaset", "replicationcontroller"])
def test_kubectl_says_that_running_pods_stay_as_they_are(workloads: Workloads, kind: str) -> None:
    workloads.apply(manifest(kind))
    done = workloads.kubectl.process("--namespace", workloads.namespace, "annotate", kind, "web", f"{KEY}=noreply")
    assert f"Warning: o365mailer: a {KINDS[kind]} leaves running pods as they are: delete its pods" in done.stderr


@pytest.mark.promise("workload-annotation-followed")
def test_a_running_job_can_be_annotated_and_stays_as_it_is(workloads: Workloads) -> None:
    workloads.apply(manifest("job"))
    workloads.annotate("job", f"{KEY}=noreply")
    assert workloads.carried("job") is None
    workloads.annotate("job", f"{KEY}-")


def test_a_job_that_a_cron_job_makes_has_the_annotation(workloads: Workloads) -> None:
    workloads.apply(manifest("cronjob", annotation="noreply"))
    workloads.run("create", "job", "now", "--from=cronjob/web")
    assert workloads.carried("job", "now") == "noreply"


@pytest.mark.promise("workload-annotation-followed")
def test_two_different_words_are_refused_and_one_place_is_not(workloads: Workloads) -> None:
    workloads.apply(manifest("deployment", template="billing"))
    text = workloads.refused("annotate", "deployment", "web", f"{KEY}=noreply")
    assert 'admission webhook "workloads.admission.o365mailer.dev" denied the request: ' in text
    assert (
        "annotation o365mailer.dev/inject is 'noreply' on the workload and 'billing' in spec.template.metadata: say it "
        "in one place, and remove the other (ConflictingAnnotation)" in text
    )
    workloads.annotate("deployment", f"{KEY}=billing")
    assert workloads.carried("deployment") == "billing"


@pytest.mark.promise("broken-annotation-explained")
def test_what_pods_would_be_refused_for_is_said_when_the_workload_is_annotated(workloads: Workloads) -> None:
    document = manifest("daemonset")
    document["spec"]["template"]["spec"]["hostNetwork"] = True
    workloads.apply(document)
    assert "(HostNetwork)" in workloads.refused("annotate", "daemonset", "web", f"{KEY}=noreply")
    assert "(MailerNameInvalid)" in workloads.refused("annotate", "daemonset", "web", f"{KEY}=No_Reply")


def test_unannotated_workloads_never_reach_the_webhook(installation: Installation, workloads: Workloads) -> None:
    def asked() -> int:
        return installation.api.webhook_requests().get(names.WORKLOADS_WEBHOOK, 0)

    before = asked()
    for kind in PATHS:
        workloads.apply(manifest(kind, template="noreply" if kind == "deployment" else None))
    workloads.run("scale", "deployment", "web", "--replicas=2")
    workloads.run("label", "cronjob", "web", "a=b")
    assert asked() == before
    workloads.annotate("cronjob", f"{KEY}=noreply")
    assert asked() > before
