"""All that was said anywhere while the tests ran, and a search in it for what must not be."""

from __future__ import annotations

import base64
import json
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from cluster_rig.clients import Client, ClientError

HEALTH_PORT = 9025
KINDS = "pods,deployments,replicasets,jobs,o365mailers,leases"


@dataclass(kw_only=True)
class Record:
    """Texts by where they were said, and what each canary is."""

    texts: dict[str, str] = field(default_factory=dict)
    canaries: dict[str, str] = field(default_factory=dict)

    def forbid(self, canaries: dict[str, str]) -> None:
        """These must stand nowhere: texts by what they are. Of one kind there may be many, such as a team's tokens."""
        self.canaries.update({text: what for what, text in canaries.items()})

    def keep_namespace(self, kubectl: Client, namespace: str) -> None:
        """Keeps the logs of every container (and of those before a restart), Events, status and metrics."""
        where = ("--namespace", namespace)
        found = kubectl.json(*where, "get", KINDS)["items"]
        self.texts[f"status in {namespace}"] = json.dumps([spoken(each) for each in found])
        self.texts[f"Events in {namespace}"] = kubectl(*where, "get", "events.events.k8s.io", "--output=json")
        for pod in (each for each in found if each["kind"] == "Pod"):
            self._keep_pod(kubectl, namespace, pod)

    def _keep_pod(self, kubectl: Client, namespace: str, pod: dict[str, Any]) -> None:
        name, status = pod["metadata"]["name"], pod["status"]
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            place = f"{name}/{container['name']} in {namespace}"
            logs = ("logs", f"--namespace={namespace}", name, f"--container={container['name']}")
            self._keep(f"log of {place}", kubectl, *logs)
            if container["restartCount"]:
                self._keep(f"log before the restart of {place}", kubectl, *logs, "--previous")
        if any(port.get("containerPort") == HEALTH_PORT for port in ports(pod)):
            path = f"/api/v1/namespaces/{namespace}/pods/{name}:{HEALTH_PORT}/proxy/metrics"
            self._keep(f"metrics of {name} in {namespace}", kubectl, "get", "--raw", path)

    def _keep(self, where: str, kubectl: Client, *command: str) -> None:
        """A container that has not started, or a pod that has just gone, says nothing."""
        try:
            self.texts[where] = kubectl(*command)
        except ClientError:
            self.texts.setdefault(where, "")

    def leaks(self) -> list[str]:
        """What stands where it must not."""
        return [
            f"{what} in the {where}"
            for canary, what in self.canaries.items()
            for where, text in self.texts.items()
            if any(form in text for form in forms(canary))
        ]


def spoken(found: dict[str, Any]) -> dict[str, Any]:
    """The part of an object that programs write: status and annotations, but not what its user wrote as its spec."""
    annotations = {
        key: value
        for key, value in found["metadata"].get("annotations", {}).items()
        if key != "kubectl.kubernetes.io/last-applied-configuration"
    }
    return {"status": found.get("status"), "annotations": annotations, "labels": found["metadata"].get("labels")}


def ports(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """The ports of all of its containers."""
    spec = pod["spec"]
    return [port for each in [*spec.get("initContainers", []), *spec["containers"]] for port in each.get("ports", [])]


def forms(canary: str) -> set[str]:
    """A canary as it is, as in JSON and in a URL, and the part of its base64 that does not depend on its neighbours."""
    data = canary.encode()
    encoded = {base64.b64encode(data[shift:])[4:-4].decode() for shift in range(3)}
    signature = {canary.rpartition(".")[2]} if canary.startswith("eyJ") else set()  # a token's
    return {canary, json.dumps(canary)[1:-1], urllib.parse.quote(canary, safe=""), *encoded, *signature}
