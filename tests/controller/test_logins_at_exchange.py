"""The controller logs in at Exchange before any mail, and says in Authenticated and Ready what came of it."""

import datetime
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.controller_process import ControllerProcess, Namespace
from support.waiting import eventually

from controller.test_every_reason_is_told import closed_port
from o365mailer_contract import names
from o365mailer_operator.controller.conditions import MESSAGE_LIMIT

pytestmark = pytest.mark.timeout(120)

LOGIN = {"EHLO": 2, "STARTTLS": 1, "AUTH": 1, "QUIT": 1}


def told(namespace: Namespace, reason: str, *, mailer: str = "noreply") -> dict[str, Any]:
    """Authenticated, once it has this reason."""
    return namespace.await_condition(reason, kind="Authenticated", mailer=mailer)


def ago(seconds: float) -> str:
    """An instant of the past, as the API writes it."""
    return f"{datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def move(namespace: Namespace, **login: Any) -> None:
    """Changes what the status says of the logins, as if hours had passed."""
    change = json.dumps({"status": {"login": login}})
    namespace.kubectl(
        *("patch", "o365mailer", "noreply", "-n", namespace.name),
        *("--subresource=status", "--type=merge", "-p", change),
    )


@pytest.mark.promise("refused-login-is-told", "logins-are-few")
def test_a_login_that_works_is_told_and_no_mail_is_sent(namespace: Namespace, controller: ControllerProcess) -> None:
    emulator = namespace.emulator
    namespace.apply_mailer()
    condition = told(namespace, "Authenticated")
    assert condition["status"] == "True"
    assert f"log in as {emulator.mailbox}" in condition["message"]
    assert "430" in condition["message"]
    counters = emulator.counters()
    assert (counters["commands"], counters["messages"], counters["openPeak"]) == (LOGIN, 0, 1)
    login = namespace.find("o365mailer", "noreply")["status"]["login"]
    tried, again = (datetime.datetime.fromisoformat(login[name]) for name in ("lastTime", "nextTime"))
    assert datetime.timedelta(hours=4.5) <= again - tried <= datetime.timedelta(hours=6)
    labels = f'{{mailer="noreply",namespace="{namespace.name}"}}'
    assert eventually(lambda: controller.metric(f"o365mailer_authenticated{labels}")) == 1
    assert controller.metric('o365mailer_logins_total{reason="accepted"}')
    version = namespace.find("o365mailer", "noreply")["metadata"]["resourceVersion"]
    looks = controller.metric('o365mailer_reconciles_total{result="success"}') or 0
    eventually(lambda: (controller.metric('o365mailer_reconciles_total{result="success"}') or 0) >= looks + 2)
    assert emulator.counters()["commands"]["AUTH"] == 1, "not at each look"
    assert namespace.find("o365mailer", "noreply")["metadata"]["resourceVersion"] == version


