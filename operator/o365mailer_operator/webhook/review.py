"""AdmissionReview v1: the API server's question and our answer, typed (k8s.io/api/admission/v1)."""

import base64
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from o365mailer_contract.settings import Part
from o365mailer_operator.webhook.pod import Pod
from o365mailer_operator.webhook.verdict import WARNING_LIMIT, Denial, Patch, Verdict
from o365mailer_operator.webhook.workload import Workload

API_VERSION: Final = "admission.k8s.io/v1"

Object = TypeVar("Object")


class GroupVersionKind(Part, frozen=True):
    """The kind of the request's object."""

    group: str = ""
    version: str = ""
    kind: str = ""


class Request(Part, Generic[Object], frozen=True):
    """What the API server asks."""

    uid: str
    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
    object: Object
    kind: GroupVersionKind = GroupVersionKind()
    name: str = ""
    namespace: str = ""
    old_object: Object | None = None
    dry_run: bool | None = None


class Review(Part, Generic[Object], frozen=True):
    """The envelope of a request."""

    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: Request[Object]


PODS: Final = msgspec.json.Decoder(Review[Pod])
WORKLOADS: Final = msgspec.json.Decoder(Review[Workload])


class MalformedReview(ValueError):
    """The body is not an AdmissionReview v1 of the expected object; the message names the member."""


def decode(decoder: msgspec.json.Decoder[Review[Object]], body: bytes) -> Request[Object]:
    """The request in this body.

    Raises MalformedReview.
    """
    try:
        return decoder.decode(body).request
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedReview(f"not an AdmissionReview v1: {error}") from None
    except RecursionError:
        raise MalformedReview("not an AdmissionReview v1: nested too deeply") from None


def encode(uid: str, verdict: Verdict) -> bytes:
    """The answer to the request of this uid."""
    response: dict[str, Any] = {"uid": uid, "allowed": not isinstance(verdict, Denial)}
    match verdict:
        case Denial():
            response["status"] = {
                "status": "Failure",
                "code": 400,
                "reason": "BadRequest",
                "message": f"{verdict.message} ({verdict.reason})",
            }
        case Patch():
            response["patchType"] = "JSONPatch"
            response["patch"] = base64.b64encode(msgspec.json.encode(verdict.operations)).decode()
            if verdict.warnings:
                response["warnings"] = [warning[:WARNING_LIMIT] for warning in verdict.warnings]
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
