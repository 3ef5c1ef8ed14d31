"""`o365mailer refresh`: a real controller gets a token from the emulator, or says why not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_rig.control_plane import ControlPlane
from support.controller_process import ALLOW_LOOPBACK, ControllerProcess, Namespace
from support.emulator_client import EmulatorClient

from command.team import Ask, Team, condition


@pytest.fixture
def served(cluster: ControlPlane, namespace: str, emulator: EmulatorClient) -> Iterator[Namespace]:
    """The test's namespace with a controller and good credentials."""
    arguments = ["--namespace", namespace, "--watch-namespace", namespace, *ALLOW_LOOPBACK]
    space = Namespace(name=namespace, kubectl=cluster.kubectl, emulator=emulator)
    space.credentials()
    with ControllerProcess(kubeconfig=cluster.kubeconfig, arguments=arguments) as process:
        process.wait_until_leading()
        yield space
        space.tidy()


@pytest.mark.promise("refresh-waits-for-the-result")
def test_it_waits_for_the_new_token(ask: Ask, served: Namespace) -> None:
    served.apply_mailer()
    before = served.await_ready()["status"]

    told = ask("refresh", "noreply", "-n", served.name)

    assert told.status == 0
    assert told.out.startswith(f"✓ {served.name}/noreply has a new token: it expires in ")
    after = served.find("o365mailer", "noreply")["status"]
    assert after["tokenRevision"] > before["tokenRevision"]


@pytest.mark.promise("refresh-waits-for-the-result")
def test_it_tells_why_there_is_none(ask: Ask, served: Namespace) -> None:
    served.apply_mailer()
    served.await_ready()
    served.kubectl("delete", "secret", "entra", "-n", served.name)

    told = ask("refresh", "noreply", "-n", served.name, "--timeout", "20s")

    assert told.status == 1
    assert told.out.startswith(
        f"✗ {served.name}/noreply has no new token (SecretNotFound)\n    There is no Secret entra"
    )
    assert "troubleshooting.md#secretnotfound" in told.out


def test_a_controller_that_is_away(ask: Ask, team: Team) -> None:
    team.mailer()

    told = ask("refresh", "noreply", "-n", team.namespace, "--timeout", "1s", "-o", "json")

    assert told.status == 1
    assert (told.json["refreshed"], told.json["reason"]) == (False, "NoAnswer")
    assert "Does it run, and does it watch this namespace?" in told.json["message"]


def test_a_reason_from_before_is_told_as_such(ask: Ask, team: Team) -> None:
    team.mailer("noreply", condition("TokenIssued", "False", "SecretNotFound", "There is no Secret entra."))

    told = ask("refresh", "noreply", "-n", team.namespace, "--timeout", "1s", "-o", "json")

    assert told.json["reason"] == "SecretNotFound"
    assert told.json["message"].startswith(
        "There is no Secret entra. The controller has written nothing new within 1 s"
    )


def test_a_suspended_mailer_is_told_at_once(ask: Ask, team: Team) -> None:
    team.mailer(suspend=True)

    told = ask("refresh", "noreply", "-n", team.namespace)

    assert told.status == 1
    assert "spec.suspend is true" in told.out


@pytest.mark.promise("command-needs-exactly-its-role")
def test_the_role_edit_is_enough_and_the_viewers_is_not(ask: Ask, team: Team, user: Callable[..., Path]) -> None:
    team.mailer()

    viewer = ask("refresh", "noreply", kubeconfig=user("o365mailer-viewer"))
    editor = ask("refresh", "noreply", "--timeout", "1s", kubeconfig=user("o365mailer-viewer", "o365mailer-edit"))

    assert viewer.status == 2
    assert 'cannot patch resource "o365mailers"' in viewer.err
    assert (editor.status, editor.err) == (1, "")
