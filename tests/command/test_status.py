"""`o365mailer status`: the mailers, and what the relays of their pods say."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cluster_rig.control_plane import ControlPlane

from command.team import Ask, Team, condition, mailer, moment

Relay = Callable[..., tuple[str, int]]


def row(out: str) -> list[str]:
    """The cells of the only mailer's row."""
    return out.splitlines()[1].split()


@pytest.mark.promise("status-tells-token-relay-queue")
def test_it_counts_pods_with_the_newest_token_and_says_what_waits(ask: Ask, team: Team, relay: Relay) -> None:
    team.mailer(status={"tokenRevision": 2, "lastRefresh": moment(minutes=10)})
    team.pod("new", address=relay(revision=2))
    team.pod("old", address=relay(revision=1))

    told = ask("status", "-n", team.namespace)

    assert told.status == 0
    cells = row(told.out)
    assert cells[:5] == [team.namespace, "noreply", "noreply@contoso.com", "True", "TokenValid"]
    assert cells[-5:] == ["2", "1/2", "?", "0", "-"]
    assert "1 pod has no newest token although it is 10m old." in told.out

    (found,) = ask("status", "-n", team.namespace, "-o", "json").json["mailers"]
    assert found["pods"] == {"total": 2, "known": 2, "newestToken": 1, "newestRelay": None}
    assert [(each["pod"], each["revision"], each["ready"]) for each in found["relays"]] == [
        ("new", 2, True),
        ("old", 1, True),
    ]
    assert found["relays"][0]["version"] == found["relays"][1]["version"] != ""


def test_it_counts_pods_that_run_the_relay_that_is_injected_now(ask: Ask, team: Team, cluster: ControlPlane) -> None:
    team.mailer()
    team.pod("new", phase="Pending")
    team.pod("old", image="registry.example/o365mailer-sidecar:0.0.9", phase="Pending")

    with team.installation():
        told = ask("status", "-n", team.namespace)

    assert row(told.out)[-3] == "1/2"
    assert "1 pod runs another relay than the one that is injected now." in told.out


def test_a_token_that_has_just_been_refreshed_is_no_fault(ask: Ask, team: Team, relay: Relay) -> None:
    """A kubelet takes a minute to mount it."""
    team.mailer(status={"tokenRevision": 2, "lastRefresh": moment(seconds=20)})
    team.pod("old", address=relay(revision=1))

    assert "no newest token" not in ask("status", "-n", team.namespace).out


def test_a_mailer_by_name_is_shown_with_its_pods(ask: Ask, team: Team, relay: Relay) -> None:
    team.mailer()
    team.mailer("other")
    team.pod("web", address=relay(revision=1))
    team.pod("elsewhere", mailer="other", phase="Pending")

    told = ask("status", "noreply", "-n", team.namespace)

    assert "elsewhere" not in told.out
    assert "other" not in told.out
    pod = next(line for line in told.out.splitlines() if line.startswith("web "))
    assert pod.split()[1:] == ["Running", "0.1.0", "1", "yes", "-", "0", "-", "0"]


def test_a_pod_that_cannot_be_read_is_unknown(ask: Ask, team: Team, relay: Relay, own_address: str) -> None:
    team.mailer()
    team.pod("web", address=relay(revision=1))
    team.pod("starting", phase="Pending")
    team.pod("away", address=(own_address, 1))

    told = ask("status", "-n", team.namespace)

    assert told.status == 0
    assert row(told.out)[-6:-3] == ["3", "1/3", "(2?)"]
    assert f"! The metrics of 1 pod could not be read. {team.namespace}/away: The API server answered 503" in told.out


def test_a_job_that_has_ended_is_not_counted(ask: Ask, team: Team) -> None:
    team.mailer()
    team.pod("done", phase="Succeeded")

    assert ask("status", "-n", team.namespace, "-o", "json").json["mailers"][0]["pods"]["total"] == 0


@pytest.mark.promise("status-tells-token-relay-queue")
def test_a_mailer_that_is_not_ready_fails_with_its_reason_and_page(ask: Ask, team: Team) -> None:
    told = "There is no Secret entra. Create it, with the key secret."
    team.mailer(
        "noreply",
        condition("Ready", "False", "SecretNotFound", told),
        condition("TokenIssued", "False", "SecretNotFound", told),
        status={"tokenExpiry": None, "tokenRevision": None},
    )

    told_us = ask("status", "-n", team.namespace)

    assert told_us.status == 1
    assert row(told_us.out)[3:5] == ["False", "SecretNotFound"]
    assert f"noreply: {told} See " in told_us.out
    assert "troubleshooting.md#secretnotfound" in told_us.out


