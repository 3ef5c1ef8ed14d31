"""An installation on the API server as `check` meets one: webhook, controller and relays are real processes.

The pods of the controller and the webhook are made by real Deployments. No kubelet runs them: their status says where
the processes listen, and the API server proxies there.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from cluster_rig.control_plane import ControlPlane
from support.controller_process import ALLOW_LOOPBACK, ControllerProcess, Namespace
from support.emulator_client import EmulatorClient
from support.waiting import eventually
from webhook.installation import Installation

from command.team import Team, Told, command, moment
from o365mailer_contract.names import RELEASE

SIDECAR_IMAGE = "registry.example/o365mailer-sidecar:test"
"""What tests/webhook's process injects."""
ANYWHERE = "0.0.0.0:0"


class Installed:
    """A healthy installation, with one Ready mailer in the same namespace."""

    def __init__(self, plane: ControlPlane, emulator: EmulatorClient, *, address: str, directory: Path) -> None:
        self.plane, self.emulator, self.address = plane, emulator, address
        self.webhook = Installation(plane=plane, directory=directory, arguments=(f"--health={ANYWHERE}",))
        self.namespace = self.webhook.namespace
        self.kubectl = plane.kubectl
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.webhook)
            self.controller = self._start_controller(ANYWHERE)
            stack.callback(self._stop_controller)
            self.mailers = Namespace(name=self.namespace, kubectl=self.kubectl, emulator=self.emulator)
            self.mailers.credentials()
            self.mailers.apply_mailer("noreply")
            self.mailers.await_ready("noreply")
            self.team = Team(self.plane, self.namespace)
            self.deploy("controller", int(self.controller.health.rpartition(":")[2]))
            self.deploy("webhook", self.webhook.webhook.ports["health"])
            eventually(lambda: self.available("controller") and self.available("webhook"), "both are available")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_controller(self, health: str) -> ControllerProcess:
        arguments = ["--namespace", self.namespace, "--watch-namespace", self.namespace, *ALLOW_LOOPBACK]
        controller = ControllerProcess(kubeconfig=self.plane.kubeconfig, arguments=[*arguments, "--health", health])
        controller.wait_until_leading()
        return controller

    def _stop_controller(self) -> None:
        self.controller.stop()

    @contextlib.contextmanager
    def without_controller(self) -> Iterator[None]:
        """The controller is away; it comes back at the same address."""
        health = self.controller.health.removeprefix("http://")
        self._stop_controller()
        try:
            yield
        finally:
            self.controller = self._start_controller(health)

    @property
    def environment(self) -> dict[str, str]:
        """The administrator's, for the command."""
        return {"KUBECONFIG": str(self.plane.kubeconfig)}

    def deploy(self, role: str, port: int, **labels: str) -> None:
        """A Deployment as the chart has it, and its pod, which serves metrics on this port."""
        selector = {
            "app.kubernetes.io/name": "o365mailer",
            "app.kubernetes.io/instance": "o365mailer",
            "app.kubernetes.io/component": role,
        }
        environment = [{"name": "O365MAILER_SIDECAR_IMAGE", "value": SIDECAR_IMAGE}] if role == "webhook" else []
        container = {
            "name": role,
            "image": f"registry.example/o365mailer-operator:{RELEASE}",
            "env": environment,
            "ports": [{"name": "health", "containerPort": port}],
        }
        self.kubectl.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {
                    "name": f"o365mailer-{role}",
                    "labels": {**selector, "app.kubernetes.io/version": RELEASE, **labels},
                },
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": selector},
                    "template": {
                        "metadata": {"labels": selector},
                        "spec": {"serviceAccountName": f"o365mailer-{role}", "containers": [container]}
                        if role == "controller"
                        else {"containers": [container]},
                    },
                },
            },
            namespace=self.namespace,
        )
        choose = ("-n", self.namespace, "get", "pods", "-l", f"app.kubernetes.io/component={role}")
        pod = eventually(lambda: self.kubectl.json(*choose)["items"], f"the pod of the {role}")[0]
        now = moment(seconds=1)
        ready = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")]
        status = {"phase": "Running", "podIP": self.address, "podIPs": [{"ip": self.address}], "conditions": ready}
        self.team.patch_status("pod", pod["metadata"]["name"], status)

    def available(self, role: str) -> bool:
        """Whether the role's Deployment has its replica."""
        found = self.kubectl.json("get", "deployment", f"o365mailer-{role}", "-n", self.namespace)
        return bool(found.get("status", {}).get("availableReplicas"))

    @contextlib.contextmanager
    def expired_certificate(self) -> Iterator[None]:
        """The webhook with a certificate of two seconds, and without the authority that would sign the next."""
        webhook, directory = self.webhook, self.webhook.directory
        port, arguments = webhook.webhook.ports["admission"], webhook.arguments
        webhook.stop()
        webhook.arguments = (*arguments, "--leaf-lifetime=2s")
        webhook.start(listen=port)
        (directory / "ca").rename(directory / "gone")
        try:
            eventually(lambda: webhook.webhook.health("/readyz")[0] != 200, "the certificate has expired")
            yield
        finally:
            (directory / "gone").rename(directory / "ca")
            webhook.stop()
            webhook.arguments = arguments
            webhook.start(listen=port)

    def check(self, *arguments: str, kubeconfig: Path | None = None) -> Told:
        """Run `check` in the namespace."""
        environment = {"KUBECONFIG": str(kubeconfig)} if kubeconfig else self.environment
        return command("check", "-n", self.namespace, *arguments, environment=environment)

    def findings(self, *arguments: str, kubeconfig: Path | None = None) -> list[dict[str, Any]]:
        """What it finds, without what is well."""
        told = self.check("-o", "json", *arguments, kubeconfig=kubeconfig)
        assert not told.err, told.err
        every = [finding for group in told.json["groups"] for finding in group["findings"]]
        assert told.status == int(any(each["status"] == "failed" for each in every))
        return [each for each in every if each["status"] != "ok"]

    def finding(self, name: str, *arguments: str, kubeconfig: Path | None = None) -> dict[str, Any]:
        """The one finding of this name that is not well, with all that a person needs."""
        found = [each for each in self.findings(*arguments, kubeconfig=kubeconfig) if each["name"] == name]
        assert len(found) == 1, found
        assert all(found[0][member] for member in ("title", "cause", "remedy", "link")), found[0]
        return found[0]

    def pod(self, name: str, relay: tuple[str, int] | None, *, mailer: str = "noreply", **labels: str) -> None:
        """Create an annotated pod, which the webhook injects, and let it run: its relay is the process at `relay`."""
        annotations = {"o365mailer.dev/inject": mailer}
        if relay:
            annotations["o365mailer.dev/health-port"] = str(relay[1])
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"test": "check", **labels}, "annotations": annotations},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        }
        self.kubectl.apply(manifest, namespace=self.namespace)
        self.team.run_pod(name, address=relay[0] if relay else "192.0.2.1", image=SIDECAR_IMAGE)

    def pods(self, names: Sequence[str], mailers: Sequence[str], relay: tuple[str, int]) -> None:
        """Many such pods, whose mailers take turns, without a process of kubectl for each."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        for number, name in enumerate(names):
            annotations = {
                "o365mailer.dev/inject": mailers[number % len(mailers)],
                "o365mailer.dev/health-port": str(relay[1]),
            }
            manifest = {
                "metadata": {"name": name, "labels": {"test": "check"}, "annotations": annotations},
                "spec": {"containers": [{"name": "app", "image": "app"}]},
            }
            created = self.webhook.api.create_pod(self.namespace, manifest, dry_run=False)
            assert created.status == 201, created.message
            pod = created.document
            pod["status"] = running(relay[0])
            del pod["metadata"]["resourceVersion"]  # the scheduler writes the status too
            put = self.webhook.api.request("PUT", f"{path}/{name}/status", pod)
            assert put.status == 200, put.message

    def tidy(self) -> None:
        """Remove the pods of a test."""
        self.kubectl("delete", "deployments,replicasets", "-n", self.namespace, "-l", "test=check", "--wait=true")
        query = "labelSelector=test%3Dcheck&gracePeriodSeconds=0"
        self.webhook.api.request("DELETE", f"/api/v1/namespaces/{self.namespace}/pods?{query}")  # one request for all

    @contextlib.contextmanager
    def patched(self, kind: str, name: str, change: Any, back: Any, *, namespace: str = "") -> Iterator[None]:
        """An object changed by a JSON patch for as long as the context lasts."""
        where = ("-n", namespace) if namespace else ()
        self.kubectl("patch", kind, name, *where, "--type=json", "-p", json.dumps(change))
        try:
            yield
        finally:
            self.kubectl("patch", kind, name, *where, "--type=json", "-p", json.dumps(back))

    def await_finding(self, name: str, *arguments: str, within: float = 20.0) -> dict[str, Any]:
        """The finding, once there is one: the API server's caches take a moment."""
        end = time.monotonic() + within
        while True:
            try:
                return self.finding(name, *arguments)
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.3)


def running(address: str) -> dict[str, Any]:
    """The status of a pod whose relay runs at this address."""
    relay = {
        "name": "o365mailer",
        "image": SIDECAR_IMAGE,
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": moment(minutes=5)}},
    }
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "initContainerStatuses": [relay],
    }
