"""From `kubectl apply` to a token that Exchange would take, in the Secret that pods mount."""

import base64
import datetime
import json
from collections.abc import Callable

import pytest
from support.controller_process import ControllerProcess, Namespace
from support.waiting import eventually

from o365mailer_contract import settings


@pytest.mark.promise("token-secret-complete")
def test_the_secret_holds_a_complete_mailer_directory_that_belongs_to_the_mailer(namespace: Namespace) -> None:
    namespace.apply_mailer(limits={"connections": 2}, delivery={"confirmWithin": "5s"}, logLevel="debug")
    mailer = namespace.await_ready()
    secret = namespace.find("secret", "o365mailer.noreply")
    files = namespace.files()
    assert files is not None
    assert set(files) == {"access_token", "mailer.json", "ca.crt"}
    document = settings.decode(files["mailer.json"])
    assert (document.mailbox, document.revision) == (namespace.emulator.mailbox, 1)
    assert document.submission.port == namespace.emulator.smtp_port
    assert (document.limits.connections, document.delivery.confirm_within, document.log_level) == (2, "5s", "debug")
    [owner] = secret["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["kind"]) == (mailer["metadata"]["uid"], "O365Mailer")
    assert secret["metadata"]["labels"]["o365mailer.dev/mailer"] == "noreply"


@pytest.mark.promise("token-secret-complete")
def test_the_token_is_the_one_that_entra_issued_for_exchange(namespace: Namespace) -> None:
    namespace.apply_mailer()
    namespace.await_ready()
    files = namespace.files()
    assert files is not None
    claims = _claims(files["access_token"].decode())
    assert claims["aud"].startswith("https://outlook.office")
    assert claims["appid"] == namespace.emulator.client_id
    assert [token["uti"] for token in namespace.emulator.tokens()] == [claims["uti"]]


@pytest.mark.promise("token-secret-complete")
def test_the_status_says_when_the_token_ends_and_when_the_next_is_due(namespace: Namespace) -> None:
    namespace.apply_mailer()
    status = namespace.await_ready()["status"]
    issued, due, end = (_instant(status[key]) for key in ("lastRefresh", "nextRefresh", "tokenExpiry"))
    assert 0.55 < (due - issued) / (end - issued) < 0.80
    assert (status["secretName"], status["tokenRevision"]) == ("o365mailer.noreply", 1)
    document = namespace.settings()
    assert document["expiresAt"] == status["tokenExpiry"]


@pytest.mark.promise("ready-after-its-secret")
def test_a_mailer_applied_before_its_secret_is_ready_soon_after_it(
    own_namespace: Namespace, start_controller: Callable[..., ControllerProcess]
) -> None:
    own_namespace.kubectl("delete", "secret", "entra", "-n", own_namespace.name)
    start_controller("--reconcile-interval", "60s").wait_until_leading()
    own_namespace.apply_mailer()
    own_namespace.await_condition("SecretNotFound")
    own_namespace.credentials()
    own_namespace.await_ready(within=30)


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_events_tell_each_change_of_state_once(namespace: Namespace) -> None:
    namespace.apply_mailer(credential={"clientSecret": {"secretRefs": [{"name": "late", "key": "secret"}]}})
    namespace.await_condition("SecretNotFound")
    namespace.secret("late", {"secret": namespace.emulator.client_secret})
    namespace.await_ready()

    def told() -> dict[tuple[str, str], str] | None:
        events = {(event["action"], event["reason"]): event["type"] for event in namespace.events()}
        return events if len(events) == 4 else None

    assert eventually(told, what="four Events") == {
        ("Ready", "SecretNotFound"): "Warning",
        ("Ready", "TokenValid"): "Normal",
        ("TokenIssued", "TokenIssued"): "Normal",
        ("Authenticated", "Authenticated"): "Normal",
    }
    assert all("series" not in event for event in namespace.events())
    namespace.kubectl("delete", "secret", "late", "-n", namespace.name)


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_change_that_comes_back_is_counted_in_its_event(namespace: Namespace) -> None:
    for suspended in (False, True, False, True):
        namespace.apply_mailer(suspend=suspended)
        namespace.await_condition("Suspended" if suspended else "TokenValid")

    def counted() -> bool:
        counts = [e["series"]["count"] for e in namespace.events() if e["reason"] == "Suspended" and "series" in e]
        return counts == [2]

    assert eventually(counted, what="a second occurrence of the Event")


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_metrics_tell_of_each_mailer_without_an_address(namespace: Namespace, controller: ControllerProcess) -> None:
    namespace.apply_mailer("measured", credential=_noted("2031-05-06T07:08:09Z"))
    mailer = namespace.await_ready("measured")
    labels = f'{{mailer="measured",namespace="{namespace.name}"}}'
    assert controller.metric(f"o365mailer_ready{labels}") == 1
    expiry = _instant(mailer["status"]["tokenExpiry"]).timestamp()
    assert controller.metric(f"o365mailer_token_expiry_timestamp_seconds{labels}") == expiry
    noted = datetime.datetime(2031, 5, 6, 7, 8, 9, tzinfo=datetime.UTC).timestamp()
    assert controller.metric(f"o365mailer_client_secret_expiry_timestamp_seconds{labels}") == noted
    due = _instant(mailer["status"]["nextRefresh"]).timestamp()
    assert int(controller.metric(f"o365mailer_token_refresh_timestamp_seconds{labels}") or 0) == due
    assert controller.metric(f"o365mailer_token_secret_revision{labels}") == mailer["status"]["tokenRevision"]
    assert controller.metric(f"o365mailer_suspended{labels}") == 0
    assert controller.metric(f"o365mailer_certificate_expiry_timestamp_seconds{labels}") is None
    assert (controller.metric('o365mailer_token_requests_total{reason="TokenIssued"}') or 0) >= 1
    assert controller.metric("o365mailer_leading") == 1
    assert "@" not in controller.http("/metrics")[1]


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_the_refresh_of_a_suspended_mailer_is_not_due(namespace: Namespace, controller: ControllerProcess) -> None:
    namespace.apply_mailer("suspended")
    namespace.await_ready("suspended")
    labels = f'{{mailer="suspended",namespace="{namespace.name}"}}'
    assert eventually(lambda: controller.metric(f"o365mailer_token_refresh_timestamp_seconds{labels}"))
    namespace.apply_mailer("suspended", suspend=True)
    assert eventually(lambda: controller.metric(f"o365mailer_suspended{labels}") == 1)
    assert controller.metric(f"o365mailer_token_refresh_timestamp_seconds{labels}") is None


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_metrics_forget_a_mailer_that_is_deleted(namespace: Namespace, controller: ControllerProcess) -> None:
    namespace.apply_mailer("passing")
    namespace.await_ready("passing")
    sample = f'o365mailer_ready{{mailer="passing",namespace="{namespace.name}"}}'
    assert eventually(lambda: controller.metric(sample) == 1)
    namespace.kubectl("delete", "o365mailer", "passing", "-n", namespace.name)
    assert eventually(lambda: controller.metric(sample) is None)


def test_probes_answer(controller: ControllerProcess) -> None:
    assert controller.http("/livez") == (200, "ok\n")
    assert controller.http("/readyz") == (200, "ok\n")
    assert controller.http("/nowhere")[0] == 404


def _noted(instant: str) -> dict[str, object]:
    return {"clientSecret": {"secretRefs": [{"name": "entra", "key": "secret"}], "expiresAt": instant}}


def _claims(token: str) -> dict[str, str]:
    payload = token.split(".")[1]
    claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def _instant(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
