"""A real controller, webhook and relays whose metrics a real Prometheus scrapes, found through a real API server.

There is no node. So each process stands for a pod: the API server holds the pod, with the process' own port.
"""

import base64
import contextlib
import datetime
import functools
import json
import re
import ssl
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import yaml
from cluster_rig.control_plane import ControlPlane
from controller.test_every_reason_is_told import RSA_KEY, pair
from monitoring.prometheus import ALERTS, ROOT
from support.controller_process import ALLOW_LOOPBACK, ControllerProcess, Namespace
from support.emulator_client import EmulatorClient
from support.mounted_directory import MountedDirectory
from support.served_crd import served_crd
from support.sidecar_process import MailerDirectory, Sidecar
from support.spooling import nowhere, submit
from support.waiting import eventually
from webhook.examples import injected, pod
from webhook.process import WebhookProcess

from o365mailer_contract import names

PAGE: Final = ROOT / "docs" / "monitoring.md"
NAMESPACE: Final = "o365mailer-system"
EXPIRES: Final = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10)


class Installation:
    """Everything that Prometheus scrapes; a context manager.

    Of the mailers, `noreply` is Ready, `broken` lacks its Secret, and Entra does not know the certificate of
    `certified`. Of the relays of `noreply`, one has sent mail, has met a locked mailbox and has an older token than the
    Secret; one has no mailer directory; one cannot reach Office 365.
    """

    def __init__(self, plane: ControlPlane, emulator: EmulatorClient, directory: Path) -> None:
        self.plane, self.emulator, self.directory = plane, emulator, directory
        suffix = uuid.uuid4().hex[:8]
        self.shop = Namespace(name=f"shop-{suffix}", kubectl=plane.kubectl, emulator=emulator)
        self.operator = f"operator-{suffix}"
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.stack = stack
            kubectl = self.plane.kubectl
            stack.enter_context(served_crd(self.plane))
            for name in (self.shop.name, self.operator):
                kubectl("create", "namespace", name)
                eventually(functools.partial(self._has_account, name), "the default ServiceAccount")
            self._start_controller()
            self._start_webhook()
            self._start_relays()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def _has_account(self, namespace: str) -> bool:
        return bool(
            self.plane.kubectl("get", "serviceaccount", "default", "-n", namespace, "--ignore-not-found", "-o", "name")
        )

    def _start_controller(self) -> None:
        configuration = f"{self.operator}.o365mailer.dev"
        self.plane.kubectl.apply(_calls_nothing(configuration))
        self.stack.callback(self.plane.kubectl, "delete", "mutatingwebhookconfiguration", configuration)
        arguments = ["--namespace", self.operator, "--watch-namespace", self.shop.name, *ALLOW_LOOPBACK]
        arguments += ["--webhook-configuration", configuration]
        controller = ControllerProcess(kubeconfig=self.plane.kubeconfig, arguments=arguments)
        self.stack.enter_context(controller).wait_until_leading()
        self._stands_for("controller", port=int(controller.health.rpartition(":")[2]))
        self.shop.credentials()
        expires = EXPIRES.strftime("%Y-%m-%dT%H:%M:%SZ")
        known, missing = ({"name": name, "key": "secret"} for name in ("entra", "nowhere"))
        self.shop.apply_mailer(credential={"clientSecret": {"secretRefs": [known], "expiresAt": expires}})
        self.shop.apply_mailer("broken", credential={"clientSecret": {"secretRefs": [missing]}})
        self.shop.secret("pair", pair(RSA_KEY))
        self.shop.apply_mailer("certified", credential={"certificate": {"secretRef": {"name": "pair"}}})
        self.shop.await_ready()

    def _start_webhook(self) -> None:
        find = Namespace(name=self.operator, kubectl=self.plane.kubectl, emulator=self.emulator).find
        data = eventually(lambda: find("secret", names.CA_SECRET), "the authority")["data"]
        mounted = MountedDirectory(self.directory / "ca")
        mounted.swap_secret(data)
        webhook = self.stack.enter_context(WebhookProcess(mounted.path))
        webhook.wait_ready()
        self._stands_for("webhook", port=webhook.ports["health"])
        trust = ssl.create_default_context(cadata=base64.b64decode(data[names.CA_SECRET_CERTIFICATE]).decode())
        for manifest in (pod(), pod({names.PORTS_ANNOTATION: "none"})):
            request = urllib.request.Request(
                f"https://127.0.0.1:{webhook.ports['admission']}{names.PODS_PATH}",
                data=json.dumps(_review(manifest)).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
                assert answer.status == 200

    def _start_relays(self) -> None:
        directory = MailerDirectory(self.directory / "sends")
        directory.swap(self.shop.files() or {})
        sends = self._relay("sends", directory, "--spool-dir", str(self.directory / "spool"))
        assert submit(sends).startswith("250 ")
        self.emulator.script("body", reply="554 5.6.0 refused")
        assert submit(sends).startswith("554 ")
        self.emulator.script("body", named="throttled-send-as")
        assert submit(sends).startswith("250 2.0.0 Queued here")
        revision = self.shop.settings()["revision"]
        self.shop.apply_mailer(
            annotations={names.REFRESH_ANNOTATION: "now"},
            credential=self.shop.find("o365mailer", "noreply")["spec"]["credential"],
        )
        eventually(lambda: self.shop.settings()["revision"] > revision, "a newer token")
        self._relay("waits", MailerDirectory(self.directory / "waits"))
        away = MailerDirectory(self.directory / "away")
        nowhere(away)
        assert submit(self._relay("away", away)).startswith("451 ")

    def _relay(self, name: str, directory: MailerDirectory, *arguments: str) -> Sidecar:
        """A relay, and the pod that it stands for, as the webhook makes it."""
        relay = self.stack.enter_context(Sidecar(directory.path, arguments=arguments))
        manifest = injected(pod({names.HEALTH_PORT_ANNOTATION: str(relay.health_port)}))
        manifest["metadata"]["name"] = name
        self._create(manifest, namespace=self.shop.name)
        return relay

    def _stands_for(self, name: str, *, port: int) -> None:
        container = {"name": name, "image": "none", "ports": [{"name": "health", "containerPort": port}]}
        self._create({"metadata": {"name": name}, "spec": {"containers": [container]}}, namespace=self.operator)

    def _create(self, manifest: Mapping[str, Any], *, namespace: str) -> None:
        """Create a pod that runs, as far as the API server knows."""
        kubectl, name = self.plane.kubectl, manifest["metadata"]["name"]
        kubectl.apply({"apiVersion": "v1", "kind": "Pod", **manifest}, namespace=namespace)
        status = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
        patch = json.dumps({"status": status})
        kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)

    def configuration(self) -> dict[str, Any]:
        """Prometheus' configuration: that of the documentation, with these namespaces and what is found in them.

        Debian builds Prometheus without its discovery of Kubernetes, so the pods are found here.
        """
        text = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
        found: dict[str, Any] = yaml.safe_load(text.replace(NAMESPACE, self.operator))
        for job in found["scrape_configs"]:
            (discovery,) = job.pop("kubernetes_sd_configs")
            assert discovery["role"] == "pod"
            namespaces = discovery.get("namespaces", {"names": [self.shop.name, self.operator]})["names"]
            job["static_configs"] = [target for name in namespaces for target in self._discovered(name)]
        often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        return {"global": often, **found, "rule_files": [str(ALERTS)]}

    def _discovered(self, namespace: str) -> Iterator[dict[str, Any]]:
        """The targets that Prometheus' role `pod` finds, with the labels that it gives them before relabeling
        (prometheus.io, "kubernetes_sd_config")."""
        for found in self.plane.kubectl.json("get", "pods", "-n", namespace)["items"]:
            spec, status = found["spec"], found["status"]
            labels = {
                "__meta_kubernetes_namespace": namespace,
                "__meta_kubernetes_pod_name": found["metadata"]["name"],
                "__meta_kubernetes_pod_phase": status["phase"],
            }
            for name, value in found["metadata"].get("labels", {}).items():
                labels["__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", name)] = value
            for container in [*spec["containers"], *spec.get("initContainers", [])]:
                for port in container.get("ports", []):
                    yield {
                        "targets": [f"{status['podIP']}:{port['containerPort']}"],
                        "labels": {**labels, "__meta_kubernetes_pod_container_port_name": port.get("name", "")},
                    }


def _calls_nothing(name: str) -> dict[str, Any]:
    """A webhook configuration, for which the controller keeps an authority."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": f"pods.{name}",
                "clientConfig": {"url": "https://localhost:9/pods"},
                "objectSelector": {"matchLabels": {"no-pod-has-this": name}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


def _review(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """An AdmissionReview of the API server about a new pod."""
    request = {
        "uid": str(uuid.uuid4()),
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "shop",
        "operation": "CREATE",
        "object": {"apiVersion": "v1", "kind": "Pod", **manifest},
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@contextlib.contextmanager
def running(plane: ControlPlane, directory: Path) -> Iterator[Installation]:
    """The installation, with an Office 365 of its own."""
    with EmulatorClient() as emulator, Installation(plane, emulator, directory) as installed:
        yield installed