@pytest.mark.promise("refused-login-is-told", "one-login-proves-little")
def test_what_keeps_the_controller_from_logging_in_is_told_in_its_kinds(namespace: Namespace) -> None:
    emulator = namespace.emulator
    emulator.control("PATCH", "/mailboxes/no-right@contoso.com", {"tenant": emulator.tenant, "applications": []})
    emulator.control("PATCH", "/mailboxes/off@contoso.com", {"tenant": emulator.tenant, "smtpAuth": False})
    trust = {"ca": {"secretRef": {"name": "emulator-ca"}}}
    cases = {
        "no-right": ({"mailbox": "no-right@contoso.com"}, "False", "LoginPending", "(token): 535 5.7.3"),
        "off": ({"mailbox": "off@contoso.com"}, "False", "LoginPending", "(smtp-auth-disabled): 535 5.7.139"),
        "shut": (
            {"submission": {"host": "127.0.0.1", "port": closed_port(), **trust}},
            *("Unknown", "ExchangeUnreachable", "(connection-refused)"),
        ),
        "untrusted": (
            {"submission": {"host": "127.0.0.1", "port": emulator.smtp_port}},
            *("Unknown", "ExchangeNotTrusted", "(tls-untrusted)"),
        ),
    }
    for name, (spec, *_) in cases.items():
        namespace.apply_mailer(name, **spec)  # type: ignore[arg-type]
    for name, (_, status, reason, words) in cases.items():
        condition = told(namespace, str(reason), mailer=name)
        assert condition["status"] == status
        assert str(words) in condition["message"]
        assert len(condition["message"]) < MESSAGE_LIMIT, "nothing is cut"
        assert namespace.condition("Ready", name)["status"] == "True"  # type: ignore[index]
    pending = told(namespace, "LoginPending", mailer="no-right")["message"]
    assert f"New-ServicePrincipal -AppId {emulator.client_id} -ObjectId 33333333" in pending
    assert "Set-CASMailbox -Identity off@contoso.com" in told(namespace, "LoginPending", mailer="off")["message"]
    (event,) = [event for event in namespace.events("no-right") if event["action"] == "Authenticated"]
    assert (event["type"], event["reason"]) == ("Warning", "LoginPending")
    assert event["note"].startswith("Exchange refuses the login as no-right@contoso.com (token): 535 5.7.3")
    assert event["note"].endswith("kubectl describe shows all of it.")
    assert emulator.counters()["messages"] == 0


@pytest.mark.promise("refused-login-is-told")
@pytest.mark.parametrize(
    ("step", "rule", "status", "reason", "words"),
    [
        ("auth", {"named": "security-defaults"}, "False", "LoginPending", "(blocked-by-policy): 535 5.7.139"),
        ("auth", {"named": "hve-application"}, "False", "LoginPending", "Add-HVEAppAccess"),
        ("auth", {"named": "concurrent"}, "Unknown", "LoginNotTried", "Exchange was busy (432 4.3.2"),
        ("auth", {"named": "not-available"}, "Unknown", "LoginNotTried", "Exchange was busy (421 4.3.2"),
        ("starttls", {"extra": "250 x\r\n"}, "Unknown", "ExchangeUnreachable", "sent bytes in clear"),
    ],
)
def test_each_reply_is_told(
    namespace: Namespace, step: str, rule: dict[str, Any], status: str, reason: str, words: str
) -> None:
    namespace.emulator.script(step, **rule)
    namespace.apply_mailer()

    def found() -> dict[str, Any] | None:
        condition = namespace.condition("Authenticated")
        return condition if condition and words in condition["message"] else None

    condition = eventually(found, words)
    assert (condition["status"], condition["reason"]) == (status, reason)
    assert namespace.await_ready()["status"]["login"]["nextTime"]


@pytest.mark.promise("refused-login-is-told")
def test_a_refusal_that_lasts_makes_ready_false_and_a_right_that_arrives_makes_it_true(
    namespace: Namespace, controller: ControllerProcess
) -> None:
    emulator = namespace.emulator
    emulator.control("PATCH", f"/mailboxes/{emulator.mailbox}", {"applications": []})
    namespace.apply_mailer()
    told(namespace, "LoginPending")
    assert namespace.await_ready()
    move(namespace, since=ago(3 * 3600), refusals=2, refusedSince=ago(1200), nextTime=ago(1))
    ready = namespace.await_condition("LoginRefused")
    refused = told(namespace, "LoginRefused")
    assert (ready["status"], ready["message"]) == ("False", refused["message"])
    assert f"Test-ServicePrincipalAuthorization -Identity {emulator.client_id}" in ready["message"]
    labels = f'{{mailer="noreply",namespace="{namespace.name}"}}'
    eventually(lambda: controller.metric(f"o365mailer_authenticated{labels}") == 0)
    assert namespace.files(), "the token stays: the relay decides by itself"
    emulator.control("PATCH", "/settings", {"effectiveAfter": 1})
    emulator.control("PATCH", f"/mailboxes/{emulator.mailbox}", {"applications": [emulator.client_id]})
    time.sleep(1)  # the right spreads
    move(namespace, nextTime=ago(1))
    told(namespace, "Authenticated")
    assert namespace.await_ready()
    login = namespace.find("o365mailer", "noreply")["status"]["login"]
    assert "refusals" not in login
    assert "refusedSince" not in login
    assert emulator.counters()["messages"] == 0


