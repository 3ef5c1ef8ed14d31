"""The injected container's resources, and the pod's QoS class, which they do not change."""

from typing import Any

import msgspec
import pytest
from webhook.examples import SETTINGS, Manifest, app, denial, injected, pod, sidecar

from o365mailer_contract import names
from o365mailer_contract.quantities import InvalidQuantity
from o365mailer_operator.webhook.pod import PodSpec
from o365mailer_operator.webhook.resources import LIMIT_RANGER_ANNOTATION, Amounts, amount, qos_class
from o365mailer_operator.webhook.settings import Settings

GUARANTEED = app(resources={"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}})
BURSTABLE = app(resources={"requests": {"cpu": "1"}})
SPECS = {"Guaranteed": GUARANTEED, "Burstable": BURSTABLE, "BestEffort": app()}


def key(name: str) -> str:
    return f"{names.GROUP}/{name}"


@pytest.mark.promise("qos-unchanged")
@pytest.mark.parametrize("qos", SPECS)
def test_the_pods_qos_class_stays(qos: str) -> None:
    def of(spec: Any) -> str:
        return qos_class(msgspec.convert(spec, PodSpec))

    assert of(SPECS[qos]) == qos
    assert of(injected(pod(spec=SPECS[qos]))["spec"]) == qos


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (BURSTABLE, {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "250m", "memory": "256Mi"}}),
        (GUARANTEED, {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "250m", "memory": "256Mi"}}),
        (app(), {}),
        ({**app(), "resources": {"requests": {"cpu": "1"}}}, {}),
    ],
    ids=["burstable", "guaranteed", "best effort", "pod-level resources"],
)
def test_defaults_by_qos_class(spec: Manifest, expected: Manifest) -> None:
    assert sidecar(injected(pod(spec=spec)))["resources"] == expected


def test_a_guaranteed_pod_gets_limits_even_where_the_installation_sets_none() -> None:
    settings = Settings(image="x", resources=Amounts(requests={"memory": "40Mi"}, limits={}))
    resources = sidecar(injected(pod(spec=GUARANTEED), settings=settings))["resources"]
    assert resources["requests"] == resources["limits"] == {"cpu": "250m", "memory": "40Mi"}


@pytest.mark.parametrize(
    ("spec", "annotations", "requests", "limits"),
    [
        (BURSTABLE, {"cpu-request": "50m"}, {"cpu": "50m"}, {"cpu": "250m"}),
        (BURSTABLE, {"cpu-request": "2"}, {"cpu": "2"}, {"cpu": "2"}),
        (BURSTABLE, {"memory-limit": "32Mi"}, {"memory": "32Mi"}, {"memory": "32Mi"}),
        (BURSTABLE, {"memory-limit": "1Gi"}, {"memory": "64Mi"}, {"memory": "1Gi"}),
        (GUARANTEED, {"cpu-request": "50m"}, {"cpu": "50m"}, {"cpu": "50m"}),
        (GUARANTEED, {"cpu-request": "0.1", "cpu-limit": "100m"}, {"cpu": "0.1"}, {"cpu": "100m"}),
        (app(), {"memory-limit": "64Mi"}, {}, {"memory": "64Mi"}),
        (
            BURSTABLE,
            {"ephemeral-storage-request": "1Mi", "ephemeral-storage-limit": "1Gi"},
            {"ephemeral-storage": "1Mi"},
            {"ephemeral-storage": "1Gi"},
        ),
    ],
)
def test_an_annotation_goes_first_and_its_counterpart_follows_where_it_must(
    spec: Manifest, annotations: dict[str, str], requests: dict[str, str], limits: dict[str, str]
) -> None:
    result = sidecar(injected(pod({key(name): value for name, value in annotations.items()}, spec=spec)))["resources"]
    assert result.get("requests", {}) | requests == result.get("requests", {})
    assert result.get("limits", {}) | limits == result.get("limits", {})


