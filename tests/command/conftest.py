"""The verbs that talk to a cluster, against a real API server with the CRD and the chart's roles.

There is no node, so no kubelet starts a container. But the API server reaches a pod by the address in its status: a
relay is a real process of this machine, and its pod's status says where it listens.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_rig.control_plane import ControlPlane
from support.cluster_fixtures import PREPARATIONS, need
from support.emulator_client import EmulatorClient
from support.rendered_chart import build_helm, helm_client, rendered
from support.served_crd import served_crd
from support.sidecar_process import MailerDirectory, Sidecar
from support.waiting import eventually
from webhook.installation import Installation

from command.team import Ask, Team, Told, command, own_address, write_kubeconfig

PREPARATIONS.update(cluster=build_helm)  # the roles are the chart's


@pytest.fixture(scope="package")
def cluster(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The API server with the CRD and the ClusterRoles for people, which go again for the other suites' sake."""
    need("cluster")
    directory = tmp_path_factory.mktemp("helm")
    people = ("o365mailer-viewer", "o365mailer-sender", "o365mailer-edit")
    objects = rendered(helm_client(directory, directory / "none"))
    roles = [each for each in objects if each["kind"] == "ClusterRole" and each["metadata"]["name"] in people]
    assert len(roles) == len(people)
    with served_crd(control_plane):
        control_plane.kubectl.apply(*roles)
        yield control_plane
        control_plane.kubectl("delete", "clusterrole", *people)


@pytest.fixture
def ask(cluster: ControlPlane) -> Ask:
    """`ask("status", "-A")` runs the command as the administrator; `kubeconfig=` as another user."""

    def asked(*arguments: str, kubeconfig: Path | None = None) -> Told:
        return command(*arguments, environment={"KUBECONFIG": str(kubeconfig or cluster.kubeconfig)})

    return asked


@pytest.fixture
def namespace(cluster: ControlPlane) -> str:
    """A namespace of the test's own."""
    name = f"command-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    eventually(
        lambda: cluster.kubectl.process("get", "serviceaccount", "default", "-n", name).returncode == 0,
        "the namespace's default ServiceAccount",
    )
    return name


@pytest.fixture
def user(cluster: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """`user("o365mailer-viewer")` → the kubeconfig of a user with exactly these ClusterRoles in the test's namespace.

    With `everywhere=True`, in the whole cluster.
    """
    bound = []

    def made(*roles: str, everywhere: bool = False) -> Path:
        name = f"user-{uuid.uuid4().hex[:6]}"
        cluster.kubectl("create", "serviceaccount", name, "-n", namespace)
        for role in roles:
            kind, where = ("clusterrolebinding", []) if everywhere else ("rolebinding", ["-n", namespace])
            binding = f"{name}-{role}"
            account = f"--serviceaccount={namespace}:{name}"
            cluster.kubectl("create", kind, binding, f"--clusterrole={role}", account, *where)
            if everywhere:
                bound.append(binding)
        token = cluster.kubectl("create", "token", name, "-n", namespace).strip()
        return write_kubeconfig(tmp_path / f"{name}.kubeconfig", cluster, {"token": token}, namespace=namespace)

    yield made
    if bound:
        cluster.kubectl("delete", "clusterrolebinding", *bound)


@pytest.fixture
def team(cluster: ControlPlane, namespace: str) -> Team:
    """The test's namespace, with what makes mailers and pods in it."""
    return Team(cluster, namespace)


@pytest.fixture(scope="session", name="own_address")
def own_address_fixture() -> str:
    """An address of this machine that the API server proxies to."""
    return own_address()


@pytest.fixture
def relay(emulator: EmulatorClient, own_address: str, tmp_path: Path) -> Iterator[Callable[..., tuple[str, int]]]:
    """`relay(revision=2)` starts a real relay with this mailer directory and returns where its metrics are."""
    with contextlib.ExitStack() as stack:

        def started(*arguments: str, **settings: Any) -> tuple[str, int]:
            directory = MailerDirectory(tmp_path / f"mailer-{uuid.uuid4().hex[:6]}")
            directory.write_for(emulator, **settings)
            # The second --health wins: the first is the support class's own.
            process = stack.enter_context(
                Sidecar(directory.path, arguments=["--health", f"{own_address}:0", *arguments])
            )
            eventually(lambda: process.events("mailer_read"), "the relay has read its mailer")
            return own_address, process.health_port

        yield started


@pytest.fixture(scope="module")
def webhook(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The webhook, installed for this module."""
    with Installation(plane=cluster, directory=tmp_path_factory.mktemp("webhook")) as installed:
        yield installed
