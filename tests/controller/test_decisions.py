"""The pure core: what is decided from a mailer, its Secrets and the clock, and what is written after it."""

import base64
import dataclasses
import datetime
import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from support.kstatus import kstatus

from o365mailer_contract import names
from o365mailer_operator.controller.conditions import (
    MESSAGE_LIMIT,
    READY,
    REFRESH_FAILING,
    SECRET_NAME_TAKEN,
    SUSPENDED,
    TOKEN_ISSUED,
    changes,
    merged,
)
from o365mailer_operator.controller.decision import (
    Found,
    Hold,
    Keep,
    Leave,
    Mint,
    NewToken,
    Observed,
    Step,
    decide,
    read_spec,
)
from o365mailer_operator.controller.events import NOTE_LIMIT, event_of
from o365mailer_operator.controller.mailer import Condition, Mailer, decode_mailer, encode_status
from o365mailer_operator.controller.outcome import Minted, Outcome, outcome_of
from o365mailer_operator.controller.token_secret import HeldToken, read_directory
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.endpoints import AllowedHosts
from o365mailer_operator.token.errors import ENTRA_UNREACHABLE, EntraError, EntraRefused

NOON = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)
HOUR = 60 * MINUTE
Object = dict[str, Any]
REFUSED = EntraRefused("wrong", code=7000215)


