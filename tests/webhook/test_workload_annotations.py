"""A workload's own annotation: copied into the pod template, followed, removed, or refused where it is said twice."""

import pytest
from webhook.examples import Manifest, applied, decision, workload

from o365mailer_contract import names
from o365mailer_operator.webhook.verdict import Denial, Patch, Reason, Untouched


def template_annotation(manifest: Manifest) -> str | None:
    spec = manifest["spec"].get("jobTemplate", manifest)["spec"]
    found: str | None = spec["template"]["metadata"].get("annotations", {}).get(names.INJECT_ANNOTATION)
    return found


@pytest.mark.promise("workload-annotation-followed")
@pytest.mark.parametrize("cronjob", [False, True], ids=["workload", "cronjob"])
@pytest.mark.parametrize(
    ("before", "now", "template", "after"),
    [
        (None, "noreply", None, "noreply"),
        ("noreply", "noreply", None, "noreply"),
        ("noreply", "billing", "noreply", "billing"),
        ("noreply", None, "noreply", None),
    ],
    ids=["copy", "copy again after the template was replaced", "follow", "remove"],
)
def test_the_annotation_is_carried(
    before: str | None, now: str | None, template: str | None, after: str | None, cronjob: bool
) -> None:
    new = workload(now, template, cronjob=cronjob)
    answer = decision(new, workload(before, template, cronjob=cronjob))
    assert isinstance(answer, Patch)
    assert template_annotation(applied(answer, new)) == after


@pytest.mark.promise("workload-annotation-followed")
@pytest.mark.parametrize(
    ("before", "now", "template"),
    [
        (None, None, None),
        (None, None, "noreply"),
        (None, "noreply", "noreply"),
        ("noreply", "noreply", "noreply"),
        ("noreply", None, "billing"),
        ("noreply", None, None),
    ],
)
def test_what_is_none_of_our_business_is_untouched(before: str | None, now: str | None, template: str | None) -> None:
    assert isinstance(decision(workload(now, template), workload(before, template)), Untouched)


@pytest.mark.promise("workload-annotation-followed")
@pytest.mark.parametrize("before", [None, "support"])
def test_two_different_words_are_refused(before: str | None) -> None:
    answer = decision(workload("noreply", "billing"), workload(before, "billing"))
    assert answer == Denial(
        reason=Reason.CONFLICTING_ANNOTATION,
        message="annotation o365mailer.dev/inject is 'noreply' on the workload and 'billing' in "
        "spec.template.metadata: say it in one place, and remove the other",
    )


def test_a_new_workload_is_copied_into_at_its_creation() -> None:
    new = workload("noreply", None)
    answer = decision(new)
    assert isinstance(answer, Patch)
    assert template_annotation(applied(answer, new)) == "noreply"


def test_a_new_workload_that_says_it_twice_is_refused() -> None:
    assert isinstance(decision(workload("noreply", "billing")), Denial)


def test_the_templates_other_annotations_stay() -> None:
    new = workload("noreply", None)
    new["spec"]["template"]["metadata"]["annotations"] = {"a/b": "c"}
    answer = decision(new)
    assert isinstance(answer, Patch)
    assert applied(answer, new)["spec"]["template"]["metadata"]["annotations"] == {
        "a/b": "c",
        "o365mailer.dev/inject": "noreply",
    }


def test_a_name_that_no_mailer_can_have_is_refused_where_it_is_written() -> None:
    answer = decision(workload("No_Reply", None))
    assert isinstance(answer, Denial)
    assert answer.reason is Reason.MAILER_NAME_INVALID


@pytest.mark.promise("broken-annotation-explained")
def test_what_its_pods_would_be_refused_for_is_said_to_the_person_who_annotates() -> None:
    answer = decision(workload("noreply", None, hostNetwork=True))
    assert isinstance(answer, Denial)
    assert answer.reason is Reason.HOST_NETWORK


def test_the_note_about_587_reaches_the_person_who_annotates() -> None:
    containers = [{"name": "app", "ports": [{"containerPort": 587}]}]
    answer = decision(workload("noreply", None, containers=containers))
    assert isinstance(answer, Patch)
    assert answer.warnings == ("o365mailer: port 587 is left to container app",)


KNOWN = ", ".join(sorted(names.USER_ANNOTATIONS))


