"""What a real API server makes of the injection."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from support.waiting import eventually
from webhook.examples import Manifest, app, pod, sidecar
from webhook.installation import Installation
from webhook.test_denials import CASES

from o365mailer_contract import names
from o365mailer_operator.webhook.verdict import Reason

TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TROUBLESHOOTING = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
RESTRICTED_APP = app(
    securityContext={
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
)


def created(installation: Installation, namespace: str, manifest: Manifest) -> Manifest:
    """The pod as the API server would store it."""
    answer = installation.api.create_pod(namespace, manifest)
    assert answer.status == 201, answer.message
    return answer.document


def has_account(installation: Installation, namespace: str) -> bool:
    """Whether pods can be created in the namespace."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    return installation.api.request("GET", path).status == 200


def token_mounts(container: Manifest) -> list[str]:
    return [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == TOKEN_MOUNT]


@pytest.mark.promise("sidecar-starts-first")
def test_an_annotated_pod_is_created_with_the_sidecar_first(installation: Installation, namespace: str) -> None:
    result = created(installation, namespace, pod(spec={"initContainers": [{"name": "migrate", "image": "app"}]}))
    assert [each["name"] for each in result["spec"]["initContainers"]] == ["o365mailer", "migrate"]
    assert result["metadata"]["labels"] == {"o365mailer.dev/mailer": "noreply"}
    assert result["spec"]["securityContext"]["sysctls"] == [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
    ]


def test_an_unannotated_pod_is_created_as_it_is(installation: Installation, namespace: str) -> None:
    result = created(installation, namespace, {"metadata": {"name": "web"}, "spec": app()})
    assert "initContainers" not in result["spec"]


@pytest.mark.promise("other-pods-never-call")
def test_pods_of_the_system_are_never_asked_about(installation: Installation, namespace: str) -> None:
    """Their namespaces are left out by name, so that a cluster can always start."""
    for excluded in ("kube-system", "kube-public", "kube-node-lease"):
        eventually(functools.partial(has_account, installation, excluded), "the default ServiceAccount")
        assert "initContainers" not in created(installation, excluded, pod())["spec"]
    assert "initContainers" in created(installation, namespace, pod())["spec"]


@pytest.mark.promise("other-pods-never-call")
def test_the_mirror_of_a_static_pod_is_never_asked_about(installation: Installation, namespace: str) -> None:
    before = installation.api.webhook_requests()
    result = created(installation, namespace, pod({"kubernetes.io/config.mirror": "x"}, spec={"nodeName": "node"}))
    assert "initContainers" not in result["spec"]
    assert installation.api.webhook_requests() == before


@pytest.mark.promise("token-only-in-the-sidecar")
def test_the_service_account_plugin_mounts_its_token_into_the_app_only(
    installation: Installation, namespace: str
) -> None:
    result = created(installation, namespace, pod())
    (token,) = token_mounts(result["spec"]["containers"][0])
    assert token.startswith("kube-api-access-")
    assert token_mounts(sidecar(result)) == ["o365mailer-no-api-access"]


@pytest.mark.promise("pod-security-restricted")
def test_a_restricted_namespace_takes_the_injected_pod(installation: Installation) -> None:
    namespace = installation.new_namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    assert sidecar(created(installation, namespace, pod(spec=RESTRICTED_APP)))
    refused = installation.api.create_pod(namespace, pod(spec=app()))
    assert refused.status == 403
    assert 'container "app" must set' in refused.message
    assert "o365mailer" not in refused.message


@pytest.mark.promise("pod-security-restricted")
def test_the_api_server_takes_a_profile_for_the_app_and_another_for_the_sidecar(installation: Installation) -> None:
    namespace = installation.new_namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    profile = {"type": "Localhost", "localhostProfile": "deny-write"}
    result = created(
        installation, namespace, pod(spec={**RESTRICTED_APP, "securityContext": {"appArmorProfile": profile}})
    )
    assert sidecar(result)["securityContext"]["appArmorProfile"] == {"type": "RuntimeDefault"}
    assert result["spec"]["securityContext"]["appArmorProfile"] == profile


def test_a_pod_that_runs_as_root_gets_a_sidecar_that_does_not(installation: Installation, namespace: str) -> None:
    security = {"runAsUser": 0, "runAsGroup": 0, "fsGroup": 2000}
    result = created(installation, namespace, pod(spec={"securityContext": security}))
    assert sidecar(result)["securityContext"]["runAsUser"] == 36525
    stored = result["spec"]["securityContext"]
    assert {key: stored[key] for key in security} == security


@pytest.mark.promise("qos-unchanged")
@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
    ],
)
def test_the_api_server_gives_the_qos_class_that_it_gave_before(
    installation: Installation, namespace: str, resources: Manifest, qos: str
) -> None:
    plain = created(installation, namespace, {"metadata": {"name": "web"}, "spec": app(resources=resources)})
    result = created(installation, namespace, pod(spec=app(resources=resources)))
    assert plain["status"]["qosClass"] == result["status"]["qosClass"] == qos


