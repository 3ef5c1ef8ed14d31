"""How much later an app starts in a pod with a sidecar, on a real kubelet, and whether its first connection works."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import jsonpatch
import msgspec

from benchmarks.cores import ALL
from benchmarks.missing import NotMeasured
from benchmarks.rig import Rig
from o365mailer_contract import names
from o365mailer_operator.webhook.injection import inject
from o365mailer_operator.webhook.pod import Pod
from o365mailer_operator.webhook.settings import Settings
from o365mailer_operator.webhook.verdict import Patch

ROOT: Final = Path(__file__).parents[2]
NAMESPACE: Final = "default"
LATER: Final = "injected pod: app starts later by (s)"
REFUSED: Final = "injected pod: first connection refused"
EVERY: Final = 0.05
"""Seconds between two checks of a pod. The measured times do not depend on it."""
PATIENCE: Final = 120.0
"""Seconds within which a pod must run and be gone."""

APP: Final = """\
import time
started = time.time()
import _socket
app = _socket.socket()
refused = app.connect_ex(("127.0.0.1", 25))
open("/dev/termination-log", "w").write(f"[{started}, {refused}]")
"""
"""The app records when it starts and connects at once. All clocks are this machine's."""

Manifest = dict[str, Any]


def measure(rig: Rig) -> None:
    """Start pods with and without the relay alternately, so that both run under the same conditions.

    kubelet looks at its containers once a second, and a pod is gone at such a look. So the next one would always begin
    at the same moment between two looks; it waits, and all moments have their turn.
    """
    if not rig.size.starts:
        raise NotMeasured("a quick run starts no cluster")
    rig.results.conditions["injected-start"] = {"starts": rig.size.starts}
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, ALL)  # a node has all cores
    try:
        with _cluster() as (address, app_image, sidecar_image):
            for number in range(rig.size.starts):
                phase = number / rig.size.starts
                time.sleep(phase)
                bare, _ = _start(address, _pod(f"bare-{number}", app_image))
                time.sleep(phase)
                later, refused = _start(address, _injected(_pod(f"injected-{number}", app_image), sidecar_image))
                rig.results.add(LATER, "sidecar", later - bare)
                rig.results.add(REFUSED, "sidecar", refused)
    finally:
        os.sched_setaffinity(0, own)


@contextmanager
def _cluster() -> Iterator[tuple[str, str, str]]:
    """The address of an API server's proxy, and the images of app and sidecar on its node. Raises NotMeasured."""
    sys.path.insert(0, str(ROOT / "rig"))
    from cluster_rig import images
    from cluster_rig.errors import MachineLacksError
    from cluster_rig.node import NodeCluster

    try:
        app, archive = images.python_image()
        ((sidecar, built),) = images.build(tuple(i for i in images.IMAGES if i.folder == "sidecar")).items()
        with NodeCluster(name=f"bench-{os.getpid()}") as cluster:
            cluster.load(archive, built)
            cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
            with _proxy([str(cluster.kubectl.program), "proxy", "--port=0"], cluster.kubeconfig) as address:
                yield address, app, sidecar
    except MachineLacksError as error:
        raise NotMeasured(f"no node can run here: {error}") from None


@contextmanager
def _proxy(command: list[str], kubeconfig: Path) -> Iterator[str]:
    proxy = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "KUBECONFIG": str(kubeconfig)}
    )
    try:
        assert proxy.stdout
        yield proxy.stdout.readline().rpartition(" ")[2].strip()
    finally:
        proxy.terminate()
        proxy.wait()


def _pod(name: str, image: str) -> Manifest:
    """An app with resource requests, so that its sidecar gets the installation's default resources."""
    container = {
        "name": "app",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-I", "-S", "-c", APP],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }
    metadata = {"name": name, "annotations": {names.INJECT_ANNOTATION: "noreply"}}
    spec = {"restartPolicy": "Never", "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _injected(pod: Manifest, image: str) -> Manifest:
    """The pod after the webhook's patch. The mailer does not have to exist: the relay listens anyway."""
    answer = inject(msgspec.convert(pod, Pod), namespace=NAMESPACE, settings=Settings(image=image))
    assert isinstance(answer, Patch)
    patched: Manifest = jsonpatch.apply_patch(pod, list(answer.operations))
    return patched


def _start(address: str, pod: Manifest) -> tuple[float, bool]:
    """Seconds from the pod's creation to the start of its app, and whether that was refused on port 25."""
    began = time.time()
    _request(address, "POST", "", pod)
    name = f"/{pod['metadata']['name']}"
    message = _wait_for(lambda: _said(_request(address, "GET", name)), f"pod {name} has not run")
    _request(address, "DELETE", name)
    _wait_for(lambda: _request(address, "GET", name) is None, f"pod {name} is not gone")
    started, refused = json.loads(message)
    return started - began, bool(refused)


def _said(pod: Manifest | None) -> str:
    """The termination message of the pod's app."""
    statuses = (pod or {}).get("status", {}).get("containerStatuses") or [{}]
    return str(statuses[0].get("state", {}).get("terminated", {}).get("message", ""))


def _wait_for(look: Any, otherwise: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, otherwise
        time.sleep(EVERY)
    return found


def _request(address: str, method: str, name: str, document: Manifest | None = None) -> Manifest | None:
    """One request about the pods of the namespace; None for 404."""
    body = None if document is None else json.dumps(document).encode()
    url = f"http://{address}/api/v1/namespaces/{NAMESPACE}/pods{name}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)  # ours
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            found: Manifest = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
