"""The installation that all attacks share, and who attacks."""

import contextlib
import uuid
from collections.abc import Callable, Iterator

import pytest
from cluster_rig.control_plane import ControlPlane
from support.cluster_fixtures import PREPARATIONS, need
from support.controller_process import ControllerProcess
from support.emulator_client import EmulatorClient
from support.rendered_chart import build_helm, controller_account, controller_rights, helm_client, rendered
from support.served_crd import served_crd
from support.waiting import eventually
from webhook.installation import Installation

from hostile.scene import Neighbour, Scene, Tenancy, peak
from hostile.user import Manifest, User

PREPARATIONS.update(scene=build_helm)  # the rights are the chart's
AGGREGATED = "rbac.authorization.k8s.io/aggregate-to-"
PACE = ["--reconcile-interval", "6s"]
HOSTILE_USER = "mallory"
ALLOWED = ["--allow-authority-host", "127.0.0.1", "--allow-submission-host", "127.0.0.1"]


@pytest.fixture(scope="package")
def scene(
    control_plane: ControlPlane, emulator_process: EmulatorClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Controller, webhook, a neighbour whose mailer is Ready, and a hostile user."""
    need("scene")
    emulator_process.reset()
    directory = tmp_path_factory.mktemp("hostile")
    kubectl, admin = control_plane.kubectl, User(control_plane.kubeconfig)
    (directory / "webhook").mkdir()
    operator, ours, theirs = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("operator", "neighbour", "hostile"))
    for name in (operator, ours, theirs):
        kubectl("create", "namespace", name)
    roles = [each for each in rendered(helm_client(directory, directory / "none")) if is_aggregated(each)]
    assert roles
    kubectl.apply(*roles)
    kubectl("create", "rolebinding", "hostile", "--clusterrole=edit", f"--user={HOSTILE_USER}", "-n", theirs)
    hostile = Tenancy(theirs, User(control_plane.kubeconfig, HOSTILE_USER), emulator_process)
    eventually(lambda: hostile.user.request("GET", hostile.path("/api/v1/namespaces/{}/secrets"))[0] == 200, "edit")
    granted = "workloadIdentity.serviceAccounts[0]"
    rights = controller_rights(operator, f"{granted}.namespace={ours}", f"{granted}.name=mail")
    with (
        served_crd(control_plane),
        controller_account(control_plane, operator, rights, directory) as kubeconfig,
        Installation(plane=control_plane, directory=directory / "webhook") as installation,
        ControllerProcess(kubeconfig=kubeconfig, arguments=["--namespace", operator, *ALLOWED, *PACE]) as controller,
    ):
        controller.wait_until_leading()
        neighbour = Neighbour(ours, admin, emulator_process)
        neighbour.settle()
        yield Scene(
            controller=controller,
            webhook=installation.webhook,
            neighbour=neighbour,
            hostile=hostile,
            emulator=emulator_process,
            admin=admin,
            before=peak(controller),
        )
    kubectl("delete", "namespace", ours, theirs, "--wait=false")
    kubectl("delete", *[f"clusterrole/{role['metadata']['name']}" for role in roles])


@pytest.fixture
def start_controller(scene: Scene, control_plane: ControlPlane) -> Iterator[Callable[[], ControllerProcess]]:
    """Starts another controller, with a Lease of its own, of all namespaces."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(
            ControllerProcess(
                kubeconfig=control_plane.kubeconfig,
                arguments=["--namespace", scene.hostile.name, *ALLOWED, *PACE],
            )
        )


def is_aggregated(manifest: Manifest) -> bool:
    """Whether the role is added to the users' own roles."""
    labels = manifest["metadata"].get("labels") or {}
    return manifest["kind"] == "ClusterRole" and any(label.startswith(AGGREGATED) for label in labels)