def test_a_quota_on_limits_takes_the_injected_pod(installation: Installation, namespace: str) -> None:
    hard = {"limits.cpu": "4", "limits.memory": "4Gi", "requests.cpu": "4", "requests.memory": "4Gi"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": {"hard": hard}}
    installation.plane.kubectl.apply(quota, namespace=namespace)
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/all"
    eventually(lambda: installation.api.request("GET", path).document["status"].get("hard"), "the quota is counted")
    resources = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
    assert sidecar(created(installation, namespace, pod(spec=app(resources=resources))))
    control = installation.api.create_pod(namespace, {"metadata": {"name": "web"}, "spec": app()})
    assert "must specify limits.cpu for: app" in control.message


def limit_range(**limits: Any) -> Manifest:
    """A LimitRange for containers."""
    spec = {"limits": [{"type": "Container", **limits}]}
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "all"}, "spec": spec}


PLAIN = {"metadata": {"name": "web"}, "spec": app()}
DEFAULTS = {"default": {"cpu": "500m", "memory": "512Mi"}, "defaultRequest": {"cpu": "100m", "memory": "128Mi"}}


@pytest.mark.promise("qos-unchanged")
@pytest.mark.parametrize(
    ("limits", "requested", "qos"),
    [
        ({"min": {"cpu": "50m", "memory": "64Mi"}}, {"cpu": "50m", "memory": "64Mi"}, "Burstable"),
        (DEFAULTS, DEFAULTS["defaultRequest"], "Burstable"),
        ({**DEFAULTS, "maxLimitRequestRatio": {"cpu": "5"}}, DEFAULTS["defaultRequest"], "Burstable"),
        ({"min": {"cpu": "50m"}}, {"cpu": "50m", "memory": "64Mi"}, "Burstable"),
        ({"default": {"cpu": "1", "memory": "1Gi"}}, {"cpu": "250m", "memory": "256Mi"}, "Guaranteed"),
    ],
    ids=["minimum", "defaults", "ratio", "minimum of cpu alone", "defaults that make it Guaranteed"],
)
def test_a_limit_range_gives_the_sidecar_what_it_gives_the_app(
    installation: Installation, namespace: str, limits: Manifest, requested: Manifest, qos: str
) -> None:
    installation.plane.kubectl.apply(limit_range(**limits), namespace=namespace)
    plain = eventually(
        lambda: (found := created(installation, namespace, PLAIN))["spec"]["containers"][0]["resources"] and found,
        "the LimitRange is known",
    )
    result = created(installation, namespace, pod())
    assert sidecar(result)["resources"]["requests"] == requested
    assert result["spec"]["containers"][0]["resources"] == plain["spec"]["containers"][0]["resources"]
    assert plain["status"]["qosClass"] == result["status"]["qosClass"] == qos