def mailer(*, status: Object | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> Mailer:
    """A mailer as the API server holds it."""
    metadata = {"name": "noreply", "namespace": "app", "uid": "u-1", "resourceVersion": "7", "generation": 3}
    right = {
        "tenantId": "contoso.com",
        "clientId": "22222222-2222-4222-8222-222222222222",
        "mailbox": "noreply@contoso.com",
        "credential": {"clientSecret": {"secretRefs": [{"name": "entra", "key": "secret"}]}},
    }
    return decode_mailer(
        {"metadata": metadata | {"annotations": annotations or {}}, "spec": right | spec, "status": status or {}}
    )


def credential(*, value: bytes = b"not-a-secret", version: str = "100", uid: str = "s-1") -> Object:
    """The credential Secret."""
    data = {"secret": base64.b64encode(value).decode()}
    return {"metadata": {"name": "entra", "uid": uid, "resourceVersion": version}, "data": data}


def observed(
    subject: Mailer,
    *,
    token_secret: Object | None = None,
    now: datetime.datetime = NOON,
    secret: Object | None = None,
    attempted: datetime.datetime | None = None,
    salt: bytes = b"salt" * 4,
) -> Observed:
    """The input of a decision."""
    return Observed(
        mailer=subject,
        spec=read_spec(subject),
        secrets=Found({"entra": secret or credential()}),
        token_secret=token_secret,
        now=now,
        salt=salt,
        operator="o365mailer-system",
        attempted=attempted,
    )


def token(*, issued_at: datetime.datetime = NOON) -> Token:
    """A token of an hour."""
    return Token(
        value="header.claims.signature",
        issued_at=issued_at,
        expires_at=issued_at + HOUR,
        refresh_at=None,
        credential_ref="the Secret entra/secret",
    )


def step(subject: Observed) -> Step:
    """The decision, with Microsoft's own hosts allowed."""
    return decide(subject, allowed=AllowedHosts())


def settled(subject: Observed, minted: Minted = None) -> Outcome:
    """The outcome of the decision."""
    decided = step(subject)
    assert not isinstance(decided, Leave)
    return outcome_of(subject, decided, minted, random=0.5)


def stored(secret: Object | None, *, version: str = "200") -> Object:
    """The Secret as the API server would hold it."""
    assert secret is not None
    return secret | {"metadata": secret["metadata"] | {"resourceVersion": version}}


def written(outcome: Outcome) -> Object:
    """The status as the API server holds it after the merge patch: null means absent."""
    return present(encode_status(outcome.status))


def present(document: Object) -> Object:
    """Without the members that are null."""
    members = ((name, present(value) if isinstance(value, dict) else value) for name, value in document.items())
    return {name: value for name, value in members if value is not None}


def issued(**spec: Any) -> tuple[Object, Object]:
    """The token Secret and the status of a mailer that got its first token at noon."""
    outcome = settled(observed(mailer(**spec)), token())
    return stored(outcome.secret), written(outcome)


@pytest.mark.promise("token-secret-restored")
def test_without_a_token_secret_a_token_is_asked_for() -> None:
    assert isinstance(step(observed(mailer())), Mint)


@pytest.mark.promise("restart-mints-nothing")
def test_with_a_token_in_time_nothing_is_asked_for_and_nothing_is_written() -> None:
    secret, status = issued()
    later = observed(mailer(status=status), token_secret=secret, now=NOON + 10 * MINUTE)
    assert isinstance(step(later), Keep)
    outcome = settled(later)
    assert outcome.secret is None
    assert outcome.status == later.mailer.status


@pytest.mark.promise("token-renewed-in-time")
def test_a_token_is_asked_for_once_it_is_due_and_not_a_second_before() -> None:
    secret, status = issued()
    due = datetime.datetime.fromisoformat(secret["metadata"]["annotations"]["o365mailer.dev/refresh-at"])
    assert NOON + 0.6 * HOUR <= due <= NOON + 0.75 * HOUR
    second = datetime.timedelta(seconds=1)
    subject = mailer(status=status)
    assert isinstance(step(observed(subject, token_secret=secret, now=due - second)), Keep)
    assert isinstance(step(observed(subject, token_secret=secret, now=due)), Mint)


@pytest.mark.promise("token-renewed-in-time")
def test_a_failure_is_waited_out_by_the_status_alone_and_a_changed_secret_is_not() -> None:
    first = observed(mailer())
    failed = settled(first, EntraError(ENTRA_UNREACHABLE, "away"))
    status = written(failed)
    assert failed.status.next_refresh is not None
    assert datetime.timedelta(seconds=3) < failed.status.next_refresh - NOON < datetime.timedelta(seconds=7)
    again = mailer(status=status)
    waiting = step(observed(again, now=NOON + datetime.timedelta(seconds=1)))
    assert isinstance(waiting, Keep)
    assert waiting.problem is not None
    assert isinstance(step(observed(again, now=NOON + MINUTE)), Mint)
    later = NOON + 10 * SECOND
    permanent = written(settled(first, REFUSED))
    assert isinstance(step(observed(mailer(status=permanent), now=later)), Keep)
    assert isinstance(step(observed(mailer(status=permanent), now=later, secret=credential(value=b"other"))), Mint)
    asked = mailer(status=permanent, annotations={names.REFRESH_ANNOTATION: "now"})
    assert isinstance(step(observed(asked, now=later)), Mint)


@pytest.mark.promise("restart-mints-nothing")
def test_what_is_written_on_a_secret_beside_its_content_mints_nothing_and_clears_no_backoff() -> None:
    touched = credential(version="101") | {"type": "Opaque"}
    touched["metadata"]["labels"] = {"velero.io/backup": "daily"}
    secret, status = issued()
    later = NOON + MINUTE
    kept = observed(mailer(status=status), token_secret=secret, secret=touched, now=later)
    assert isinstance(step(kept), Keep)
    assert settled(kept).secret is None
    other = observed(mailer(status=status), token_secret=secret, secret=credential(value=b"other"), now=later)
    assert isinstance(step(other), Mint)

    refused = mailer(status=written(settled(observed(mailer()), REFUSED)))
    waiting = step(observed(refused, secret=touched, now=NOON + 20 * SECOND))
    assert isinstance(waiting, Keep)
    assert waiting.problem is not None
    assert isinstance(step(observed(refused, secret=credential(value=b"other"), now=NOON + 20 * SECOND)), Mint)


@pytest.mark.promise("restart-mints-nothing")
@pytest.mark.parametrize(
    "content", [b"not-a-secret\n", b"\xef\xbb\xbfnot-a-secret\r\n"], ids=["a line break", "a mark"]
)
def test_white_space_around_a_secret_mints_nothing(content: bytes) -> None:
    secret, status = issued()
    touched = observed(mailer(status=status), token_secret=secret, secret=credential(value=content), now=NOON + MINUTE)
    assert isinstance(step(touched), Keep)


@pytest.mark.promise("restart-mints-nothing")
def test_neither_the_names_nor_the_order_of_two_secrets_decide_about_the_token() -> None:
    def with_two(*references: str) -> tuple[Mailer, dict[str, Object]]:
        refs = [{"name": name, "key": "secret"} for name in references]
        held = {"old": credential(value=b"one"), "new": credential(value=b"two"), "newest": credential(value=b"two")}
        return mailer(credential={"clientSecret": {"secretRefs": refs}}), {name: held[name] for name in references}

    def of(*references: str, token_secret: Object | None = None) -> Observed:
        subject, held = with_two(*references)
        return dataclasses.replace(observed(subject, token_secret=token_secret, now=NOON + MINUTE), secrets=Found(held))

    outcome = settled(of("old", "new"), token())
    assert isinstance(step(of("new", "old", token_secret=stored(outcome.secret))), Keep)
    assert isinstance(step(of("old", "newest", token_secret=stored(outcome.secret))), Keep)
    assert isinstance(step(of("new", token_secret=stored(outcome.secret))), Mint)


@pytest.mark.promise("restart-mints-nothing")
def test_a_fingerprint_tells_nothing_of_the_credential() -> None:
    def kept(salt: bytes, value: bytes = b"not-a-secret") -> str:
        found = observed(mailer(), secret=credential(value=value), salt=salt)
        secret = settled(found, token()).secret
        assert secret is not None
        return str(secret["metadata"]["annotations"]["o365mailer.dev/credential-fingerprint"])

    one = kept(b"1" * 16)
    assert one == kept(b"1" * 16)
    salt, _, digest = one.partition(".")
    assert (len(salt), len(digest)) == (32, 64)
    assert digest != kept(b"2" * 16).partition(".")[2]  # equal contents do not show as equal
    assert digest != kept(b"1" * 16, b"other").partition(".")[2]
    assert digest != hashlib.sha256(b"not-a-secret").hexdigest()


@pytest.mark.promise("restart-mints-nothing")
def test_the_status_does_not_let_its_readers_try_passwords() -> None:
    """They know all of the mailer. Without the UID of the Secret, which they may not read, they cannot compute it."""

    def attempt(uid: str, value: bytes = b"hunter2") -> str | None:
        return settled(observed(mailer(), secret=credential(uid=uid, value=value)), REFUSED).status.last_attempt

    assert attempt("s-1") == attempt("s-1")
    assert len({attempt("s-1"), attempt("s-2"), attempt("s-1", b"hunter3")}) == 3


@pytest.mark.promise("token-secret-restored")
def test_a_mailer_whose_credential_was_restored_takes_its_token_over() -> None:
    secret, _ = issued()
    restored = credential(version="900", uid="s-2")
    assert isinstance(step(observed(mailer(), token_secret=secret, secret=restored, now=NOON + MINUTE)), Keep)


@pytest.mark.promise("token-renewed-in-time")
def test_whatever_asks_gets_one_attempt_in_ten_seconds() -> None:
    secret, status = issued()
    asked = mailer(status=status, annotations={names.REFRESH_ANNOTATION: "now"})
    soon = observed(asked, token_secret=secret, now=NOON + 9 * SECOND)
    waiting = step(soon)
    assert isinstance(waiting, Keep)
    assert waiting.until == NOON + 10 * SECOND
    outcome = settled(soon)
    assert (outcome.ready, outcome.look_at) == (True, NOON + 10 * SECOND)
    assert isinstance(step(observed(asked, token_secret=secret, now=NOON + 10 * SECOND)), Mint)

    refused = mailer(status=written(settled(observed(mailer()), REFUSED)))
    for touch in range(9):  # a Secret whose content is rewritten in a loop
        rewritten = credential(value=str(touch).encode())
        held = step(observed(refused, secret=rewritten, now=NOON + touch * SECOND))
        assert isinstance(held, Keep)
        assert held.problem is not None
        assert held.problem.reason == "AADSTS7000215"
    assert isinstance(step(observed(refused, secret=rewritten, now=NOON + 10 * SECOND)), Mint)

    gone = mailer(status=status)  # the token Secret was deleted
    assert isinstance(step(observed(gone, now=NOON + 9 * SECOND)), Keep)
    assert isinstance(step(observed(gone, now=NOON + 10 * SECOND)), Mint)

    unwritten = mailer(annotations={names.REFRESH_ANNOTATION: "2"})  # the status could not be written
    assert isinstance(step(observed(unwritten, attempted=NOON, now=NOON + 9 * SECOND)), Keep)
    assert isinstance(step(observed(unwritten, attempted=NOON, now=NOON + 10 * SECOND)), Mint)
    assert isinstance(step(observed(unwritten, attempted=NOON + HOUR, now=NOON)), Mint)  # by a clock ahead of time


@pytest.mark.promise("token-renewed-in-time")
def test_what_a_token_request_brought_is_used_without_a_pause_if_it_is_for_the_same_aim() -> None:
    first = step(observed(mailer()))
    assert isinstance(first, Mint)
    soon = dataclasses.replace(observed(mailer(), attempted=NOON, now=NOON + SECOND), errand=first.aim.digest)
    assert isinstance(step(soon), Mint)
    assert isinstance(step(dataclasses.replace(soon, errand="another aim")), Keep)


@pytest.mark.promise("token-renewed-in-time")
def test_a_token_of_another_mailer_does_not_do_where_the_annotation_asks() -> None:
    secret, status = issued()
    due = observed(mailer(status=status), token_secret=secret, now=NOON + HOUR)
    asked = mailer(status=status, annotations={names.REFRESH_ANNOTATION: "now"})
    for subject, fresh in (
        (observed(mailer()), False),
        (due, False),
        (observed(asked, token_secret=secret, now=NOON + MINUTE), True),
        (observed(mailer(annotations={names.REFRESH_ANNOTATION: "now"})), True),  # a token before it is not known
    ):
        decided = step(subject)
        assert isinstance(decided, Mint)
        assert decided.asked is fresh
    served = settled(observed(asked, token_secret=secret, now=NOON + MINUTE), token(issued_at=NOON + MINUTE))
    again = observed(
        mailer(status=written(served), annotations={names.REFRESH_ANNOTATION: "now"}),
        token_secret=stored(served.secret),
        now=NOON + 2 * HOUR,
    )
    decided = step(again)
    assert isinstance(decided, Mint)
    assert not decided.asked, "the annotation was served before"


@pytest.mark.promise("mailer-says-what-is-wrong")
@pytest.mark.parametrize("change", ["none", "credential", "refresh"])
def test_a_token_whose_status_write_failed_is_told_by_the_next_one(change: str) -> None:
    """The Secret is written first. Its reader, and the login, must not wait for the next token."""
    secret, status = issued()
    status["login"] |= {"lastTime": "2026-11-23T12:00:01Z", "nextTime": "2026-11-23T17:00:00Z"}
    annotations = {names.REFRESH_ANNOTATION: "now"} if change == "refresh" else {}
    subject = observed(
        mailer(status=status, annotations=annotations),
        token_secret=secret,
        secret=credential(value=b"rotated" if change == "credential" else b"not-a-secret"),
        now=NOON + 46 * MINUTE,
    )
    warned = dataclasses.replace(
        token(issued_at=subject.now),
        value="header.new.signature",
        credential_ref="the Secret entra/new",
        warnings=("The Secret entra/old was refused.",),
        roles=frozenset({"SMTP.SendAsApp", "Mail.Send"}),
    )
    first = settled(subject, warned)
    message = first.status.condition(TOKEN_ISSUED)
    assert message
    for part in ("Obtained with the Secret entra/new.", "entra/old was refused", "Mail.Send"):
        assert part in message.message
    assert bool(first.login) is (change != "none")

    after = dataclasses.replace(subject, token_secret=stored(first.secret))
    again = settled(dataclasses.replace(after, untold=first.new))
    assert again == dataclasses.replace(first, secret=None)
    gone = dataclasses.replace(after, token_secret=None, kept=first.held, untold=first.new)
    assert settled(gone).status.conditions == first.status.conditions

    assert settled(after).status != first.status, "it is told by what the process remembers"
    assert first.new
    other = NewToken(dataclasses.replace(warned, value="header.other.signature"), again=True)
    assert settled(dataclasses.replace(after, untold=other)) == settled(after), "another token is in the Secret"


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_token_that_is_not_told_before_a_suspension_is_told_after_it() -> None:
    first = settled(observed(mailer()), token())
    secret = stored(first.secret)
    held = dataclasses.replace(observed(mailer(suspend=True), token_secret=secret), untold=first.new)
    suspended = settled(held)
    assert suspended.new == first.new
    resumed = observed(mailer(status=written(suspended)), token_secret=secret)
    told_again = settled(dataclasses.replace(resumed, untold=first.new)).status.condition(TOKEN_ISSUED)
    assert told_again
    assert told_again.message == "Obtained with the Secret entra/secret."


@pytest.mark.promise("logins-are-few")
def test_a_token_that_is_not_told_yet_waits_until_the_failure_for_another_credential_is_over() -> None:
    """The status write failed after a person had changed the credential, which is then changed to a wrong one."""
    secret, status = issued()
    status["login"] |= {"lastTime": "2026-11-23T12:00:01Z", "nextTime": "2026-11-23T17:00:00Z"}
    rotated, wrong, asked_at = credential(value=b"rotated"), credential(value=b"wrong"), NOON + 21 * MINUTE
    subject = observed(mailer(status=status), token_secret=secret, secret=rotated, now=NOON + 20 * MINUTE)
    first = settled(subject, dataclasses.replace(token(issued_at=subject.now), value="header.new.signature"))
    assert first.told is first.new is not None
    assert first.new.again

    def later(status: Object, *, held: Object, seconds: int = 0) -> Observed:
        return dataclasses.replace(
            observed(
                mailer(status=status),
                token_secret=stored(first.secret),
                secret=held,
                now=asked_at + seconds * SECOND,
            ),
            untold=first.new,
        )

    failed = settled(later(status, held=wrong), REFUSED)
    for seconds in (15, 30):
        waiting = settled(later(written(failed), held=wrong, seconds=seconds))
        assert (waiting.new, waiting.told, waiting.login) == (first.new, None, None)
        assert waiting.status == failed.status, "nothing has changed, so nothing is written"

    told = settled(later(written(failed), held=rotated, seconds=40))
    assert told.told == first.new
    assert told.login
    assert told.status.last_attempt_time == asked_at, "the attempt that failed was the last one"


@pytest.mark.promise("refused-login-is-told")
def test_a_login_that_a_person_asked_for_is_tried_with_the_next_token_if_no_status_was_written() -> None:
    secret, status = issued()
    subject = observed(
        mailer(status=status),
        token_secret=secret,
        secret=credential(value=b"rotated"),
        now=NOON + 20 * MINUTE,
    )
    first = settled(subject, dataclasses.replace(token(issued_at=subject.now), value="header.new.signature"))
    due = dataclasses.replace(subject, token_secret=stored(first.secret), untold=first.new, now=NOON + 70 * MINUTE)
    second = settled(due, dataclasses.replace(token(issued_at=due.now), value="header.newer.signature"))
    assert second.new
    assert second.new.again


@pytest.mark.promise("ready-after-its-secret")
def test_while_a_token_is_awaited_the_settings_are_written_and_nothing_is_said_that_is_not_known() -> None:
    new = observed(mailer())
    assert settled(new) == dataclasses.replace(settled(new), secret=None, status=new.mailer.status)

    secret, status = issued()
    changed = mailer(status=status, mailbox="other@contoso.com")
    due = observed(changed, token_secret=secret, now=NOON + 50 * MINUTE)
    outcome = settled(due)
    assert outcome.secret is not None
    assert outcome.secret["data"]["access_token"] == secret["data"]["access_token"]
    assert (outcome.ready, outcome.status.token_revision, outcome.look_at) == (True, 2, None)

    refused = mailer(status=written(settled(observed(mailer()), REFUSED)))
    mended = observed(refused, secret=credential(value=b"mended"), now=NOON + MINUTE)
    assert settled(mended).status == refused.status, "the failure of the Secret before is not the new one's"

    retried = observed(refused, now=NOON + 2 * MINUTE)
    assert isinstance(step(retried), Mint)
    assert settled(retried).status == refused.status

    failing = settled(
        observed(mailer(status=status), token_secret=secret, now=NOON + 55 * MINUTE),
        EntraError(ENTRA_UNREACHABLE, "away"),
    )
    over = observed(mailer(status=written(failing)), token_secret=secret, now=NOON + 61 * MINUTE)
    assert isinstance(step(over), Mint)
    assert not settled(over).ready, "the token has expired, and it is known why there is no other"


def kept(secret: Object) -> HeldToken:
    """The token that a Secret had before it was deleted."""
    directory = read_directory(secret)
    assert directory is not None
    return directory.held


@pytest.mark.promise("token-secret-restored")
def test_a_deleted_secret_is_made_again_with_its_token_whether_a_new_one_is_due_or_not() -> None:
    secret, status = issued()
    for late, expected in ((10 * MINUTE, Keep), (50 * MINUTE, Mint)):
        gone = dataclasses.replace(observed(mailer(status=status), now=NOON + late), kept=kept(secret))
        assert isinstance(step(gone), expected)
        outcome = settled(gone)
        assert outcome.secret is not None
        assert outcome.secret["data"]["access_token"] == secret["data"]["access_token"]
        assert (outcome.ready, outcome.status.token_revision) == (True, 2)
        assert outcome.secret["metadata"]["annotations"] == secret["metadata"]["annotations"]


@pytest.mark.promise("token-secret-restored")
def test_a_token_that_is_over_or_of_another_application_or_credential_is_not_put_back() -> None:
    secret, status = issued()
    over = dataclasses.replace(observed(mailer(status=status), now=NOON + 2 * HOUR), kept=kept(secret))
    assert isinstance(step(over), Mint)
    assert settled(over).secret is None
    other = mailer(status=status, tenantId="fabrikam.com")
    elsewhere = dataclasses.replace(observed(other, now=NOON + MINUTE), kept=kept(secret))
    assert isinstance(step(elsewhere), Mint)
    assert settled(elsewhere).secret is None
    replaced = credential(value=b"the secret was taken away")
    taken = dataclasses.replace(observed(mailer(status=status), secret=replaced, now=NOON + MINUTE), kept=kept(secret))
    assert isinstance(step(taken), Mint)
    assert settled(taken).secret is None
    asleep = dataclasses.replace(observed(mailer(status=status, suspend=True), now=NOON + MINUTE), kept=kept(secret))
    assert settled(asleep).secret is None


@pytest.mark.promise("token-requests-retried")
def test_a_retry_and_a_refresh_that_are_due_are_paced_by_their_own_schedule() -> None:
    away = mailer(status=written(settled(observed(mailer()), EntraError(ENTRA_UNREACHABLE, "away"))))
    assert isinstance(step(observed(away, attempted=NOON, now=NOON + 7 * SECOND)), Mint)
    short = dataclasses.replace(token(), expires_at=NOON + 8 * SECOND)
    outcome = settled(observed(mailer()), short)
    due = observed(mailer(status=written(outcome)), token_secret=stored(outcome.secret), now=NOON + 7 * SECOND)
    assert isinstance(step(due), Mint)


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_config_map_that_may_not_be_read_is_named_with_the_right_that_is_missing() -> None:
    subject = mailer(authority={"ca": {"configMapRef": {"name": "company-ca"}}})
    forbidden = Found(forbidden=frozenset({"company-ca"}))
    outcome = settled(dataclasses.replace(observed(subject), config_maps=forbidden), None)
    condition = outcome.status.condition("Ready")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "ConfigMapUnreadable")
    assert condition.message == (
        "The controller may not read the ConfigMap company-ca in this namespace. An administrator of the namespace "
        "allows it with: kubectl create rolebinding o365mailer-secrets -n app --clusterrole=o365mailer-secrets "
        "--serviceaccount=o365mailer-system:o365mailer-controller"
    )


