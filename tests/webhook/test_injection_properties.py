"""What holds for the patch of any valid pod."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from webhook.examples import Manifest, applied, verdict

from o365mailer_contract import names
from o365mailer_operator.webhook.pod import PodSpec
from o365mailer_operator.webhook.resources import qos_class
from o365mailer_operator.webhook.verdict import Patch, Untouched, Verdict

LABELS = st.from_regex(r"[a-z]([-a-z0-9]{0,6}[a-z0-9])?", fullmatch=True)
MAYBE = st.none
TEXTS = st.dictionaries(LABELS.map("example.com/".__add__), st.text("ab,~/", max_size=5), max_size=2)
AMOUNTS = st.fixed_dictionaries(
    {}, optional={"cpu": st.sampled_from(["0", "1", "1000m", "2"]), "memory": st.sampled_from(["0", "1Gi", "1024Mi"])}
)
RESOURCES = st.fixed_dictionaries({}, optional={"requests": AMOUNTS, "limits": AMOUNTS})
PORTS = st.lists(st.fixed_dictionaries({"containerPort": st.sampled_from([80, 587, 8080])}), max_size=2)


def containers(prefix: str, least: int) -> st.SearchStrategy[list[Manifest]]:
    fields: dict[str, st.SearchStrategy[Any]] = {"image": st.just("app")}
    one = st.fixed_dictionaries(fields, optional={"ports": PORTS, "resources": RESOURCES, "args": st.just(["-x"])})
    return st.lists(one, min_size=least, max_size=3).map(
        lambda found: [{"name": f"{prefix}-{number}", **each} for number, each in enumerate(found)]
    )


VOLUMES = st.lists(LABELS, unique=True, max_size=3).map(
    lambda found: [{"name": each, "emptyDir": {}} for each in found]
)
SYSCTLS = st.just([{"name": "net.core.somaxconn", "value": "1024"}])
SECURITY = st.fixed_dictionaries(
    {}, optional={"runAsUser": st.integers(0, 9), "fsGroup": st.integers(0, 9), "sysctls": MAYBE() | SYSCTLS}
)
SPECS = st.fixed_dictionaries(
    {"containers": containers("app", 1)},
    optional={
        "initContainers": MAYBE() | containers("init", 0),
        "volumes": MAYBE() | VOLUMES,
        "securityContext": MAYBE() | SECURITY,
        "terminationGracePeriodSeconds": st.integers(0, 90),
        "imagePullSecrets": st.just([{"name": "own"}]),
        "serviceAccountName": st.just("web"),
        "restartPolicy": st.sampled_from(["Always", "OnFailure", "Never"]),
    },
)
SPOOL = st.fixed_dictionaries(
    {}, optional={names.SPOOL_ANNOTATION: st.sampled_from(["ephemeral", "none", "outbox", "mail.outbox"])}
)
PODS = st.builds(
    lambda name, annotations, spool, labels, spec: {
        "metadata": {
            "annotations": {**annotations, **spool, names.INJECT_ANNOTATION: name},
            **({} if labels is None else {"labels": labels}),
        },
        "spec": spec,
    },
    LABELS,
    TEXTS,
    SPOOL,
    MAYBE() | TEXTS,
    SPECS,
)


def patched(pod: Manifest) -> Manifest:
    answer = verdict(pod)
    assert isinstance(answer, Patch), answer
    return applied(answer, pod)


def kept(before: object, after: object) -> bool:
    """Whether everything that was there is there still: maps may grow, arrays may grow at either end."""
    if before is None:
        return True
    if isinstance(before, dict):
        assert isinstance(after, dict)
        return all(kept(value, after.get(key)) for key, value in before.items())
    if isinstance(before, list):
        assert isinstance(after, list)
        return after[: len(before)] == before or after[len(after) - len(before) :] == before
    return before == after


@pytest.mark.promise("patch-keeps-the-pod")
@given(PODS)
def test_the_patch_applies_and_takes_nothing_away(pod: Manifest) -> None:
    after = patched(pod)
    grace = "terminationGracePeriodSeconds"
    assert after["spec"].pop(grace, 0) >= pod["spec"].get(grace, 0)
    assert kept({**pod, "spec": {key: value for key, value in pod["spec"].items() if key != grace}}, after)
    assert after["spec"]["containers"] == pod["spec"]["containers"]


@pytest.mark.promise("patch-keeps-the-pod")
@given(PODS)
def test_a_second_call_changes_nothing(pod: Manifest) -> None:
    assert verdict(patched(pod)) == Untouched(why="injected already")


@pytest.mark.promise("qos-unchanged")
@given(PODS)
def test_the_qos_class_stays(pod: Manifest) -> None:
    assert qos_class(msgspec.convert(patched(pod)["spec"], PodSpec)) == qos_class(msgspec.convert(pod["spec"], PodSpec))


@given(PODS)
def test_every_operation_adds(pod: Manifest) -> None:
    answer = verdict(pod)
    assert isinstance(answer, Patch)
    assert {operation["op"] for operation in answer.operations} == {"add"}


@given(st.dictionaries(st.sampled_from(sorted(names.USER_ANNOTATIONS)), st.text(max_size=12)), SPECS)
def test_every_annotation_is_decided(annotations: dict[str, str], spec: Manifest) -> None:
    answer = verdict({"metadata": {"annotations": {names.INJECT_ANNOTATION: "noreply", **annotations}}, "spec": spec})
    assert isinstance(answer, Verdict)