@pytest.mark.promise("qos-unchanged")
@pytest.mark.parametrize(
    ("limits", "words", "annotations"),
    [
        (
            {"min": {"cpu": "50m"}},
            "minimum cpu usage per Container is 50m, but request is 10m",
            {f"{names.GROUP}/cpu-request": "50m"},
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "10"}},
            "cpu max limit to request ratio per Container is 10, but provided ratio is 25.000000",
            {f"{names.GROUP}/cpu-request": "25m"},
        ),
        (
            {"max": {"memory": "128Mi"}},
            "maximum memory usage per Container is 128Mi, but limit is 256Mi",
            {f"{names.GROUP}/memory-limit": "128Mi"},
        ),
    ],
    ids=["minimum", "ratio", "maximum"],
)
def test_the_troubleshooting_page_has_the_words_of_a_limit_range_that_refuses_the_sidecar_and_what_helps(
    installation: Installation, namespace: str, limits: Manifest, words: str, annotations: dict[str, str]
) -> None:
    """The app has resources of its own, so the LimitRange gives it none, and the webhook cannot know of it."""
    installation.plane.kubectl.apply(limit_range(**limits), namespace=namespace)
    own = app(resources={"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "128Mi"}})

    def refusal() -> str | None:
        answer = installation.api.create_pod(namespace, pod(spec=own))
        return answer.message if answer.status == 403 else None

    assert words in eventually(refusal, "the LimitRange is known")
    assert created(installation, namespace, {"metadata": {"name": "web"}, "spec": own})
    assert sidecar(created(installation, namespace, pod(annotations, spec=own)))
    page = TROUBLESHOOTING.read_text(encoding="utf-8")
    assert words in page
    assert all(annotation in page for annotation in annotations)


@pytest.mark.since("1.34")  # pod-level resources are on by default
@pytest.mark.promise("qos-unchanged")
def test_pod_level_resources_must_cover_what_a_limit_range_gives_the_sidecar(
    installation: Installation, namespace: str
) -> None:
    installation.plane.kubectl.apply(limit_range(min={"memory": "64Mi"}), namespace=namespace)
    own = app(resources={"requests": {"memory": "150Mi"}})
    spec = {**own, "resources": {"requests": {"memory": "200Mi"}}}
    words = "must be greater than or equal to aggregate container requests of 214Mi"

    def refusal() -> str | None:
        answer = installation.api.create_pod(namespace, pod(spec=spec))
        return answer.message if answer.status == 422 else None

    assert words in eventually(refusal, "the LimitRange is known")
    assert created(installation, namespace, {"metadata": {"name": "web"}, "spec": spec})
    larger = {**own, "resources": {"requests": {"memory": "214Mi"}}}
    assert sidecar(created(installation, namespace, pod(spec=larger)))
    assert words in TROUBLESHOOTING.read_text(encoding="utf-8")


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize(
    ("spool", "source", "grace"),
    [
        ("ephemeral", {"emptyDir": {}}, 60),
        ("outbox", {"persistentVolumeClaim": {"claimName": "outbox"}}, 30),
    ],
)
def test_a_restricted_namespace_takes_a_pod_with_a_spool(
    installation: Installation, spool: str, source: Manifest, grace: int
) -> None:
    namespace = installation.new_namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    result = created(installation, namespace, pod({names.SPOOL_ANNOTATION: spool}, spec=RESTRICTED_APP))
    assert {"name": "o365mailer-spool", **source} in result["spec"]["volumes"]
    assert {"name": "o365mailer-spool", "mountPath": "/var/spool/o365mailer"} in sidecar(result)["volumeMounts"]
    assert all("o365mailer" not in mount["name"] for mount in result["spec"]["containers"][0]["volumeMounts"])
    assert result["spec"]["terminationGracePeriodSeconds"] == grace


@pytest.mark.parametrize("annotations", [{}, {names.SPOOL_ANNOTATION: "ephemeral"}, {names.SPOOL_ANNOTATION: "outbox"}])
def test_a_manifest_copied_from_an_injected_pod_is_created_unchanged(
    installation: Installation, namespace: str, annotations: dict[str, str]
) -> None:
    first = created(installation, namespace, pod(annotations))
    copied = {"metadata": {**pod()["metadata"], "annotations": first["metadata"]["annotations"]}, "spec": first["spec"]}
    second = created(installation, namespace, copied)
    assert second["spec"] == first["spec"]
    assert second["metadata"]["annotations"] == first["metadata"]["annotations"]


def test_a_pod_that_a_deployment_makes_is_injected_in_the_requests_namespace(
    installation: Installation, namespace: str
) -> None:
    template = {"metadata": {"labels": {"app": "web"}, **_annotated("noreply")}, "spec": app()}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    installation.plane.kubectl.apply(deployment, namespace=namespace)
    pods = eventually(
        lambda: installation.plane.kubectl.json("get", "pods", "-n", namespace, "-l", f"{names.MAILER_LABEL}=noreply")[
            "items"
        ],
        "the ReplicaSet's pod",
    )
    assert sidecar(pods[0])["restartPolicy"] == "Always"
    (logged,) = [line for line in installation.webhook.logged("patched") if line["namespace"] == namespace]
    assert logged["object"].startswith("web-")


def _annotated(mailer: str) -> Manifest:
    return {"annotations": {names.INJECT_ANNOTATION: mailer}}


@pytest.mark.promise("broken-annotation-explained")
@pytest.mark.parametrize(("reason", "manifest", "message"), CASES, ids=[case[0] for case in CASES])
def test_kubectl_shows_the_denial(
    installation: Installation, namespace: str, reason: Reason, manifest: Manifest, message: str
) -> None:
    document = json.dumps({"apiVersion": "v1", "kind": "Pod", **manifest})
    done = installation.plane.kubectl.process(
        "create", "--namespace", namespace, "--dry-run=server", "--validate=false", "--filename", "-", stdin=document
    )
    assert done.returncode == 1
    expected = message.replace("namespace shop", f"namespace {namespace}")
    assert f'admission webhook "pods.admission.o365mailer.dev" denied the request: {expected} ({reason})' in done.stderr


def test_kubectl_shows_that_a_claim_may_not_be_writable(installation: Installation, namespace: str) -> None:
    document = json.dumps({"apiVersion": "v1", "kind": "Pod", **pod({names.SPOOL_ANNOTATION: "outbox"})})
    done = installation.plane.kubectl.process(
        "create", "--namespace", namespace, "--dry-run=server", "--filename", "-", stdin=document
    )
    assert done.returncode == 0
    assert (
        "Warning: o365mailer: the pod has no fsGroup, so the volume of claim outbox must let uid 36525" in done.stderr
    )
    assert "or another group, unless it does\n" in done.stderr


def test_kubectl_shows_that_587_was_left_out(installation: Installation, namespace: str) -> None:
    manifest = pod(spec=app(ports=[{"containerPort": 587}]))
    document = json.dumps({"apiVersion": "v1", "kind": "Pod", **manifest})
    done = installation.plane.kubectl.process(
        "create", "--namespace", namespace, "--dry-run=server", "--filename", "-", stdin=document
    )
    assert done.returncode == 0
    assert "Warning: o365mailer: port 587 is left to container app" in done.stderr
