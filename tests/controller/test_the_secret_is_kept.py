"""The token Secret comes back, is refreshed, follows the spec, and is taken over from its earlier owner."""

import base64
import datetime
import itertools
import json
from typing import Any

import pytest
from support.controller_process import ControllerProcess, Namespace
from support.waiting import eventually


def uid(namespace: Namespace) -> str:
    """The mailer's UID."""
    return str(namespace.find("o365mailer", "noreply")["metadata"]["uid"])


def owners(namespace: Namespace) -> list[str]:
    """The UIDs of the token Secret's owners."""
    secret = namespace.find("secret", "o365mailer.noreply")
    return [owner["uid"] for owner in secret["metadata"].get("ownerReferences", [])]


def minted(namespace: Namespace) -> int:
    """Tokens that Entra has issued since the test began."""
    return int(namespace.emulator.counters()["tokensIssued"])


def restore(namespace: Namespace, secret: Any, **metadata: Any) -> None:
    """What a backup tool does: the object again, without what the API server had given it."""
    kept = {key: secret["metadata"][key] for key in ("name", "labels", "annotations")}
    namespace.kubectl.apply({**secret, "metadata": {**kept, **metadata}}, namespace=namespace.name)


@pytest.mark.promise("token-secret-restored")
def test_a_deleted_token_secret_is_back_and_counts_on(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    namespace.kubectl("delete", "secret", "o365mailer.noreply", "-n", namespace.name)
    document = eventually(namespace.settings, what="the Secret")
    assert document["revision"] == 2
    assert minted(namespace) == 1, "the controller still has the token"


@pytest.mark.promise("token-secret-restored")
def test_a_spoilt_token_secret_is_mended(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    patch = json.dumps({"data": {"mailer.json": base64.b64encode(b'{"revision": 8,').decode()}})
    namespace.kubectl("patch", "secret", "o365mailer.noreply", "-n", namespace.name, "--type=merge", "-p", patch)

    def mended() -> bool:
        try:
            return bool(namespace.settings()["mailbox"])
        except ValueError:
            return False

    assert eventually(mended)
    assert minted(namespace) == 1, "the controller still has the token"


@pytest.mark.promise("ready-after-its-secret")
def test_a_changed_limit_is_written_without_a_new_token(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    before = namespace.files()
    namespace.apply_mailer(limits={"connections": 1})
    document = eventually(lambda: (found := namespace.settings())["revision"] == 2 and found)
    assert document["limits"]["connections"] == 1
    after = namespace.files()
    assert before is not None
    assert after is not None
    assert before["access_token"] == after["access_token"]
    assert minted(namespace) == 1
    eventually(lambda: namespace.await_ready()["status"]["tokenRevision"] == 2)


@pytest.mark.promise("ready-after-its-secret")
def test_a_changed_secret_is_tried_at_once(namespace: Namespace) -> None:
    namespace.secret("rotated", {"secret": "wrong-not-a-secret"})
    credential = {"clientSecret": {"secretRefs": [{"name": "rotated", "key": "secret"}]}}
    namespace.apply_mailer(credential=credential)
    namespace.await_condition("AADSTS7000215")
    namespace.secret("rotated", {"secret": namespace.emulator.client_secret})
    namespace.await_ready()  # unchanged, it would wait 48 s at least


@pytest.mark.promise("restart-mints-nothing")
def test_a_label_on_a_secret_mints_nothing_and_clears_no_backoff(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    namespace.emulator.script("token", status=429, retryAfter=1800, times=1)
    namespace.secret("rotated", {"secret": "wrong-not-a-secret"})
    credential = {"clientSecret": {"secretRefs": [{"name": "rotated", "key": "secret"}]}}
    namespace.apply_mailer("refused", credential=credential)
    namespace.await_condition("EntraThrottled", mailer="refused")
    attempts = namespace.emulator.counters()["requests"]["token"]
    for name in ("entra", "rotated"):
        namespace.kubectl("label", "secret", name, "-n", namespace.name, "backup=daily", "--overwrite")
    namespace.apply_mailer(logLevel="debug")  # a look at each, by which the labels have been seen
    namespace.apply_mailer("refused", credential=credential, logLevel="debug")
    eventually(lambda: namespace.settings()["logLevel"] == "debug")
    observed = namespace.find("o365mailer", "refused")["metadata"]["generation"]

    def seen() -> bool:
        return bool(namespace.find("o365mailer", "refused")["status"]["observedGeneration"] == observed)

    eventually(seen)
    assert namespace.emulator.counters()["requests"]["token"] == attempts
    namespace.secret("rotated", {"secret": namespace.emulator.client_secret})  # the control: content does
    namespace.await_ready("refused")


@pytest.mark.promise("token-renewed-in-time")
def test_an_annotation_in_a_loop_asks_entra_once_in_ten_seconds(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    for number in range(12):
        namespace.apply_mailer(annotations={"o365mailer.dev/refresh": str(number)})
    tokens = eventually(lambda: (count := minted(namespace)) >= 2 and count)  # the last of them is not forgotten
    eventually(lambda: namespace.settings()["revision"] >= tokens)  # Entra counts a token before it is in the Secret
    issued = datetime.datetime.fromisoformat(
        namespace.find("secret", "o365mailer.noreply")["metadata"]["annotations"]["o365mailer.dev/issued-at"]
    )
    made = datetime.datetime.fromisoformat(namespace.find("o365mailer", "noreply")["metadata"]["creationTimestamp"])
    assert tokens <= 1 + (issued - made).total_seconds() / 10


@pytest.mark.promise("ready-after-its-secret")
def test_a_changed_application_gets_a_token_of_its_own(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    before = namespace.files()
    namespace.apply_mailer(tenantId="contoso.com")  # another authority, as far as can be told from here
    eventually(lambda: minted(namespace) == 2)
    eventually(lambda: namespace.files() != before)
    namespace.await_ready()


@pytest.mark.promise("token-renewed-in-time")
def test_a_refresh_that_fails_keeps_the_token_to_its_end(namespace: Namespace) -> None:
    namespace.emulator.settings(tokenLifetime=12)
    namespace.emulator.script("token", aadsts=7000222, times=None, after=1)
    namespace.apply_mailer()
    reason = '{.status.conditions[?(@.type=="Ready")].reason}'
    # The state lasts for less than five seconds. A watch misses none, and prints the object as it was then.
    wait = ("wait", "o365mailer/noreply", f"--for=jsonpath={reason}=RefreshFailing", "--timeout=30s")
    found = namespace.kubectl.json(*wait, "-n", namespace.name)
    failing, issued = (
        next(each for each in found["status"]["conditions"] if each["type"] == kind)
        for kind in ("Ready", "TokenIssued")
    )
    assert failing["status"] == "True"
    assert "AADSTS7000222" in failing["message"]
    assert issued["reason"] == "AADSTS7000222"
    ended = namespace.await_condition("AADSTS7000222")
    assert ended["status"] == "False"
    assert namespace.settings()["revision"] == minted(namespace) == 1


@pytest.mark.promise("token-renewed-in-time")
@pytest.mark.serial
def test_a_token_is_refreshed_in_time_and_no_earlier(namespace: Namespace) -> None:
    namespace.emulator.settings(tokenLifetime=8)
    namespace.apply_mailer()
    namespace.await_ready()
    seen: dict[int, Any] = {}

    def three_revisions() -> bool:
        found = namespace.settings()
        seen[found["revision"]] = found
        return len(seen) >= 3

    eventually(three_revisions, within=30)
    ends = [datetime.datetime.fromisoformat(found["expiresAt"]) for _, found in sorted(seen.items())]
    apart = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(ends)]
    assert all(3 <= seconds <= 8 for seconds in apart), apart
    assert [event for event in namespace.events() if event["type"] == "Warning"] == []


@pytest.mark.promise("token-renewed-in-time")
def test_the_refresh_annotation_bypasses_a_backoff_and_a_valid_token(namespace: Namespace) -> None:
    namespace.emulator.script("token", aadsts=7000222, times=1)
    namespace.apply_mailer()
    namespace.await_condition("AADSTS7000222")
    namespace.apply_mailer(annotations={"o365mailer.dev/refresh": "1"})
    namespace.await_ready()
    assert minted(namespace) == 1
    namespace.apply_mailer(annotations={"o365mailer.dev/refresh": "2"})
    eventually(lambda: minted(namespace) == 2)
    eventually(lambda: namespace.settings()["revision"] == 2)
    namespace.apply_mailer()  # the annotation is taken away: no refresh is asked for
    namespace.apply_mailer(logLevel="debug")
    eventually(lambda: namespace.settings()["revision"] == 3)
    assert minted(namespace) == 2


@pytest.mark.promise("token-secret-restored")
def test_an_orphaned_secret_is_taken_over_with_its_token(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    before = namespace.files()
    namespace.kubectl("delete", "o365mailer", "noreply", "-n", namespace.name, "--cascade=orphan")
    eventually(lambda: owners(namespace) == [])
    namespace.apply_mailer()
    eventually(lambda: owners(namespace) == [uid(namespace)])
    namespace.await_ready()
    assert namespace.files() == before
    assert minted(namespace) == 1


@pytest.mark.promise("token-secret-restored")
def test_a_mailer_that_is_made_again_is_ready_and_owns_its_secret(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    namespace.kubectl("replace", "--force", "-f", "-", "-n", namespace.name, stdin=json.dumps(namespace.manifest()))

    def owned() -> bool:
        secret = namespace.find("secret", "o365mailer.noreply")
        return secret is not None and owners(namespace) == [uid(namespace)]

    assert eventually(owned)
    namespace.await_ready()


@pytest.mark.promise("token-secret-restored")
def test_a_restored_secret_is_taken_over(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    backup = namespace.find("secret", "o365mailer.noreply")
    namespace.kubectl("delete", "secret", "o365mailer.noreply", "-n", namespace.name)
    restore(namespace, backup)
    eventually(lambda: owners(namespace) == [uid(namespace)])
    files = {key: base64.b64decode(value) for key, value in backup["data"].items()}
    assert namespace.files() == files


@pytest.mark.promise("token-secret-restored")
def test_a_secret_that_was_made_for_another_mailer_is_not_taken_over(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    stranger = namespace.find("secret", "o365mailer.noreply")
    restore(namespace, stranger, name="o365mailer.other")
    before = namespace.find("secret", "o365mailer.other")
    namespace.apply_mailer("other")
    namespace.await_condition("SecretNameTaken", mailer="other")
    assert namespace.find("secret", "o365mailer.other") == before


@pytest.mark.promise("token-secret-restored")
def test_deleting_the_mailer_deletes_its_secret(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    namespace.kubectl("delete", "o365mailer", "noreply", "-n", namespace.name)
    assert eventually(lambda: namespace.files() is None)


@pytest.mark.promise("token-secret-restored")
def test_what_others_wrote_on_the_secret_stays(namespace: Namespace, controller: ControllerProcess) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    namespace.kubectl("label", "secret", "o365mailer.noreply", "-n", namespace.name, "backup=yes")
    namespace.apply_mailer(limits={"connections": 1})
    eventually(lambda: namespace.settings()["revision"] == 2)
    assert namespace.find("secret", "o365mailer.noreply")["metadata"]["labels"]["backup"] == "yes"


def audit(namespace: Namespace, reason: str) -> None:
    """Another controller writes its own condition, by server-side apply."""
    condition = {
        "type": "Audited",
        "status": "True",
        "reason": reason,
        "message": "by another controller",
        "lastTransitionTime": "2026-11-28T00:00:00Z",
    }
    manifest = {
        "apiVersion": "o365mailer.dev/v1alpha1",
        "kind": "O365Mailer",
        "metadata": {"name": "noreply", "namespace": namespace.name},
        "status": {"conditions": [condition]},
    }
    options = ("--server-side", "--subresource=status", "--field-manager=auditor", "--filename=-")
    namespace.kubectl("apply", *options, stdin=json.dumps(manifest))


def reasons(namespace: Namespace) -> dict[str, str]:
    """The reason of each condition."""
    found = namespace.find("o365mailer", "noreply")["status"]["conditions"]
    return {condition["type"]: condition["reason"] for condition in found}


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_condition_of_another_writer_stays_also_when_both_write_at_once(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    audit(namespace, "Begun")
    for number in range(6):
        namespace.apply_mailer(suspend=number % 2 == 0)
        audit(namespace, f"Round{number}")
        reason = "Suspended" if number % 2 == 0 else "TokenValid"
        namespace.await_condition(reason)
        issued = "Suspended" if number % 2 == 0 else "TokenIssued"
        expected = {"Ready": reason, "TokenIssued": issued, "Audited": f"Round{number}"}
        assert reasons(namespace).items() >= expected.items()
