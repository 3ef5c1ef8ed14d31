"""The controller does all its work with the rights and the environment that the chart gives it, and no others.

The real controller as a process, its ServiceAccount's own token, the Deployment's own environment.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane
from support.controller_process import ControllerProcess, Namespace
from support.emulator_client import EmulatorClient
from support.waiting import eventually

from chart.release import CHART, NAMESPACE, RELEASE, Render, environment_of
from o365mailer_contract.names import SECRETS_ROLE, grant_command

pytestmark = pytest.mark.timeout(120)

TEAM = "team-b"
MODES = {"the whole cluster": (), "one watched namespace": (f"watchNamespaces={{{TEAM}}}",)}


def kubeconfig_of(plane: ControlPlane, account: str, path: Path) -> Path:
    """A kubeconfig that has a ServiceAccount's token and no certificate."""
    document = json.loads(plane.kubeconfig.read_text(encoding="utf-8"))
    token = plane.kubectl("create", "token", account, "--namespace", NAMESPACE).strip()
    document["users"][0]["user"] = {"token": token}
    path.touch(mode=0o600)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture(params=list(MODES.values()), ids=list(MODES))
def values(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """How much of the cluster the chart is told to serve, with the emulator among the allowed hosts."""
    return (*request.param, "allowedHosts.authority={127.0.0.1}", "allowedHosts.submission={127.0.0.1}")


@pytest.fixture
def controller(
    values: tuple[str, ...], plane: ControlPlane, helm_on_plane: Client, render: Render, tmp_path: Path
) -> Iterator[ControllerProcess]:
    """The controller of an installation with these values; its logs hold no refusal at the end."""
    sets = [part for value in values for part in ("--set", value)]
    helm_on_plane("install", RELEASE, CHART, "--namespace", NAMESPACE, *sets)
    plane.kubectl("wait", "--for=condition=Established", "crd/o365mailers.o365mailer.dev")
    environment = environment_of(render(*values), "controller") | {"POD_NAMESPACE": NAMESPACE}
    kubeconfig = kubeconfig_of(plane, "o365mailer-controller", tmp_path / "kubeconfig")
    try:
        with ControllerProcess(kubeconfig=kubeconfig, environment=environment) as process:
            process.wait_until_leading()
            yield process
    finally:
        helm_on_plane("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
        plane.kubectl("delete", "secret", "o365mailer-webhook-ca", "--namespace", NAMESPACE, "--ignore-not-found")


@pytest.mark.promise("least-rights")
def test_it_serves_a_mailer_and_keeps_the_webhooks_authority_with_the_charts_rights_alone(
    controller: ControllerProcess, plane: ControlPlane, emulator: EmulatorClient
) -> None:
    team = Namespace(name=TEAM, kubectl=plane.kubectl, emulator=emulator)
    team.credentials()
    try:
        team.config_map("emulator-ca", {"ca.crt": Path(emulator.ca_file).read_text()})
        host = {"host": emulator.smtp_host, "port": emulator.smtp_port}
        team.apply_mailer(submission={**host, "ca": {"configMapRef": {"name": "emulator-ca"}}})
        team.await_ready()
        assert team.files()
        eventually(lambda: bool(team.events()))
        eventually(lambda: all(authorities(plane)))
    finally:
        team.tidy()
    refusals = [line for line in controller.lines() if "orbidden" in json.dumps(line)]
    assert not refusals


@pytest.mark.promise("least-rights")
@pytest.mark.parametrize("values", [("rbac.secrets=granted",)], indirect=True)
def test_where_secrets_are_granted_a_mailer_says_the_command_and_is_ready_after_it(
    controller: ControllerProcess, plane: ControlPlane, emulator: EmulatorClient
) -> None:
    granted, other = (Namespace(name=name, kubectl=plane.kubectl, emulator=emulator) for name in (TEAM, "team-a"))
    for space in (granted, other):
        space.credentials()
        space.apply_mailer()
    try:
        plane.kubectl(*grant_command(namespace=TEAM, operator=NAMESPACE).split()[1:])
        granted.await_ready()
        told = other.await_condition("SecretUnreadable")["message"]
        assert told.startswith("The controller may not read the Secret entra in this namespace.")
        _, _, command = told.partition(" allows it with: kubectl ")
        plane.kubectl(*command.split())
        other.await_ready()
    finally:
        for space in (granted, other):
            space.tidy()
            plane.kubectl("delete", "rolebinding", SECRETS_ROLE, "--namespace", space.name, "--ignore-not-found")


def authorities(plane: ControlPlane) -> list[str]:
    """The caBundle of each entry of the webhook configuration."""
    found = plane.kubectl.json("get", "mutatingwebhookconfiguration", "admission.o365mailer.dev")["webhooks"]
    return [webhook["clientConfig"].get("caBundle", "") for webhook in found]
