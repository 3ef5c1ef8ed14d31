"""Pods that are unusual and valid, or that the API server itself refuses: on a real one."""

import pytest
from webhook.examples import Manifest, app, pod, sidecar
from webhook.installation import Installation

from o365mailer_contract import names

PORT_START = "net.ipv4.ip_unprivileged_port_start"
SLASHES = PORT_START.replace(".", "/")


def sysctl(name: str, value: str) -> Manifest:
    """Parts of a spec: one sysctl."""
    return {"securityContext": {"sysctls": [{"name": name, "value": value}]}}


NATIVE = {"name": "proxy", "image": "proxy", "restartPolicy": "Always", "ports": [{"containerPort": 15000}]}
HUGE = [{"name": f"V{number}", "value": "x" * 1000} for number in range(900)]
ODD: dict[str, Manifest] = {
    "empty arrays": pod(spec={"initContainers": [], "volumes": [], "imagePullSecrets": [], "securityContext": {}}),
    "null arrays": pod(spec={"initContainers": None, "volumes": None, "securityContext": None, "nodeSelector": None}),
    "null parts of a container": pod(spec=app(ports=None, resources=None, env=None, volumeMounts=None)),
    "no labels": pod(labels=None),
    "another native sidecar": pod(spec={"initContainers": [NATIVE, {"name": "migrate", "image": "app"}]}),
    "two containers with ports by name": pod(
        spec={
            "containers": [
                {"name": "web", "image": "app", "ports": [{"name": "smtp", "containerPort": 8080, "hostPort": 8080}]},
                {"name": "dns", "image": "app", "ports": [{"name": "smtp", "containerPort": 25, "protocol": "UDP"}]},
            ]
        }
    ),
    "probes of its own on the health port": pod(
        spec=app(readinessProbe={"httpGet": {"port": "http"}}, ports=[{"name": "http", "containerPort": 80}])
    ),
    "another sysctl": pod(spec=sysctl("net.core.somaxconn", "1024")),
    "the sysctl with slashes": pod(spec=sysctl(SLASHES, "0")),
    "odd quantities": pod(spec=app(resources={"limits": {"cpu": 0.5, "memory": "1e9"}, "requests": {"cpu": "500m"}})),
    "a shared process namespace": pod(spec={"shareProcessNamespace": True, "enableServiceLinks": False}),
    "a very large pod": pod(spec=app(env=HUGE)),
    "annotations in every script": pod({"example.com/a_b.c": "ä/~", "kubectl.kubernetes.io/x": "a\nb\t "}),
    "a grace period of nothing": pod(spec={"terminationGracePeriodSeconds": 0}),
    "a spool on a claim beside the app's own": pod(
        {names.SPOOL_ANNOTATION: "outbox"},
        spec={"volumes": [{"name": "own", "persistentVolumeClaim": {"claimName": "outbox"}}]},
    ),
    "a spool in a pod that ends": pod({names.SPOOL_ANNOTATION: "ephemeral"}, spec={"restartPolicy": "Never"}),
    "ports with spaces": pod({names.PORTS_ANNOTATION: " 2525 , 25 "}),
}  # fmt: skip


@pytest.mark.promise("patch-keeps-the-pod")
@pytest.mark.parametrize("manifest", ODD.values(), ids=ODD)
def test_an_odd_pod_is_injected_and_taken(installation: Installation, namespace: str, manifest: Manifest) -> None:
    answer = installation.api.create_pod(namespace, manifest)
    assert answer.status == 201, answer.message
    assert answer.document["spec"]["initContainers"][0] == sidecar(answer.document)
    before = [each["name"] for each in manifest["spec"].get("initContainers") or ()]
    assert [each["name"] for each in answer.document["spec"]["initContainers"]] == [names.CONTAINER, *before]


def test_a_sysctl_written_with_slashes_is_the_same_sysctl(installation: Installation, namespace: str) -> None:
    low = installation.api.create_pod(namespace, pod(spec=sysctl(SLASHES, "0")))
    assert low.document["spec"]["securityContext"]["sysctls"] == [{"name": SLASHES, "value": "0"}]
    high = installation.api.create_pod(namespace, pod(spec=sysctl(SLASHES, "1024")))
    assert f"the pod sets sysctl {PORT_START} to '1024', which forbids the sidecar port 25" in high.message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"containers": None}, "spec.containers: Required value"),
        (app(resources={"limits": {"memory": "-1"}}), "must be greater than or equal to 0"),
        ({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]}, 'Duplicate value: "a"'),
        ({"ephemeralContainers": [{"name": "x", "image": "x"}]}, "ephemeralContainers"),
    ],
)
def test_what_the_api_server_refuses_it_refuses_in_its_own_words(
    installation: Installation, namespace: str, spec: Manifest, words: str
) -> None:
    """The webhook is asked first; a pod that it cannot read would show its user an error of ours instead."""
    answer = installation.api.create_pod(namespace, pod(spec=spec))
    plain = installation.api.create_pod(namespace, {"metadata": {"name": "web"}, "spec": pod(spec=spec)["spec"]})
    assert "webhook" not in answer.message, answer.message
    assert answer.status == plain.status
    assert words in answer.message
    assert words in plain.message