def test_ephemeral_storage_is_not_limited_unless_asked_for() -> None:
    resources = sidecar(injected(pod(spec=BURSTABLE)))["resources"]
    assert "ephemeral-storage" not in resources["limits"] | resources["requests"]


def test_a_request_above_its_limit_is_denied() -> None:
    refusal = denial(pod({key("cpu-request"): "2", key("cpu-limit"): "1500m"}, spec=BURSTABLE))
    assert refusal.message == (
        "annotation o365mailer.dev/cpu-request is '2' and o365mailer.dev/cpu-limit is '1500m': the request must not be "
        "above the limit; lower the one or raise the other"
    )


def test_annotations_that_would_take_guaranteed_away_are_denied() -> None:
    refusal = denial(pod({key("cpu-request"): "1", key("cpu-limit"): "2"}, spec=GUARANTEED))
    assert refusal.reason == "QoSWouldChange"
    assert refusal.message.endswith("set both to the same, or only one of them")


USUAL = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "250m", "memory": "256Mi"}}
ALL = "LimitRanger plugin set: cpu, memory request for container app; cpu, memory limit for container app"


@pytest.mark.promise("qos-unchanged")
@pytest.mark.parametrize(
    ("note", "annotations", "expected"),
    [
        (None, {}, USUAL),
        ("", {}, USUAL),
        (ALL, {}, {}),
        (
            "LimitRanger plugin set: cpu request for init container a; cpu request for container app",
            {},
            {"requests": {"memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        ),
        (
            "LimitRanger plugin set: memory limit for container cpu",
            {},
            {"requests": {"cpu": "10m"}, "limits": {"cpu": "250m"}},
        ),
        (ALL, {"cpu-request": "50m"}, {"requests": {"cpu": "50m"}}),
        ("cpu", {}, USUAL),
        ("x" * 1_000_000, {}, USUAL),
        (f"LimitRanger plugin set: {' ,' * 300_000}", {}, USUAL),
    ],
)
def test_what_a_limit_range_gave_the_app_is_left_to_it(
    note: str | None, annotations: dict[str, str], expected: Manifest
) -> None:
    noted = {} if note is None else {LIMIT_RANGER_ANNOTATION: note}
    manifest = pod({**noted, **{key(name): value for name, value in annotations.items()}}, spec=BURSTABLE)
    assert sidecar(injected(manifest))["resources"] == expected


@pytest.mark.promise("qos-unchanged")
@pytest.mark.parametrize("qos", SPECS)
def test_the_note_of_a_limit_range_changes_no_qos_class_even_where_it_is_an_old_one(qos: str) -> None:
    """A manifest copied from a running pod has the note, and its new namespace may have no LimitRange."""
    result = injected(pod({LIMIT_RANGER_ANNOTATION: ALL}, spec=SPECS[qos]))
    assert qos_class(msgspec.convert(result["spec"], PodSpec)) == qos


@pytest.mark.parametrize(
    ("text", "value"),
    [("250m", 0.25), ("1", 1), ("1.5", 1.5), (".5", 0.5), ("64Mi", 2**26), ("2k", 2000), ("1e3", 1e3)],
)
def test_quantities_are_compared_by_value(text: str, value: float) -> None:
    assert amount(text) == value


@pytest.mark.parametrize("text", ["", "m", "-1", "1 Mi", "1MiB", "1ki", "0x10", "1e", "٣", "9" * 99])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidQuantity):
        amount(text)


def test_the_defaults_are_the_installations() -> None:
    resources = Amounts(requests={"cpu": "1m"}, limits={"memory": "99Mi", "ephemeral-storage": "1Gi"})
    settings = Settings(image=SETTINGS.image, resources=resources)
    assert sidecar(injected(pod(spec=BURSTABLE), settings=settings))["resources"] == {
        "requests": {"cpu": "1m"},
        "limits": {"memory": "99Mi", "ephemeral-storage": "1Gi"},
    }
