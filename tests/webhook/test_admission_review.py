"""The envelope: AdmissionReview v1 in and out."""

import base64
import json
from typing import Any

import pytest

from o365mailer_operator.webhook.review import PODS, WORKLOADS, MalformedReview, decode, encode
from o365mailer_operator.webhook.verdict import Denial, Patch, Reason, Untouched

REVIEW: dict[str, Any] = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "705ab4f5",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": "shop",
        "unknown": {"of": "the future"},
        "object": {
            "metadata": {"generateName": "web-", "annotations": {"a": "b"}, "managedFields": [{"x": 1}]},
            "spec": {"containers": [{"name": "app", "image": "x"}], "initContainers": None},
        },
    },
}


def body(**changes: Any) -> bytes:
    return json.dumps({**REVIEW, "request": {**REVIEW["request"], **changes}}).encode()


def answer(verdict: Patch | Denial | Untouched) -> dict[str, Any]:
    document = json.loads(encode("705ab4f5", verdict))
    assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = document["response"]
    assert isinstance(response, dict)
    return response


def test_a_pod_is_read_with_the_requests_namespace() -> None:
    request = decode(PODS, body())
    assert (request.uid, request.namespace, request.object.metadata.generate_name) == ("705ab4f5", "shop", "web-")
    assert request.object.spec.init_containers is None


def test_a_workload_update_carries_both_states() -> None:
    states = {"object": {"metadata": {"annotations": {"k": "new"}}}, "oldObject": {"metadata": {}}}
    request = decode(WORKLOADS, body(operation="UPDATE", **states))
    assert request.object.metadata.annotation("k") == "new"
    assert request.old_object is not None
    assert request.old_object.metadata.annotation("k") is None


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "truncated"),
        (b"\xff", "malformed"),
        (b"[]", "object"),
        (json.dumps({**REVIEW, "apiVersion": "admission.k8s.io/v1beta1"}).encode(), "$.apiVersion"),
        (body(object=None), "$.request.object"),
        (body(object={"spec": {"containers": [{}]}}), "$.request.object.spec.containers"),
        (body(uid=7), "$.request.uid"),
        (body(unread=7).replace(b"7", b"[" * 100_000 + b"]" * 100_000), "nested too deeply"),
    ],
)
def test_what_is_no_review_is_refused_by_the_path_of_what_is_wrong(content: bytes, named: str) -> None:
    with pytest.raises(MalformedReview) as refused:
        decode(PODS, content)
    assert named in str(refused.value)


def test_untouched_is_allowed_without_a_patch() -> None:
    assert answer(Untouched(why="x")) == {"uid": "705ab4f5", "allowed": True}


def test_a_patch_is_json_patch_in_base64() -> None:
    operation = {"op": "add", "path": "/metadata/labels", "value": {"a": "ü"}}
    response = answer(Patch(operations=(operation,), mailer="noreply", warnings=("w" * 999,)))
    assert response["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(response["patch"])) == [operation]
    assert response["warnings"] == ["w" * 256]


def test_a_denial_is_a_bad_request_that_ends_with_its_reason() -> None:
    assert answer(Denial(reason=Reason.WINDOWS, message="no: do this")) == {
        "uid": "705ab4f5",
        "allowed": False,
        "status": {"status": "Failure", "code": 400, "reason": "BadRequest", "message": "no: do this (Windows)"},
    }
