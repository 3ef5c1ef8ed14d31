"""The product as the chart installs it, on an API server of the rig that has no node.

The chart's objects are applied. What its Deployments would run is run here, with the command and the environment that
they say; only the address of the API server and the ports are of this machine.
"""

import importlib.metadata
import json
import os
import re
import sys
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "rig"), str(ROOT / "tests")]

from chart.release import NAMESPACE, Manifest, of_kind, pod_of  # noqa: E402  # the path comes first
from support.process import Process  # noqa: E402
from support.rendered_chart import ACCOUNT, build_helm, helm_client, rendered  # noqa: E402

from benchmarks.audit import AuditedControlPlane  # noqa: E402
from benchmarks.peers import memory, processor_seconds  # noqa: E402

USER: Final = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
"""The controller, as the API server knows it."""
RUN: Final = ("Deployment", "Job", "Pod")
"""Kinds of the chart that are not applied, because nothing runs them here."""


class Replica(Process):
    """One process of the product, and what the system counts for it."""

    def processor_seconds(self) -> float:
        """User and system time so far."""
        return processor_seconds(self.process.pid)

    def memory(self, what: str) -> float:
        """MiB of `VmRSS` (now) or `VmHWM` (the most so far)."""
        return memory(self.process.pid, what)

    def lives(self) -> bool:
        """What the kubelet's liveness probe finds: an answer within a second."""
        address = self.wait_for("listening")["health"][0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{address}/livez", timeout=1) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False

    def logged(self, message: str) -> dict[str, Any] | None:
        """The first log line with this message."""
        return next((line for line in self.log if line["message"] == message), None)

    def wait_for(self, message: str) -> dict[str, Any]:
        """The first log line with this message, waited for."""
        return self.hear(lambda: self.logged(message), message)


def packages_of_the_image(folder: Path) -> Path:
    """A folder with links to the packages that the operator's image has, and to no others."""
    folder.mkdir()
    for name in re.findall(r"^([\w.-]+)==", (ROOT / "locks" / "operator.txt").read_text(), re.MULTILINE):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            (folder / top).symlink_to(str(distribution.locate_file(top)))
    return folder


class Installation:
    """The chart with these values on a control plane that runs."""

    def __init__(self, plane: AuditedControlPlane, *values: str) -> None:
        self.plane = plane
        build_helm()
        helm = helm_client(plane.directory / "helm", plane.directory / "none")
        self.objects = rendered(helm, *values)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        self.apply(namespace, *of_kind(self.objects, "CustomResourceDefinition"))
        plane.kubectl("wait", "--for=condition=Established", "crd/o365mailers.o365mailer.dev")
        # Established comes before the watch cache, without which a list from it is 429; kubectl tries that again.
        plane.kubectl("get", "--raw", "/apis/o365mailer.dev/v1alpha1/o365mailers?resourceVersion=0")
        self.apply(*(each for each in self.objects if each["kind"] not in RUN))
        self.kubeconfig = self._login()
        self.packages = packages_of_the_image(plane.directory / "packages")

    def apply(self, *objects: Manifest) -> None:
        """Apply objects on the server: the CRD is too large for a client's annotation."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listed))

    def controller(self, pod: str) -> Replica:
        """Start a replica of the controller, in a pod of this name."""
        return self._start("controller", pod, {"KUBECONFIG": str(self.kubeconfig)})

    def webhook(self, pod: str, *, authority: Path) -> Replica:
        """Start a replica of the webhook. `authority`: where its Secret is mounted."""
        here = {"O365MAILER_WEBHOOK_LISTEN": "127.0.0.1:0", "O365MAILER_WEBHOOK_EXTRA_NAMES": "127.0.0.1"}
        return self._start("webhook", pod, {**here, "O365MAILER_WEBHOOK_CA_DIR": str(authority)})

    def _start(self, role: str, pod: str, environment: dict[str, str]) -> Replica:
        (container,) = pod_of(self.objects, role)["containers"]
        fields = {"metadata.name": pod, "metadata.namespace": NAMESPACE}
        said = {
            each["name"]: each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
            for each in container["env"]
        }
        program, *arguments = container["command"]
        paths = (self.packages, ROOT / "operator", ROOT / "contract")
        here = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "O365MAILER_HEALTH": "127.0.0.1:0"}
        # -S: no other packages than those, because kubernetes imports what it finds.
        command = [sys.executable, "-S", Path(sys.executable).with_name(program), *arguments]
        return Replica(command, environment={**said, **here, **environment})

    def _login(self) -> Path:
        """A kubeconfig of the controller's ServiceAccount."""
        document = json.loads(self.plane.kubeconfig.read_text())
        token = self.plane.kubectl("create", "token", ACCOUNT, "--namespace", NAMESPACE, "--duration=8h").strip()
        document["users"][0]["user"] = {"token": token}
        path = self.plane.directory / "controller.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
        return path
