"""Fixtures of the controller's tests: the real API server with our CRD, the controller as a process, the emulator."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chart.release import Manifest
from cluster_rig.control_plane import ControlPlane
from support.cluster_fixtures import PREPARATIONS, need
from support.controller_process import ALLOW_LOOPBACK, ControllerProcess, Namespace
from support.emulator_client import EmulatorClient
from support.rendered_chart import build_helm, controller_account, controller_rights
from support.served_crd import served_crd

Account = Callable[[list[Manifest]], Path]
"""Gives the kubeconfig of a ServiceAccount with these rights."""
PREPARATIONS.update(rights=build_helm)


@pytest.fixture(scope="package")
def cluster(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The API server with the CRD, which goes again for the other suites' sake."""
    with served_crd(control_plane):
        yield control_plane


def arguments_for(namespace: str) -> list[str]:
    """A controller of one namespace, whose mailers may name the emulator."""
    return ["--namespace", namespace, "--watch-namespace", namespace, *ALLOW_LOOPBACK]


def _namespace(cluster: ControlPlane) -> str:
    name = f"controller-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    return name


@pytest.fixture(scope="package")
def shared_namespace(cluster: ControlPlane) -> str:
    """One namespace for all tests that share a controller."""
    return _namespace(cluster)


@pytest.fixture(scope="package")
def controller(cluster: ControlPlane, shared_namespace: str) -> Iterator[ControllerProcess]:
    """One controller for all tests that do not restart it."""
    with ControllerProcess(
        kubeconfig=cluster.kubeconfig,
        arguments=arguments_for(shared_namespace),
    ) as process:
        process.wait_until_leading()
        yield process


@pytest.fixture
def namespace(
    cluster: ControlPlane, shared_namespace: str, controller: ControllerProcess, emulator: EmulatorClient
) -> Iterator[Namespace]:
    """The shared controller's namespace, with good credentials and no mailer.

    The application has a secret of its own in each test. The controller shares tokens of the last minute among equal
    credentials, and would otherwise serve one test with a token of another.
    """
    common, emulator.client_secret = emulator.client_secret, f"not-a-secret-{uuid.uuid4().hex}"
    members = {"secrets": [{"value": emulator.client_secret}]}
    emulator.control("PATCH", f"/applications/{emulator.client_id}", members)
    space = Namespace(name=shared_namespace, kubectl=cluster.kubectl, emulator=emulator)
    space.credentials()
    yield space
    space.tidy()
    emulator.client_secret = common


@pytest.fixture
def own_namespace(cluster: ControlPlane, emulator: EmulatorClient) -> Namespace:
    """A namespace that no controller watches yet, with good credentials."""
    space = Namespace(name=_namespace(cluster), kubectl=cluster.kubectl, emulator=emulator)
    space.credentials()
    return space


@pytest.fixture
def start_controller(cluster: ControlPlane, own_namespace: Namespace) -> Iterator[Callable[..., ControllerProcess]]:
    """Starts controllers for `own_namespace`; they end with the test."""
    started = contextlib.ExitStack()

    def start(*arguments: str, name: str = "controller", kubeconfig: Path | None = None) -> ControllerProcess:
        process = ControllerProcess(
            kubeconfig=kubeconfig or cluster.kubeconfig,
            name=name,
            arguments=[*arguments_for(own_namespace.name), *arguments],
        )
        return started.enter_context(process)

    with started:
        yield start


@pytest.fixture
def rights(own_namespace: Namespace) -> list[Manifest]:
    """What the chart grants a controller that is installed into `own_namespace` and serves it alone."""
    need("rights")
    return controller_rights(own_namespace.name, f"watchNamespaces={{{own_namespace.name}}}")


@pytest.fixture
def account(cluster: ControlPlane, own_namespace: Namespace, tmp_path: Path) -> Iterator[Account]:
    """Gives the kubeconfig of the controller's ServiceAccount with the rights that are passed."""
    with contextlib.ExitStack() as accounts:
        yield lambda manifests: accounts.enter_context(
            controller_account(cluster, own_namespace.name, manifests, tmp_path)
        )