@pytest.mark.promise("broken-annotation-explained")
@pytest.mark.parametrize("cronjob", [False, True], ids=["workload", "cronjob"])
@pytest.mark.parametrize("on_template", [False, True], ids=["on the workload", "on the template"])
def test_an_unknown_annotation_is_refused_where_a_person_writes_it(cronjob: bool, on_template: bool) -> None:
    new, before = workload("noreply", None, cronjob=cronjob), workload(None, None, cronjob=cronjob)
    metadata, place = new["metadata"], "metadata"
    if on_template:
        inner = new["spec"]["jobTemplate"]["spec"] if cronjob else new["spec"]
        metadata = inner["template"]["metadata"]
        place = "spec.jobTemplate.spec.template.metadata" if cronjob else "spec.template.metadata"
    metadata.setdefault("annotations", {})["o365mailer.dev/prots"] = "25"
    assert (
        decision(new, before)
        == decision(new)
        == Denial(
            reason=Reason.ANNOTATION_UNKNOWN,
            message=f"annotation 'o365mailer.dev/prots' in {place}.annotations is not known: correct or remove it; "
            f"known are {KNOWN}",
        )
    )


@pytest.mark.promise("broken-annotation-explained")
def test_a_rolled_back_operator_refuses_no_unknown_annotation_that_was_there_or_that_a_controller_writes() -> None:
    """An annotation of the newer version is in use when the operator is rolled back."""
    template = {"annotations": {"o365mailer.dev/log-level": "debug"}}
    new, before = workload("noreply", None), workload(None, None)
    for each in (new, before):
        each["spec"]["template"]["metadata"] = template
    answer = decision(new, before)
    assert isinstance(answer, Patch)
    assert "o365mailer.dev/log-level is not known to this version" in answer.warnings[0]
    made = workload("noreply", None)
    made["spec"]["template"]["metadata"] = template
    assert isinstance(decision(made), Denial)
    made["metadata"]["ownerReferences"] = [{"kind": "CronJob", "name": "web", "controller": True}]
    assert isinstance(decision(made), Patch)


@pytest.mark.promise("workload-annotation-followed")
@pytest.mark.parametrize("kind", ["ReplicaSet", "ReplicationController"])
def test_what_has_no_rollout_is_carried_into_with_a_warning_about_running_pods(kind: str) -> None:
    new, before = {"kind": kind, **workload("noreply", None)}, {"kind": kind, **workload(None, None)}
    answer = decision(new, before)
    assert isinstance(answer, Patch)
    assert template_annotation(applied(answer, new)) == "noreply"
    assert answer.warnings == (
        f"o365mailer: a {kind} leaves running pods as they are: delete its pods, and the new ones have the sidecar",
    )
    at_creation = decision(new)
    assert isinstance(at_creation, Patch)
    assert at_creation.warnings == ()


@pytest.mark.promise("workload-annotation-followed")
@pytest.mark.parametrize("kind", ["ReplicaSet", "ReplicationController"])
def test_what_a_controller_keeps_is_left_to_it(kind: str) -> None:
    new = {"kind": kind, **workload("noreply", "billing")}
    new["metadata"]["ownerReferences"] = [{"kind": "Deployment", "name": "web", "controller": True}]
    assert decision(new) == Untouched(why="of a controller")
    new["metadata"]["ownerReferences"] = [{"kind": "Application", "name": "web"}]
    assert isinstance(decision(new), Denial)


def test_removing_is_possible_whatever_the_template_says_besides() -> None:
    old = workload("noreply", "noreply", hostNetwork=True)
    assert isinstance(decision(workload(None, "noreply", hostNetwork=True), old), Patch)


@pytest.mark.promise("broken-annotation-explained")
@pytest.mark.parametrize(
    ("cronjob", "place"),
    [(False, "spec.template"), (True, "spec.jobTemplate.spec.template")],
    ids=["workload", "cronjob"],
)
def test_another_annotation_on_the_workload_gets_a_warning_that_it_has_no_effect_there(
    cronjob: bool, place: str
) -> None:
    new = workload("noreply", None, cronjob=cronjob)
    new["metadata"]["annotations"] |= {names.SPOOL_ANNOTATION: "ephemeral", "example.com/other": "x"}
    answer = decision(new)
    assert isinstance(answer, Patch)
    (warning,) = answer.warnings
    assert warning == (
        "o365mailer: annotation o365mailer.dev/spool has no effect on the workload: write it in "
        f"{place}.metadata.annotations"
    )


def test_an_annotation_that_the_template_has_too_is_not_warned_about() -> None:
    new = workload("noreply", None)
    new["metadata"]["annotations"][names.SPOOL_ANNOTATION] = "ephemeral"
    new["spec"]["template"]["metadata"]["annotations"] = {names.SPOOL_ANNOTATION: "ephemeral"}
    answer = decision(new)
    assert isinstance(answer, Patch)
    assert answer.warnings == ()
