"""Flux, kubectl wait and Argo CD wait for a mailer: they go on when it is Ready, and fail on what does not heal."""

from typing import Any

import pytest
from support.argo_health import health
from support.controller_process import Namespace
from support.kstatus import kstatus
from support.waiting import eventually


def found(namespace: Namespace, name: str) -> dict[str, Any]:
    """The mailer, once the controller has written about its spec as it is now."""

    def settled() -> dict[str, Any] | None:
        mailer: dict[str, Any] = namespace.find("o365mailer", name)
        conditions = mailer["status"].get("conditions")
        seen = mailer["status"]["observedGeneration"] == mailer["metadata"]["generation"]
        return mailer if conditions and seen else None

    mailer = eventually(settled)
    assert mailer
    return mailer


def judged(namespace: Namespace, name: str) -> tuple[str, str]:
    """What kstatus and Argo CD say."""
    mailer = found(namespace, name)
    return kstatus(mailer), health(mailer)[0]


@pytest.mark.promise("tools-wait-rightly")
def test_before_the_controller_has_seen_a_mailer_tools_wait_for_it(own_namespace: Namespace) -> None:
    own_namespace.apply_mailer()
    mailer = own_namespace.find("o365mailer", "noreply")
    assert mailer["status"] == {"observedGeneration": -1}
    assert (kstatus(mailer), *health(mailer)) == (
        "InProgress",
        "Progressing",
        "The controller has not looked at it yet",
    )


@pytest.mark.promise("tools-wait-rightly")
def test_tools_wait_for_what_heals_and_fail_on_what_does_not(namespace: Namespace) -> None:
    late = {"clientSecret": {"secretRefs": [{"name": "late", "key": "secret"}]}}
    elsewhere = {"host": "smtp.example.test"}
    namespace.apply_mailer("right")
    namespace.apply_mailer("early", credential=late)
    namespace.apply_mailer("abroad", submission=elsewhere)
    namespace.apply_mailer("paused", suspend=True)
    namespace.apply_mailer("nowhere", tenantId="99999999-9999-4999-8999-999999999999")

    namespace.await_ready("right")
    assert judged(namespace, "right") == ("Current", "Healthy")
    assert judged(namespace, "early") == ("InProgress", "Progressing")
    assert judged(namespace, "abroad") == ("Failed", "Degraded")
    assert judged(namespace, "paused") == ("Failed", "Suspended")
    namespace.await_condition("AADSTS90002", mailer="nowhere")
    assert judged(namespace, "nowhere") == ("Failed", "Degraded")

    stalled, ready = namespace.condition("Stalled", mailer="abroad"), namespace.condition("Ready", mailer="abroad")
    assert stalled
    assert ready
    assert (stalled["reason"], stalled["message"]) == (ready["reason"], ready["message"])
    assert health(found(namespace, "abroad"))[1] == f"HostNotAllowed: {ready['message']}"

    namespace.secret("late", {"secret": namespace.emulator.client_secret})
    namespace.apply_mailer("abroad")
    wait = ("wait", "--for=condition=Ready", "o365mailer/early", "o365mailer/abroad", "--timeout=45s")
    namespace.kubectl(*wait, "-n", namespace.name)
    assert judged(namespace, "early") == judged(namespace, "abroad") == ("Current", "Healthy")
    assert namespace.condition("Stalled", mailer="abroad") is None


@pytest.mark.promise("tools-wait-rightly")
def test_after_a_change_tools_do_not_believe_the_state_before_it(own_namespace: Namespace) -> None:
    """No controller has seen the change."""
    own_namespace.apply_mailer()
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "TokenValid",
        "message": "Pods can submit mail.",
        "lastTransitionTime": "2026-11-28T12:00:00Z",
        "observedGeneration": 1,
    }
    mailer = own_namespace.find("o365mailer", "noreply")
    before = mailer | {"status": {"observedGeneration": 1, "conditions": [ready]}}
    assert (kstatus(before), health(before)[0]) == ("Current", "Healthy")
    after = before | {"metadata": {**mailer["metadata"], "generation": 2}}
    assert (kstatus(after), health(after)[0]) == ("InProgress", "Progressing")


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_kubectl_shows_the_mailbox_and_finds_mailers_by_it(namespace: Namespace) -> None:
    namespace.apply_mailer("abroad", submission={"host": "smtp.example.test"})
    ready = namespace.await_condition("HostNotAllowed", mailer="abroad")
    mailbox, tenant = namespace.emulator.mailbox, namespace.emulator.tenant

    def rows(*arguments: str) -> list[str]:
        return namespace.kubectl("get", "o365mailers", "-n", namespace.name, *arguments).splitlines()

    head, row = rows()
    assert head.split() == ["NAME", "MAILBOX", "READY", "REASON", "AGE"]
    assert row.split()[:4] == ["abroad", mailbox, "False", "HostNotAllowed"]
    head, row = rows("-o", "wide")
    assert head.split() == ["NAME", "MAILBOX", "READY", "REASON", "AGE", "EXPIRES", "REVISION", "MESSAGE"]
    assert row.endswith(ready["message"])
    for selector in (f"spec.mailbox={mailbox}", f"spec.tenantId={tenant}"):
        assert rows("--field-selector", selector, "-o", "name") == ["o365mailer.o365mailer.dev/abroad"]
    assert rows("--field-selector", "spec.mailbox=other@contoso.com", "-o", "name") == []