@pytest.mark.promise("logins-are-few")
def test_mailers_of_one_mailbox_log_in_one_after_the_other(namespace: Namespace) -> None:
    namespace.emulator.script("auth", times=3, delay=0.3, reply="235 2.7.0 ok")
    mailers = ["one", "two", "three"]
    for name in mailers:
        namespace.apply_mailer(name)
    for name in mailers:
        told(namespace, "Authenticated", mailer=name)
    counters = namespace.emulator.counters()
    assert (counters["commands"]["AUTH"], counters["openPeak"]) == (3, 1)


@pytest.mark.promise("logins-are-few")
def test_no_login_is_tried_with_a_token_that_could_not_be_written(
    namespace: Namespace, controller: ControllerProcess
) -> None:
    def looks() -> float:
        return controller.metric('o365mailer_reconciles_total{result="success"}') or 0

    labels = {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.MAILER_LABEL: "noreply"}
    namespace.secret("o365mailer.noreply", {}, labels=labels)
    immutable = ("--type=merge", "-p", json.dumps({"immutable": True}))
    namespace.kubectl("patch", "secret", "o365mailer.noreply", "-n", namespace.name, *immutable)
    namespace.apply_mailer()
    namespace.await_condition("SecretWriteRefused")
    goal = looks() + 2
    eventually(lambda: looks() >= goal)
    assert namespace.emulator.counters()["connections"] == 0
    namespace.kubectl("delete", "secret", "o365mailer.noreply", "-n", namespace.name)
    told(namespace, "Authenticated")


@pytest.mark.promise("logins-are-few")
def test_a_restart_logs_in_nowhere(
    own_namespace: Namespace, start_controller: Callable[..., ControllerProcess]
) -> None:
    with start_controller() as first:
        first.wait_until_leading()
        own_namespace.apply_mailer()
        told(own_namespace, "Authenticated")
    second = start_controller("--allow-submission-host", "localhost")
    second.wait_until_leading()
    eventually(lambda: (second.metric('o365mailer_reconciles_total{result="success"}') or 0) >= 2)
    assert own_namespace.emulator.counters()["commands"]["AUTH"] == 1
    own_namespace.apply_mailer(submission={**own_namespace.manifest()["spec"]["submission"], "host": "localhost"})
    eventually(lambda: own_namespace.emulator.counters()["commands"]["AUTH"] == 2, "another host is tried")


def test_without_the_canary_no_login_is_tried_and_the_status_says_so(
    own_namespace: Namespace, start_controller: Callable[..., ControllerProcess]
) -> None:
    controller = start_controller("--canary", "off")
    controller.wait_until_leading()
    own_namespace.apply_mailer()
    own_namespace.await_ready()
    condition = told(own_namespace, "CanaryOff")
    assert condition["status"] == "Unknown"
    assert "controller.canary" in condition["message"]
    looks = controller.metric('o365mailer_reconciles_total{result="success"}') or 0
    eventually(lambda: (controller.metric('o365mailer_reconciles_total{result="success"}') or 0) > looks)
    assert own_namespace.emulator.counters()["connections"] == 0
    assert [event["action"] for event in own_namespace.events() if event["action"] == "Authenticated"] == []


def test_a_host_that_dns_does_not_know_is_told(
    own_namespace: Namespace, start_controller: Callable[..., ControllerProcess]
) -> None:
    start_controller("--allow-submission-host", "smtp.invalid").wait_until_leading()
    own_namespace.apply_mailer(submission={"host": "smtp.invalid"})
    condition = told(own_namespace, "ExchangeUnreachable")
    assert "(dns-" in condition["message"], "known as none, or no name server answers"
    assert "587 is often open to pods and shut to the controller" in condition["message"]
    assert own_namespace.await_ready()