def judged_after(status: Object, minutes: int, result: Minted, **spec: Any) -> tuple[Object, str]:
    """The status after a look so many minutes after noon, and what kstatus says of the object."""
    outcome = settled(observed(mailer(status=status, **spec), now=NOON + minutes * MINUTE), result)
    after = written(outcome)
    return after, kstatus({"metadata": {"generation": 3}, "status": after})


@pytest.mark.promise("tools-wait-rightly")
def test_what_may_heal_is_stalled_after_15_minutes_of_the_same_reason_and_no_longer_when_it_has_healed() -> None:
    away = EntraError(ENTRA_UNREACHABLE, "away")
    status, told = judged_after({}, 0, away)
    assert told == "InProgress"
    status, told = judged_after(status, 14, away)
    assert told == "InProgress"
    status, told = judged_after(status, 14, REFUSED)  # another reason: its 15 minutes begin now
    assert told == "InProgress"
    status, told = judged_after(status, 28, REFUSED)
    assert told == "InProgress"
    status, told = judged_after(status, 29, REFUSED)
    assert told == "Failed"
    stalled = next(each for each in status["conditions"] if each["type"] == "Stalled")
    assert (stalled["reason"], stalled["message"]) == ("AADSTS7000215", "wrong")
    status, told = judged_after(status, 45, token(issued_at=NOON + 45 * MINUTE))
    assert told == "Current"
    assert "Stalled" not in {each["type"] for each in status["conditions"]}


