"""The node runs pods as a cluster does, and `down` leaves the machine as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_rig import cache, images, traces
from cluster_rig.choice import Cluster
from cluster_rig.errors import StartError
from cluster_rig.node import NodeCluster, sweep
from support.completeness import lacking
from support.waiting import eventually

RIG = Path(__file__).parents[2] / "rig"
NAMESPACE = "rig-node"

pytestmark = pytest.mark.timeout(180)


def rig_of(cluster: Cluster) -> NodeCluster:
    """The cluster, where it is one of ours: a given one neither knows this machine's address nor leaves traces here."""
    if not isinstance(cluster, NodeCluster):
        lacking("the rig's own node", "unset O365MAILER_TEST_KUBECONFIG")
    return cluster


def server_pod(image: str) -> list[dict[str, Any]]:
    """A pod that serves a mounted Secret over HTTP, under `restricted` Pod Security, and a Service before it.

    The Service has another name than the pod: a pod finds its own name in its /etc/hosts and asks no DNS.
    """
    secure = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "server",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "-m", "http.server", "8080", "--directory", "/secret"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "securityContext": secure,
        "volumeMounts": [{"name": "secret", "mountPath": "/secret"}],
    }
    volume = {"name": "secret", "secret": {"secretName": "word", "defaultMode": 0o444}}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": [volume]}
    labels = {"app": "server"}
    metadata = {"name": "server", "namespace": NAMESPACE}
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    service = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": enforce}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {**metadata, "name": "word"}, "stringData": {"word": "old"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "labels": labels}, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": {**metadata, "name": "front"}, "spec": service},
    ]


@pytest.fixture(scope="module")
def pod(node_cluster: Cluster, python_image: str) -> Iterator[Callable[..., str]]:
    """Runs a Python program in the server's pod and returns what it printed."""
    kubectl = node_cluster.kubectl
    kubectl.apply(*server_pod(python_image)[:1])
    kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={NAMESPACE}", "--timeout=20s")
    kubectl.apply(*server_pod(python_image)[1:])
    kubectl("wait", "--for=condition=Ready", "pod/server", f"--namespace={NAMESPACE}", "--timeout=60s")
    enter = ("exec", f"--namespace={NAMESPACE}", "server", "--", "python3", "-c")
    served = ("import urllib.request as u; u.urlopen('http://front/word')",)
    # A pod is Ready a moment before kube-proxy has its address.
    eventually(lambda: kubectl.process(*enter, *served).returncode == 0, within=20)
    yield lambda program: kubectl(*enter, program)
    kubectl("delete", "namespace", NAMESPACE, timeout=90)


@pytest.mark.parametrize("name", ["front", f"front.{NAMESPACE}.svc", f"front.{NAMESPACE}.svc.cluster.local"])
def test_a_pod_resolves_a_service_and_reaches_its_address(
    name: str, pod: Callable[..., str], node_cluster: Cluster
) -> None:
    address = node_cluster.kubectl.json("get", "service", "front", f"--namespace={NAMESPACE}")["spec"]["clusterIP"]
    program = f"import socket, urllib.request as u; print(socket.gethostbyname({name!r}), u.urlopen('http://{name}/word').status)"
    assert pod(program).split() == [address, "200"]


def test_the_dns_server_says_that_a_name_does_not_exist(pod: Callable[..., str]) -> None:
    """Instead of leaving the question unanswered, which is EAI_AGAIN after some seconds."""
    program = (
        "import socket\n"
        "try: socket.getaddrinfo('missing.example.com', 25)\n"
        "except socket.gaierror as error: print(error.errno == socket.EAI_NONAME)"
    )
    assert pod(program).strip() == "True"


def test_kubectl_logs_shows_what_the_container_wrote(pod: Callable[..., str], node_cluster: Cluster) -> None:
    pod("import urllib.request as u; u.urlopen('http://127.0.0.1:8080/word?asked-for-the-log')")
    logs = node_cluster.kubectl("logs", "server", f"--namespace={NAMESPACE}")
    assert "asked-for-the-log" in logs


def test_kubectl_port_forward_reaches_the_pod(pod: Callable[..., str], node_cluster: Cluster) -> None:
    kubectl = node_cluster.kubectl
    command = [str(kubectl.program), "port-forward", f"--namespace={NAMESPACE}", "pod/server", ":8080"]
    environ = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout
        line = forward.stdout.readline()  # Forwarding from 127.0.0.1:PORT -> 8080
        address = line.split()[2]
        fetched = subprocess.run(
            [sys.executable, "-c", FETCH, f"http://{address}/word"], capture_output=True, text=True
        )
        forward.terminate()
    assert fetched.stdout.strip() in {"old", "new"}


FETCH = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"