EXPIRING = "The client secret (expiresAt) ends on 2026-12-18 at 12:00 UTC. Plan its renewal. Create a new one in Entra."


def test_a_credential_that_ends_soon_is_told_in_the_words_of_the_condition(ask: Ask, team: Team) -> None:
    ready = condition("Ready", "True", "TokenValid", "Pods can submit mail.")
    team.mailer("calm", ready)
    team.mailer("noreply", ready, condition("CredentialExpiring", "True", "ClientSecretExpiring", EXPIRING))

    told = ask("status", "-n", team.namespace)
    calm, ending = ask("status", "-n", team.namespace, "-o", "json").json["mailers"]

    assert told.status == 0
    [line] = [line for line in told.out.splitlines() if line.startswith(f"! {team.namespace}/")]
    assert line.startswith(f"! {team.namespace}/noreply: {EXPIRING} See ")
    assert line.endswith("troubleshooting.md#clientsecretexpiring")
    assert calm["credentialExpiring"] is None
    assert ending["credentialExpiring"] == {"status": "True", "reason": "ClientSecretExpiring", "message": EXPIRING}


def test_a_suspended_mailer_is_no_failure(ask: Ask, team: Team) -> None:
    team.mailer("noreply", condition("Ready", "False", "Suspended", "spec.suspend is true."), suspend=True)

    assert ask("status", "-n", team.namespace).status == 0


def test_a_mailer_that_no_controller_has_looked_at(ask: Ask, team: Team) -> None:
    team.kubectl.apply(mailer(), namespace=team.namespace)

    told = ask("status", "-n", team.namespace)

    assert told.status == 0
    assert "the controller has not looked at it. Does it run?" in told.out


def test_an_empty_namespace_says_so(ask: Ask, namespace: str) -> None:
    told = ask("status", "-n", namespace)

    assert (told.status, told.out.splitlines()[0]) == (0, f"There is no mailer in namespace {namespace}.")


def test_no_such_mailer_names_those_that_there_are(ask: Ask, team: Team) -> None:
    team.mailer()

    told = ask("status", "norepyl", "-n", team.namespace)

    assert told.status == 2
    assert told.err == (
        f"o365mailer: There is no mailer norepyl in namespace {team.namespace}; it has noreply. Name it as kubectl get "
        "o365mailers -A lists it.\n"
    )


def test_no_such_namespace(ask: Ask) -> None:
    told = ask("status", "-n", "nowhere")

    assert told.status == 2
    assert told.err.startswith("o365mailer: There is no namespace nowhere.")


@pytest.mark.promise("command-needs-exactly-its-role")
def test_the_viewers_role_is_enough_for_its_namespace(
    ask: Ask, team: Team, relay: Relay, user: Callable[..., Path]
) -> None:
    team.mailer()
    team.pod("web", address=relay(revision=1))

    told = ask("status", kubeconfig=user("o365mailer-viewer"))

    assert told.status == 0
    assert row(told.out)[-4] == "1/1"


@pytest.mark.promise("command-needs-exactly-its-role")
def test_the_viewers_role_is_enough_for_the_cluster(
    ask: Ask, team: Team, relay: Relay, user: Callable[..., Path]
) -> None:
    team.mailer()
    team.pod("web", address=relay(revision=1))

    told = ask("status", "-A", "-o", "json", kubeconfig=user("o365mailer-viewer", everywhere=True))

    assert told.err == ""
    (found,) = [each for each in told.json["mailers"] if each["namespace"] == team.namespace]
    assert found["pods"]["known"] == 1


@pytest.mark.promise("command-needs-exactly-its-role")
def test_without_the_right_to_the_proxy_it_says_so_once(
    ask: Ask, team: Team, relay: Relay, user: Callable[..., Path]
) -> None:
    team.mailer()
    address = relay(revision=1)
    team.pod("web", address=address)
    team.pod("worker", address=address)

    told = ask("status", kubeconfig=user("view", "o365mailer-sender"))

    assert told.status == 0
    assert row(told.out)[-6:-3] == ["2", "0/2", "(2?)"]
    refusal = "! The metrics of 2 pods could not be read, because you may not get pods/proxy there."
    assert [line.startswith(refusal) for line in told.out.splitlines()].count(True) == 1


@pytest.mark.promise("command-needs-exactly-its-role")
def test_without_any_right_it_names_the_right_and_the_page(ask: Ask, team: Team, user: Callable[..., Path]) -> None:
    told = ask("status", kubeconfig=user())

    assert told.status == 2
    assert 'cannot list resource "o365mailers" in API group "o365mailer.dev" in the namespace' in told.err
    assert "docs/command.md#rights says which rights the command needs." in told.err
    assert told.err.count("\n") == 1