@pytest.mark.promise("tools-wait-rightly")
def test_what_does_not_heal_is_stalled_at_once_and_no_longer_after_a_change() -> None:
    status, told = judged_after({}, 0, None, submission={"host": "smtp.example.test"})
    assert told == "Failed"
    status, told = judged_after(status, 1, token())
    assert told == "Current"
    status, told = judged_after({}, 0, EntraRefused("disabled", code=7000112))
    assert told == "Failed"
    status, told = judged_after({}, 0, EntraRefused("replicating", code=700016))
    assert told == "InProgress"


@pytest.mark.promise("tools-wait-rightly")
def test_a_failing_refresh_is_not_stalled_while_mail_flows() -> None:
    secret, status = issued()
    for minutes in (44, 59):
        decided = observed(mailer(status=status), token_secret=secret, now=NOON + minutes * MINUTE)
        outcome = settled(decided, EntraError(ENTRA_UNREACHABLE, "away"))
        status = written(outcome)
        assert kstatus({"metadata": {"generation": 3}, "status": status}) == "Current"


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_stalled_causes_no_event_of_its_own() -> None:
    status, _ = judged_after({}, 0, EntraError(ENTRA_UNREACHABLE, "away"))
    before = mailer(status=status).status
    after = settled(
        observed(mailer(status=status), now=NOON + 20 * MINUTE), EntraError(ENTRA_UNREACHABLE, "away")
    ).status
    assert after.condition("Stalled")
    assert changes(before, after) == ()


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_credential_that_ends_causes_an_event_21_7_and_1_days_before_and_at_its_end() -> None:
    end = NOON + 30 * 24 * HOUR
    clientsecret = {"secretRefs": [{"name": "entra", "key": "secret"}], "expiresAt": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
    spec = {"credential": {"clientSecret": clientsecret}, "suspend": True}
    subject, told_at, named = mailer(**spec), {}, set()
    for hours in range(24 * 32):
        now = NOON + hours * HOUR
        outcome = settled(dataclasses.replace(observed(subject, now=now), credential_end=end))
        for condition in changes(subject.status, outcome.status):
            if condition.type == "CredentialExpiring":
                told_at[(end - now) / (24 * HOUR)] = condition.message
                named.add(event_of(subject, condition, now=now, instance="one")["metadata"]["name"])
        subject = mailer(status=written(outcome), **spec)
    assert list(told_at) == [21, 7, 1, 0]
    for message, part in zip(told_at.values(), ("Plan its", "this week", "Renew it now", "ended on"), strict=True):
        assert part in message
    assert len(named) == 4, "an Event's text never changes, so each is one of its own"


@pytest.mark.promise("token-renewed-in-time")
def test_failures_are_counted_and_forgotten_with_the_next_token() -> None:
    status: Object = {}
    for count in (1, 2, 3):
        failed = settled(
            observed(mailer(status=status), now=NOON + count * HOUR), EntraError(ENTRA_UNREACHABLE, "away")
        )
        status = written(failed)
        assert status["failedAttempts"] == count
        assert status["lastFailureTime"] == f"2026-11-{(NOON + count * HOUR):%dT%H:%M:%SZ}"
    got = settled(observed(mailer(status=status), now=NOON + 4 * HOUR), token(issued_at=NOON + 4 * HOUR))
    assert (got.status.failed_attempts, got.status.last_attempt, got.status.last_failure_time) == (0, None, None)


@pytest.mark.promise("token-renewed-in-time")
def test_ready_stays_true_while_the_last_token_lives_and_ends_with_it() -> None:
    secret, status = issued()
    failing = settled(
        observed(mailer(status=status), token_secret=secret, now=NOON + 55 * MINUTE),
        EntraError(ENTRA_UNREACHABLE, "away"),
    )
    assert failing.ready
    assert [c.reason for c in failing.status.conditions] == [REFRESH_FAILING, "EntraUnreachable", "LoginNotTried"]
    over = observed(mailer(status=written(failing)), token_secret=secret, now=NOON + 61 * MINUTE)
    ended = settled(over, EntraError(ENTRA_UNREACHABLE, "away"))
    assert not ended.ready
    assert ended.secret is None


@pytest.mark.promise("token-renewed-in-time")
def test_a_token_that_ends_while_the_request_for_the_next_one_hangs_is_told_once() -> None:
    secret, status = issued()

    def at(minutes: int, status: Object, *, under_way: bool = True) -> Outcome:
        subject = observed(mailer(status=status), token_secret=secret, now=NOON + minutes * MINUTE)
        decided = step(subject)
        assert isinstance(decided, Mint)
        return settled(dataclasses.replace(subject, errand=decided.aim.digest if under_way else None))

    assert at(50, status).ready
    assert at(61, status, under_way=False).ready, "a controller that was away asks, and has the answer in a moment"
    ended = at(61, status)
    told = {condition.type: (condition.status, condition.reason) for condition in ended.status.conditions}
    assert told["Ready"] == told["TokenIssued"] == ("False", "EntraUnreachable")
    assert "has no answer yet" in str(ended.status.conditions)
    assert ended.status.failed_attempts == 0
    assert at(62, written(ended)).status == ended.status
    renewed = observed(mailer(status=written(ended)), token_secret=secret, now=NOON + 63 * MINUTE)
    assert settled(renewed, token(issued_at=NOON + 63 * MINUTE)).ready


@pytest.mark.promise("ready-after-its-secret")
def test_what_needs_no_token_is_written_beside_the_old_one() -> None:
    secret, status = issued()
    changed = observed(mailer(status=status, mailbox="other@contoso.com"), token_secret=secret)
    outcome = settled(changed)
    assert outcome.secret is not None
    assert outcome.secret["data"]["access_token"] == secret["data"]["access_token"]
    assert outcome.secret["data"]["mailer.json"] != secret["data"]["mailer.json"]
    assert outcome.secret["metadata"]["resourceVersion"] == "200"
    assert outcome.status.token_revision == 2


@pytest.mark.promise("ready-after-its-secret")
def test_a_token_of_another_application_is_not_passed_off_as_the_new_ones() -> None:
    secret, status = issued()
    subject = mailer(status=status, tenantId="fabrikam.com", mailbox="a@fabrikam.com")
    changed = observed(subject, token_secret=secret, now=NOON + MINUTE)
    assert isinstance(step(changed), Mint)
    failed = settled(changed, EntraError(ENTRA_UNREACHABLE, "away"))
    assert failed.secret is None
    assert not failed.ready


@pytest.mark.promise("ready-after-its-secret")
def test_a_submission_host_that_is_not_allowed_leaves_the_directory_alone() -> None:
    secret, status = issued()
    changed = observed(mailer(status=status, submission={"host": "evil.example"}), token_secret=secret)
    outcome = settled(changed)
    assert outcome.secret is None
    assert not outcome.ready
    assert outcome.status.conditions[0].reason == "HostNotAllowed"


@pytest.mark.promise("token-secret-restored")
def test_the_revision_counts_on_when_the_secret_is_gone() -> None:
    _, status = issued()
    status["tokenRevision"] = 41
    outcome = settled(observed(mailer(status=status)), token())
    assert outcome.status.token_revision == 42


@pytest.mark.promise("token-secret-restored")
def test_a_secret_of_an_earlier_mailer_changes_its_owner_and_keeps_its_token() -> None:
    secret, status = issued()
    secret["metadata"]["ownerReferences"][0]["uid"] = "u-0"
    outcome = settled(observed(mailer(status=status), token_secret=secret))
    assert outcome.secret is not None
    assert outcome.secret["data"] == secret["data"]
    assert outcome.secret["metadata"]["ownerReferences"][0]["uid"] == "u-1"


@pytest.mark.promise("foreign-secret-untouched")
@pytest.mark.parametrize("labels", [{}, {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.MAILER_LABEL: "other"}])
def test_a_secret_without_our_labels_is_not_ours(labels: dict[str, str]) -> None:
    secret, _ = issued()
    secret["metadata"]["labels"] = labels
    decided = step(observed(mailer(), token_secret=secret))
    assert isinstance(decided, Hold)
    assert decided.problem.reason == SECRET_NAME_TAKEN
    assert settled(observed(mailer(), token_secret=secret)).secret is None


def test_a_mailer_that_is_being_deleted_is_left_alone() -> None:
    manifest = {
        "metadata": {
            "name": "noreply",
            "namespace": "app",
            "uid": "u-1",
            "resourceVersion": "7",
            "deletionTimestamp": "2026-11-23T12:00:00Z",
        },
        "spec": {},
    }
    assert isinstance(step(observed(decode_mailer(manifest))), Leave)


def test_suspension_holds_everything_but_says_that_mail_flows() -> None:
    secret, status = issued()
    outcome = settled(observed(mailer(status=status, suspend=True), token_secret=secret))
    assert outcome.ready
    assert [condition.reason for condition in outcome.status.conditions] == [SUSPENDED, SUSPENDED, "LoginNotTried"]
    assert outcome.login is None
    assert outcome.secret is None


def test_a_spec_that_only_an_older_crd_took_is_reported_by_its_member() -> None:
    outcome = settled(observed(mailer(mailbox="nobody")))
    assert outcome.status.conditions[0].reason == "InvalidSpec"
    assert outcome.status.conditions[0].message.startswith("spec.mailbox:")


def test_a_broken_status_counts_as_none() -> None:
    assert mailer(status={"conditions": [{"type": 5}]}).status.conditions == ()


def test_a_transition_time_moves_only_with_the_status() -> None:
    failed = settled(observed(mailer()), EntraError(ENTRA_UNREACHABLE, "away"))
    again = observed(mailer(status=written(failed)), now=NOON + MINUTE)
    still = settled(again, EntraError(ENTRA_UNREACHABLE, "still away"))
    assert still.status.conditions[0].message == "still away"
    assert still.status.conditions[0].last_transition_time == NOON
    assert changes(failed.status, still.status) == ()
    got = settled(observed(mailer(status=written(still)), now=NOON + HOUR), token(issued_at=NOON + HOUR))
    assert got.status.conditions[0].last_transition_time == NOON + HOUR
    assert len(changes(still.status, got.status)) == 2


def edited(secret: Object, **members: Any) -> Object:
    """The token Secret after another writer changed its document."""
    document = json.loads(base64.b64decode(secret["data"][names.SETTINGS_FILE])) | members
    return with_document(secret, json.dumps(document))


def with_document(secret: Object, document: str) -> Object:
    """The token Secret with another document."""
    return secret | {"data": secret["data"] | {names.SETTINGS_FILE: base64.b64encode(document.encode()).decode()}}


@pytest.mark.promise("token-secret-restored")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda secret: edited(secret, expiresAt="2026-12-23T12:00:00"),
        lambda secret: edited(secret, revision=2**63 - 1),
        lambda secret: edited(secret, revision=10**300),
        lambda secret: with_document(secret, '{"schemaVersion": 1, "revision": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    ],
    ids=["an end without a zone", "the last revision that 64 bits hold", "a revision beyond", "nested deeply"],
)
def test_a_document_that_we_cannot_have_written_is_replaced(spoil: Callable[[Object], Object]) -> None:
    secret, status = issued()
    decided = observed(mailer(status=status), token_secret=spoil(secret), now=NOON + MINUTE)
    assert isinstance(step(decided), Mint)
    outcome = settled(decided, token(issued_at=NOON + MINUTE))
    assert outcome.ready
    assert outcome.status.token_revision == 2


@pytest.mark.promise("token-secret-restored")
@pytest.mark.parametrize("member", ["tokenRevision", "failedAttempts"])
@pytest.mark.parametrize("value", [2**63 - 1, -1])
def test_an_impossible_count_is_ignored(member: str, value: int) -> None:
    _, status = issued()
    outcome = settled(observed(mailer(status=status | {member: value})), token())
    assert (outcome.status.token_revision, outcome.status.failed_attempts) == (1, 0)


@pytest.mark.promise("token-renewed-in-time")
def test_a_token_that_was_dated_by_a_clock_ahead_of_time_is_replaced() -> None:
    ahead = NOON + 24 * HOUR
    outcome = settled(observed(mailer(), now=ahead), token(issued_at=ahead))
    subject, secret = mailer(status=written(outcome)), stored(outcome.secret)
    assert isinstance(step(observed(subject, token_secret=secret, now=NOON)), Mint)
    assert isinstance(step(observed(subject, token_secret=secret, now=ahead - MINUTE)), Keep)  # clocks do differ


@pytest.mark.promise("token-requests-retried")
def test_a_pause_that_was_counted_from_a_clock_ahead_of_time_is_not_waited_out() -> None:
    ahead = NOON + 24 * HOUR
    failed = settled(observed(mailer(), now=ahead), EntraError(ENTRA_UNREACHABLE, "away"))
    subject = mailer(status=written(failed))
    assert isinstance(step(observed(subject, now=ahead)), Keep)
    assert isinstance(step(observed(subject, now=NOON)), Mint)


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_message_is_cut_to_what_a_status_and_an_event_take() -> None:
    error = EntraError(ENTRA_UNREACHABLE, "ä" * 100_000)
    ready = settled(observed(mailer()), error).status.condition(READY)
    assert ready is not None
    assert ready.message == "ä" * (MESSAGE_LIMIT - 1) + "…"
    assert MESSAGE_LIMIT <= 32768  # the CRD's
    note = event_of(mailer(), ready, now=NOON, instance="test")["note"]
    assert note.startswith("ä" * 480)
    assert note.endswith("kubectl describe shows all of it.")
    assert len(note.encode()) <= NOTE_LIMIT


def told(kind: str, reason: str) -> Condition:
    """A condition that is False."""
    return Condition(type=kind, status="False", reason=reason, message="", last_transition_time=NOON)


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_conditions_are_merged_by_type_and_our_own_that_are_not_set_any_more_go() -> None:
    foreign = told("Audited", "ByHand")
    before = (told(TOKEN_ISSUED, "Old"), foreign, told(READY, "Old"))
    after = merged(before, (told(READY, "New"),))
    assert after == (foreign, told(READY, "New"))
    assert merged(after, (told(READY, "New"), told(TOKEN_ISSUED, "New"))) == (*after, told(TOKEN_ISSUED, "New"))


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_condition_of_another_writer_is_no_reason_to_write() -> None:
    secret, status = issued()
    ready, *others = status["conditions"]
    status["conditions"] = [ready, msgspec.to_builtins(told("Audited", "ByHand")), *others]
    later = observed(mailer(status=status), token_secret=secret, now=NOON + 10 * MINUTE)
    assert settled(later).status == later.mailer.status


@pytest.mark.promise("refused-login-is-told")
def test_a_login_is_due_once_there_is_a_token_and_the_token_is_the_secrets() -> None:
    first = settled(observed(mailer()), token())
    assert first.login is not None
    assert (first.login.mailbox, first.login.host, first.login.port) == (
        "noreply@contoso.com",
        "smtp.office365.com",
        587,
    )
    assert first.secret is not None
    assert base64.b64decode(first.secret["data"]["access_token"]).decode() == first.login.token
    assert first.status.login is not None
    assert first.ready, "it waits for no login"


@pytest.mark.parametrize(
    "spec",
    [{"suspend": True}, {"submission": {"host": "sink.example"}}, {"tenantId": "fabrikam.com"}],
    ids=["suspended", "host not allowed", "another application's token"],
)
def test_no_login_is_tried_without_a_token_for_an_allowed_host(spec: Object) -> None:
    secret, status = issued()
    assert settled(observed(mailer(), token_secret=secret)).login is not None
    assert settled(observed(mailer(status=status, **spec), token_secret=secret)).login is None


def test_a_refresh_or_another_credential_makes_the_login_due_and_a_renewal_does_not() -> None:
    secret, status = issued()
    login = {**status["login"], "lastTime": "2026-11-23T12:00:01Z", "nextTime": "2026-11-23T17:00:00Z"}
    status["login"] = login

    def after(subject: Mailer, value: bytes = b"not-a-secret") -> Outcome:
        later = observed(subject, token_secret=secret, secret=credential(value=value), now=NOON + 46 * MINUTE)
        return settled(later, token(issued_at=NOON + 46 * MINUTE))

    assert after(mailer(status=status)).login is None
    assert after(mailer(status=status), b"rotated").login is not None
    assert after(mailer(status=status, annotations={names.REFRESH_ANNOTATION: "now"})).login is not None


def test_without_the_canary_no_login_is_due_and_the_status_says_so() -> None:
    outcome = settled(dataclasses.replace(observed(mailer()), canary=False), token())
    assert (outcome.login, outcome.status.login) == (None, None)
    told_off = outcome.status.condition("Authenticated")
    assert told_off
    assert (told_off.status, told_off.reason) == ("Unknown", "CanaryOff")
    assert [each.type for each in changes(mailer().status, outcome.status)] == ["Ready", "TokenIssued"]