def test_a_changed_secret_is_visible_in_the_pod_within_seconds(pod: Callable[..., str], node_cluster: Cluster) -> None:
    read = "print(open('/secret/word').read())"
    assert pod(read).strip() == "old"
    change = json.dumps({"stringData": {"word": "new"}})
    node_cluster.kubectl("patch", "secret", "word", f"--namespace={NAMESPACE}", "--patch", change)
    eventually(lambda: pod(read).strip() == "new", within=20)


def test_a_pod_reaches_a_server_of_the_test_on_this_machine(pod: Callable[..., str], node_cluster: Cluster) -> None:
    address = rig_of(node_cluster).host_address
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=RIG) as server:
        assert server.stdout
        port = server.stdout.readline().split()[5]  # Serving HTTP on ADDRESS port PORT (…
        program = f"import urllib.request as u; print(u.urlopen('http://{address}:{port}/').status)"
        answer = pod(program)
        server.terminate()
    assert answer.strip() == "200"


PLACES = ("/run", "/run/netns", "/var/lib", "/var/lib/cni", "/var/lib/kubelet", "/var/log", "/var/log/pods", "/etc/cni")
SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
MOUNTS = ("/clusters/", "/netns", "kubelet", "containerd")


def of_other_clusters(mine: str) -> set[str]:
    """The names of links and cgroups of the machine's other clusters. They may come and go during a test."""
    states = [path for path in (cache.directory() / "clusters").glob("*/state.json") if path.parent.name != mine]
    return {json.loads(path.read_text())["link"] for path in states}


def seen_on_the_machine(mine: str) -> dict[str, list[str]]:
    """What a kubelet, containerd and a container network leave behind when they are not cleaned up."""
    found = {place: sorted(entry.name for entry in Path(place).glob("*")) for place in PLACES}
    shown = subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True).stdout
    others = of_other_clusters(mine)
    found["links"] = sorted({link["ifname"] for link in json.loads(shown)} - others)
    cgroups = [path for root in traces.hierarchies() for name in ("o365m-*", "kubepods*") for path in root.glob(name)]
    found["cgroups"] = sorted(str(path) for path in cgroups if path.name not in others)
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found["mounts"] = sorted(line for line in mounts if any(word in line for word in MOUNTS))
    found["settings"] = [Path("/proc/sys", name).read_text().strip() for name in SETTINGS]
    return found


@pytest.fixture
def another_cluster(node_cluster: Cluster, python_image: str) -> Iterator[NodeCluster]:
    """A second cluster of our own in addition to the session's, with a pod in it that holds every kind of trace."""
    cluster = NodeCluster(name=f"{rig_of(node_cluster).name}-b")
    yield cluster
    cluster.down()


def run_a_pod(cluster: NodeCluster, image: str) -> None:
    """Start a pod and wait until it runs."""
    cluster.load(images.python_image()[1])
    documents = server_pod(image)
    cluster.kubectl.apply(documents[0])
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={NAMESPACE}", "--timeout=20s")
    cluster.kubectl.apply(*documents[1:])
    cluster.kubectl("wait", "--for=condition=Ready", "pod/server", f"--namespace={NAMESPACE}", "--timeout=60s")


def test_down_leaves_no_trace(another_cluster: NodeCluster, python_image: str) -> None:
    before = seen_on_the_machine(another_cluster.name)
    another_cluster.up()
    run_a_pod(another_cluster, python_image)
    during = seen_on_the_machine(another_cluster.name)
    assert during["links"] != before["links"]  # the comparison sees something
    assert during["cgroups"] != before["cgroups"]
    another_cluster.down()
    assert seen_on_the_machine(another_cluster.name) == before
    assert not another_cluster.directory.exists()


def test_a_cluster_whose_starter_was_killed_is_gone_and_swept(another_cluster: NodeCluster, python_image: str) -> None:
    before = seen_on_the_machine(another_cluster.name)
    program = (
        "import sys, signal; from cluster_rig.node import NodeCluster\n"
        "with NodeCluster(name=sys.argv[1]): print('up', flush=True); signal.pause()"
    )
    environ = {**os.environ, "PYTHONPATH": str(RIG)}
    command = [sys.executable, "-c", program, another_cluster.name]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        assert starter.stdout.readline() == "up\n"
        assert another_cluster.is_running()
        starter.send_signal(signal.SIGKILL)
    eventually(lambda: not another_cluster.is_running(), within=20)
    sweep()
    assert seen_on_the_machine(another_cluster.name) == before


def test_using_a_cluster_that_is_not_up_says_how_to_bring_one_up(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no cluster missing is running: `make cluster` brings one up"):
        NodeCluster(name="missing").load(tmp_path / "image.tar")
