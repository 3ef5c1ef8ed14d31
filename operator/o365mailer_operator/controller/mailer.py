"""An O365Mailer as the API server holds it: identity, spec and status."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from o365mailer_contract import names
from o365mailer_contract.settings import Instant, Part

LARGEST_COUNT: Final = 2**53
"""The largest number that every JSON reader keeps exact. The controller writes no larger one."""

LONGEST_REQUEST: Final = 64
"""Characters of a refresh request that are kept as they are; a longer one is known by its digest."""

Manifest = dict[str, Any]
"""An object as the API server writes it."""
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)]


class Key(NamedTuple):
    """A mailer's namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Condition(Part, frozen=True, omit_defaults=True):
    """One condition of the status (metav1.Condition)."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: Instant
    observed_generation: int = 0


class Login(Part, frozen=True, omit_defaults=True):
    """What is known of the logins at Exchange that were tried for a mailer; canary.py says what follows from it."""

    subject: str
    """A digest of mailbox, application and host."""
    since: Instant
    """When the controller first had a token for it: from then on, rights may still spread."""
    last_time: Instant | None = None
    """When it was last tried."""
    next_time: Instant | None = None
    """When it is tried again."""
    refusals: Count = 0
    """By Exchange, since the last login that worked."""
    refused_since: Instant | None = None
    """The first of them."""
    failures: Count = 0
    """Attempts in a row that Exchange neither accepted nor refused."""


class Status(Part, frozen=True, omit_defaults=True):
    """What the controller writes about a mailer, and reads back to know of failed attempts.

    `conditions` includes those of other writers.
    """

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    secret_name: str | None = None
    token_expiry: Instant | None = None
    token_revision: Count = 0
    last_refresh: Instant | None = None
    next_refresh: Instant | None = None
    failed_attempts: Count = 0
    last_attempt: str | None = None
    last_attempt_time: Instant | None = None
    last_failure_time: Instant | None = None
    reason_transition_time: Instant | None = None
    login: Login | None = None

    def condition(self, kind: str) -> Condition | None:
        """The condition of a type, if it is set."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


class _Metadata(Part, frozen=True):
    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int = 1
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    """Only the one that asks for a fresh token (`needed`)."""
    deletion_timestamp: str | None = None


class Mailer(Part, frozen=True):
    """One O365Mailer. The spec is not decoded here: a wrong one is a state to report, not a failure to read."""

    metadata: _Metadata
    spec: Any = None
    status: Status = Status()

    @property
    def key(self) -> Key:
        return Key(self.metadata.namespace, self.metadata.name)

    @property
    def refresh_request(self) -> str:
        """The value of the annotation that asks for a fresh token; empty without one."""
        return self.metadata.annotations.get(names.REFRESH_ANNOTATION, "")

    @property
    def deleting(self) -> bool:
        """Whether it is being deleted. The garbage collector deletes its Secret."""
        return self.metadata.deletion_timestamp is not None

    @property
    def owner_reference(self) -> Manifest:
        """With it, the garbage collector deletes an object together with this mailer."""
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": self.metadata.name,
            "uid": self.metadata.uid,
            "controller": True,
        }


def decode_mailer(manifest: Manifest) -> Mailer:
    """The mailer in the API server's JSON. A status that another writer has broken counts as none."""
    kept = needed(manifest)
    try:
        return msgspec.convert(kept, Mailer)
    except msgspec.ValidationError:
        return msgspec.convert({**kept, "status": {}}, Mailer)


def needed(manifest: Mapping[str, Any]) -> Manifest:
    """The mailer without what a reconcile does not need.

    A user may write 256 KiB of annotations and a megabyte of labels into each of their mailers, and the controller
    keeps mailers in memory.
    """
    metadata = manifest["metadata"]
    request = refresh_request_in(metadata)
    members = ("name", "namespace", "uid", "resourceVersion", "generation", "deletionTimestamp")
    return {
        "metadata": {
            **{name: metadata[name] for name in members if metadata.get(name) is not None},
            "annotations": {names.REFRESH_ANNOTATION: request} if request else {},
        },
        "spec": manifest.get("spec"),
        "status": manifest.get("status") or {},
    }


def refresh_request_in(metadata: Mapping[str, Any]) -> str | None:
    """The annotation that asks for a fresh token; of a long one its digest. None without it."""
    request = (metadata.get("annotations") or {}).get(names.REFRESH_ANNOTATION)
    if request is None or len(request) <= LONGEST_REQUEST:
        return request
    return f"sha256:{hashlib.sha256(request.encode()).hexdigest()[:32]}"


def encode_status(status: Status) -> Manifest:
    """The status as JSON. Members without a value are null, so that a merge patch removes them.

    A merge patch replaces the whole array of conditions, other writers' included. Send it with the resourceVersion that
    was read, so that a condition which another writer sets in between causes a Conflict.
    """
    encoded = {**_members_of(Status), **msgspec.to_builtins(status)}
    if encoded["login"]:
        encoded["login"] = {**_members_of(Login), **encoded["login"]}
    return encoded


def _members_of(struct: type[msgspec.Struct]) -> Manifest:
    """Null for each."""
    return dict.fromkeys(field.encode_name for field in msgspec.structs.fields(struct))
