"""Token requests run apart from the looks at mailers, are shared, and hold up nothing when Entra hangs."""

from collections.abc import Callable

import pytest
from support.controller_process import ControllerProcess, Namespace
from support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

Start = Callable[..., ControllerProcess]
FRESH = {"o365mailer.dev/refresh": "now"}
"""Asks for a token of its own: others are shared by mailers of one application."""
OTHER = "44444444-4444-4444-8444-444444444444"


def requests(namespace: Namespace) -> int:
    """Token requests that Entra has got since the test began."""
    return int(namespace.emulator.counters()["requests"].get("token", 0))


def looks(process: ControllerProcess) -> float:
    """Looks that have ended well."""
    return process.metric('o365mailer_reconciles_total{result="success"}') or 0.0


def ready(process: ControllerProcess) -> int:
    """How many mailers are Ready."""
    lines = process.http("/metrics")[1].splitlines()
    return sum(line.startswith("o365mailer_ready{") and line.endswith(" 1.0") for line in lines)


@pytest.mark.promise("mailers-are-independent", "token-secret-restored")
def test_while_entra_hangs_looks_go_on_settings_are_written_and_a_deleted_secret_is_back(
    own_namespace: Namespace, start_controller: Start
) -> None:
    emulator = own_namespace.emulator
    emulator.control(
        "PATCH", f"/applications/{OTHER}", {"name": "other", "secrets": [{"value": emulator.client_secret}]}
    )
    process = start_controller()
    process.wait_until_leading()
    for name in ("noreply", "sales"):
        own_namespace.apply_mailer(name)
        own_namespace.await_ready(name)
    token = (own_namespace.files() or {})["access_token"]
    emulator.script("token", match=emulator.client_id, stall=True, times=None)
    new = [own_namespace.manifest(f"new-{number}", annotations=FRESH) for number in range(12)]
    own_namespace.kubectl.apply(*new, namespace=own_namespace.name)
    emulator.events("stalled")
    eventually(lambda: process.metric('o365mailer_errands_waiting{kind="token"}') == 11, what="eleven that wait")
    assert process.metric('o365mailer_errands_running{kind="token"}') == 1

    own_namespace.kubectl("delete", "secret", "o365mailer.noreply", "-n", own_namespace.name)
    own_namespace.apply_mailer("sales", limits={"connections": 1})
    assert eventually(own_namespace.files, what="the deleted Secret")["access_token"] == token
    eventually(lambda: own_namespace.settings("sales")["limits"]["connections"] == 1, what="the changed settings")
    own_namespace.apply_mailer("other", clientId=OTHER)
    own_namespace.await_ready("other")
    goal = looks(process) + 10
    eventually(lambda: looks(process) >= goal, within=30, what="looks at Ready mailers")
    assert emulator.counters()["tokensIssued"] == 2, "Entra answered one of the application that hangs"
    emulator.control("DELETE", "/script")
    emulator.release()
    eventually(lambda: ready(process) == 15, within=60, what="all mailers")


@pytest.mark.promise("mailers-are-independent")
def test_a_hundred_mailers_of_one_application_make_one_request(
    own_namespace: Namespace, start_controller: Start
) -> None:
    mailers = [own_namespace.manifest(f"mailer-{number}") for number in range(100)]
    own_namespace.kubectl.apply(*mailers, namespace=own_namespace.name)
    own_namespace.emulator.script("token", delay=1)
    process = start_controller()
    eventually(lambda: ready(process) == 100, within=90, what="a hundred Ready mailers")
    assert requests(own_namespace) == 1


@pytest.mark.promise("mailers-are-independent")
def test_a_shared_token_names_the_mailers_own_secret_and_the_annotation_gets_another(namespace: Namespace) -> None:
    namespace.secret("copy", {"secret": namespace.emulator.client_secret})
    namespace.secret("other", {"secret": "wrong-not-a-secret"})
    namespace.apply_mailer()
    namespace.await_ready()
    for name, refs in (("shares", ["copy"]), ("asks", ["other", "copy"])):
        named = [{"name": each, "key": "secret"} for each in refs]
        namespace.apply_mailer(name, credential={"clientSecret": {"secretRefs": named}})
        namespace.await_ready(name)
    issued = namespace.condition("TokenIssued", "shares")
    assert issued is not None
    assert issued["message"] == "Obtained with the Secret copy/secret."
    assert namespace.files("shares")["access_token"] == namespace.files()["access_token"]  # type: ignore[index]
    assert namespace.files("asks")["access_token"] != namespace.files()["access_token"]  # type: ignore[index]
    assert (requests(namespace), namespace.emulator.counters()["tokensIssued"]) == (3, 2)

    for name in ("noreply", "shares"):
        credential = namespace.find("o365mailer", name)["spec"]["credential"]
        namespace.apply_mailer(name, annotations=FRESH, credential=credential)
    eventually(lambda: namespace.settings()["revision"] == namespace.settings("shares")["revision"] == 2, within=30)
    assert requests(namespace) == 5


def test_what_a_request_brings_while_the_mailer_is_suspended_is_not_told_when_it_goes_on(
    own_namespace: Namespace, start_controller: Start
) -> None:
    process = start_controller()
    process.wait_until_leading()
    own_namespace.emulator.script("token", aadsts=7000222, delay=2)
    own_namespace.apply_mailer()
    eventually(lambda: process.metric('o365mailer_errands_running{kind="token"}') == 1, what="the request")
    own_namespace.apply_mailer(suspend=True)
    own_namespace.await_condition("Suspended")
    eventually(lambda: process.metric('o365mailer_errands_running{kind="token"}') == 0, what="its end")
    goal = looks(process) + 2
    eventually(lambda: looks(process) >= goal, what="looks at the suspended mailer")
    assert process.metric('o365mailer_token_requests_total{reason="AADSTS7000222"}') == 1
    own_namespace.apply_mailer()
    own_namespace.await_ready()
    assert "AADSTS7000222" not in {event["reason"] for event in own_namespace.events()}


@pytest.mark.promise("restart-mints-nothing")
def test_a_request_that_hangs_at_sigterm_is_left(own_namespace: Namespace, start_controller: Start) -> None:
    process = start_controller("--lease-duration", "60s")  # no warning of one that a busy machine renews late
    process.wait_until_leading()
    own_namespace.emulator.script("token", stall=True)
    own_namespace.apply_mailer()
    own_namespace.emulator.events("stalled")
    assert process.stop() == 0
    own_namespace.emulator.release()
    assert own_namespace.find("lease", "o365mailer-controller")["spec"]["holderIdentity"] == ""
    assert [line for line in process.lines() if line["level"] != "info"] == []
