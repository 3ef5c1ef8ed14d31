"""A namespace whose mailers and injected pods are made by hand, and the command run in this process."""

import contextlib
import datetime
import io
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster_rig.control_plane import ControlPlane

from o365mailer_cli.main import main

IMAGE = "registry.example/o365mailer-sidecar:0.1.0"


@dataclass(frozen=True)
class Told:
    """What the command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON document that it printed."""
        return json.loads(self.out)


def command(*arguments: str, environment: Mapping[str, str] | None = None) -> Told:
    """Run the command in this process, as one whose output is no terminal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(list(arguments), environment or {})
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Told(status, out.getvalue(), err.getvalue())


Ask = Callable[..., Told]


def write_kubeconfig(
    path: Path, cluster: ControlPlane, login: Mapping[str, Any], *, namespace: str = "", **changes: Any
) -> Path:
    """A kubeconfig of this cluster with another login; `changes` replace members of its cluster."""
    document = json.loads(cluster.kubeconfig.read_text())
    document["users"][0]["user"] = dict(login)
    document["clusters"][0]["cluster"].update(changes)
    if namespace:
        document["contexts"][0]["context"]["namespace"] = namespace
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path


def mailer(name: str = "noreply", **spec: Any) -> dict[str, Any]:
    """A mailer's manifest."""
    return {
        "apiVersion": "o365mailer.dev/v1alpha1",
        "kind": "O365Mailer",
        "metadata": {"name": name},
        "spec": {
            "tenantId": "contoso.onmicrosoft.com",
            "clientId": "22222222-2222-4222-8222-222222222222",
            "mailbox": f"{name}@contoso.com",
            "credential": {"clientSecret": {"secretRefs": [{"name": "entra", "key": "secret"}]}},
            **spec,
        },
    }


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    """One condition of a mailer."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-11-28T10:00:00Z",
    }


def moment(**ago: float) -> str:
    """The API's timestamp of some time ago."""
    return f"{datetime.datetime.now(datetime.UTC) - datetime.timedelta(**ago):%Y-%m-%dT%H:%M:%SZ}"


class Team:
    """A namespace in which tests do the work of the controller, the webhook and the kubelet."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.kubectl, self.namespace = plane.kubectl, namespace

    def mailer(self, name: str = "noreply", *conditions: dict[str, Any], status: Any = None, **spec: Any) -> None:
        """Create a mailer; without conditions it is ready."""
        self.kubectl.apply(mailer(name, **spec), namespace=self.namespace)
        told = conditions or (
            condition("Ready", "True", "TokenValid", "Pods can submit mail."),
            condition("TokenIssued", "True", "TokenIssued", "By noreply/secret."),
        )
        full = {
            "conditions": list(told),
            "tokenRevision": 1,
            "tokenExpiry": moment(hours=-1),
            "lastRefresh": moment(minutes=10),
            "observedGeneration": 1,
            **(status or {}),
        }
        self.patch_status("o365mailer", name, full)

    @contextlib.contextmanager
    def installation(self, **webhook: Any) -> Iterator[None]:
        """The webhook's Deployment in this namespace, and a configuration that the API server calls for no object."""
        template = {
            "metadata": {"labels": {"app": "webhook"}},
            "spec": {
                "containers": [
                    {
                        "name": "webhook",
                        "image": "registry.example/o365mailer-operator:0.1.0",
                        "env": [{"name": "O365MAILER_SIDECAR_IMAGE", "value": IMAGE}],
                    }
                ]
            },
        }
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "o365mailer-webhook"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "webhook"}}, "template": template},
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "admission.o365mailer.dev"},
            "webhooks": [
                {
                    "name": "pods.admission.o365mailer.dev",
                    "clientConfig": {"service": {"namespace": self.namespace, "name": "o365mailer-webhook"}},
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "rules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                    ],
                    "matchConditions": [{"name": "never", "expression": "false"}],
                    **webhook,
                }
            ],
        }
        self.kubectl.apply(deployment, namespace=self.namespace)
        self.kubectl.apply(configuration)
        try:
            yield
        finally:
            self.kubectl("delete", "mutatingwebhookconfiguration", "admission.o365mailer.dev")

    def patch_status(self, kind: str, name: str, status: Any) -> None:
        """Write a status as its controller does."""
        change = json.dumps({"status": status})
        self.kubectl("patch", kind, name, "-n", self.namespace, "--subresource=status", "--type=merge", "-p", change)

    def pod(
        self,
        name: str,
        *,
        mailer: str = "noreply",
        image: str = IMAGE,
        address: tuple[str, int] | None = None,
        phase: str = "Running",
        **metadata: Any,
    ) -> None:
        """Create an injected pod. `address` is where its relay listens, of another address than loopback."""
        annotations = {
            "o365mailer.dev/inject": mailer,
            "o365mailer.dev/status": json.dumps(
                {
                    "mailer": mailer,
                    "container": "o365mailer",
                    "ports": [25, 587],
                    "healthPort": (address or ("", 9025))[1],
                }
            ),
        }
        relay = {"name": "o365mailer", "image": image, "restartPolicy": "Always"}
        self.kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "labels": {"o365mailer.dev/mailer": mailer},
                    "annotations": annotations,
                    **metadata,
                },
                "spec": {
                    "initContainers": [relay],
                    "containers": [{"name": "app", "image": "app"}],
                    "schedulingGates": [{"name": "example.com/no-node-is-wanted"}] if phase == "Pending" else [],
                },
            },
            namespace=self.namespace,
        )
        if phase != "Pending":
            self.run_pod(name, address=address[0] if address else "192.0.2.1", phase=phase, image=image)

    def run_pod(self, name: str, *, address: str, phase: str = "Running", image: str = IMAGE) -> None:
        """Say of a pod what its kubelet would."""
        state = {"running": {"startedAt": moment(minutes=5)}}
        container = {
            "name": "o365mailer",
            "image": image,
            "imageID": "",
            "ready": True,
            "restartCount": 0,
            "state": state,
        }
        status = {
            "phase": phase,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "initContainerStatuses": [{**container, "state": state}],
        }
        self.patch_status("pod", name, status)


def own_address() -> str:
    """An address of this machine that the API server proxies to: it refuses loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
        unsent.connect(("198.51.100.1", 9))
        return str(unsent.getsockname()[0])
