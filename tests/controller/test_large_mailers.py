"""What the controller keeps of mailers and token Secrets that a user has made as large and as odd as they can be."""

import base64
import copy
import datetime
from typing import Any

import msgspec
import pytest

from controller.test_decisions import NOON, issued, mailer, observed, settled, token
from o365mailer_contract import names
from o365mailer_operator.controller.mailer import Key, decode_mailer, needed
from o365mailer_operator.controller.mailer_cache import LARGEST_KEPT, MailerCache, version_of
from o365mailer_operator.controller.token_secret import LONGEST_ANNOTATION, read_directory
from o365mailer_operator.token.bearer import LONGEST_TOKEN

pytestmark = pytest.mark.promise("neighbours-are-safe")


def manifest(*, version: int = 1, spec: Any = None, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    metadata = {"name": "noreply", "namespace": "app", "uid": "u", "resourceVersion": str(version), "generation": 1}
    more = {"labels": {"padding": "x" * 500_000}, "managedFields": [{"manager": "x" * 500_000}]}
    return {
        "apiVersion": "o365mailer.dev/v1alpha1",
        "kind": "O365Mailer",
        "metadata": {**metadata, **more, "annotations": annotations or {}},
        "spec": spec or {"mailbox": "noreply@contoso.com"},
    }


def test_of_metadata_only_what_a_reconcile_needs_is_kept() -> None:
    asked = {names.REFRESH_ANNOTATION: "now", "padding": "x" * 200_000}

    kept = needed(manifest(annotations=asked))

    assert len(msgspec.json.encode(kept)) < 500
    assert decode_mailer(manifest(annotations=asked)).refresh_request == "now"
    assert decode_mailer(kept) == decode_mailer(manifest(annotations=asked))
    assert decode_mailer(manifest()).refresh_request == ""


def test_a_long_refresh_request_is_known_by_its_digest() -> None:
    """It is written into the Secret, whose annotations may have 256 KiB."""
    first, second = (
        decode_mailer(manifest(annotations={names.REFRESH_ANNOTATION: letter * 200_000})).refresh_request
        for letter in "ab"
    )
    at = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC).isoformat()

    assert len(first) == len(second) < 64
    assert first != second
    assert decode_mailer(manifest(annotations={names.REFRESH_ANNOTATION: at})).refresh_request == at
    metadata = manifest(annotations={names.REFRESH_ANNOTATION: "a" * 200_000})["metadata"]
    assert version_of(metadata).refresh_request == first


def test_a_mailer_with_a_large_spec_is_not_kept() -> None:
    cache, key = MailerCache(), Key("app", "noreply")
    large = {"senders": {"allowed": [f"{number:0>200}@contoso.com" for number in range(100)]}}
    assert len(msgspec.json.encode(large)) > LARGEST_KEPT

    assert cache.deliver(manifest(), deleted=False)
    assert key in cache.mailers
    assert not cache.deliver(manifest(version=2, spec=large), deleted=False)  # its generation is the same here
    assert key not in cache.mailers
    cache.deliver(manifest(version=3), deleted=False)
    assert key in cache.mailers


LONG = {"o365mailer.dev/token-identity", "o365mailer.dev/credential-fingerprint", names.REFRESH_ANNOTATION}


def test_a_token_secret_that_the_controller_would_not_write_is_not_kept() -> None:
    """Its content is kept in memory, and a user who may edit Secrets may write 1 MiB into each."""
    secret, _ = issued()
    assert read_directory(secret) is not None
    for name in LONG:
        odd = copy.deepcopy(secret)
        odd["metadata"]["annotations"][name] = "x" * (LONGEST_ANNOTATION + 1)
        assert read_directory(odd) is None, name
    for text in ("x" * (LONGEST_TOKEN + 1), "", "a token", "token\n", "t\u00f6ken"):
        odd = copy.deepcopy(secret)
        odd["data"]["access_token"] = base64.b64encode(text.encode()).decode()
        assert read_directory(odd) is None, text[:20]
    odd["data"]["access_token"] = base64.b64encode(b"x" * LONGEST_TOKEN).decode()
    assert read_directory(odd) is not None


@pytest.mark.parametrize("member", ["o365mailer.dev/issued-at", "o365mailer.dev/refresh-at", "expiresAt"])
@pytest.mark.parametrize(
    "instant",
    ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"],
)
def test_an_odd_time_in_a_token_secret_is_no_defect(member: str, instant: str) -> None:
    secret, status = issued()
    if member == "expiresAt":
        document = msgspec.json.decode(base64.b64decode(secret["data"]["mailer.json"])) | {member: instant}
        secret["data"]["mailer.json"] = base64.b64encode(msgspec.json.encode(document)).decode()
    else:
        secret["metadata"]["annotations"][member] = instant
    subject = observed(mailer(status=status), token_secret=secret, now=NOON + datetime.timedelta(minutes=10))
    outcome = settled(subject, token(issued_at=subject.now))
    assert outcome.status.conditions
    msgspec.json.encode(outcome.status)
    if outcome.refresh_at is not None:
        outcome.refresh_at.timestamp()
