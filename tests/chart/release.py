"""The chart as the tests name it, and how its objects are found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent.parent
CHART: Final = ROOT / "charts" / "o365mailer"
RELEASE: Final = "o365mailer"
NAMESPACE: Final = "o365mailer-system"
HELM_TEST: Final = "o365mailer-helm-test"
"""The Job of `helm test`, and the namespace that it makes for it."""
OLDEST: Final = "1.32.0"
"""Of Kubernetes: the chart refuses an older one."""

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
"""`render("webhook.replicas=3")` → the objects of the chart with these values."""

VALUES: Final = {
    "the defaults": (),
    "watched namespaces": ("watchNamespaces={team-a,team-b}",),
    "granted Secrets": ("rbac.secrets=granted",),
    "workload identities": (
        "workloadIdentity.serviceAccounts[0].namespace=team-a",
        "workloadIdentity.serviceAccounts[0].name=one",
        "workloadIdentity.serviceAccounts[1].namespace=team-a",
        "workloadIdentity.serviceAccounts[1].name=two",
    ),
    "one replica, Ignore": ("webhook.replicas=1", "webhook.failurePolicy=Ignore", "webhook.port=8443"),
    "no CRDs and no aggregation": ("crds.enabled=false", "rbac.aggregate=false"),
    "everything placed": (
        "controller.replicas=2",
        "controller.leaseDuration=1m",
        "controller.reconcileInterval=2m",
        "controller.canary=false",
        "controller.httpsProxy=http://proxy.example:3128",
        "controller.httpsProxySecret=proxy",
        "controller.podSpec.nodeSelector.disk=ssd",
        "controller.podSpec.volumes[0].name=company-ca",
        "controller.podSpec.volumes[0].configMap.name=company-ca",
        "controller.container.volumeMounts[0].name=company-ca",
        "controller.container.volumeMounts[0].mountPath=/etc/company-ca",
        "controller.container.env[0].name=EXAMPLE",
        "controller.container.livenessProbe.periodSeconds=30",
        "controller.serviceAccount.annotations.note=here",
        "webhook.podSpec.tolerations[0].key=infra",
        "webhook.podSpec.tolerations[0].operator=Exists",
        "webhook.podSpec.priorityClassName=system-cluster-critical",
        "webhook.podSpec.topologySpreadConstraints=null",
        "webhook.podLabels.team=mail",
        "webhook.podAnnotations.note=here",
        "imagePullSecrets[0].name=registry",
        "sidecar.imagePullSecrets={registry}",
        "sidecar.spool=ephemeral",
        "allowedHosts.authority={emulator.example:8443}",
        "allowedHosts.submission={smtp.example:2525}",
        "image.registry=registry.example/mail",
        "sidecar.image.digest=sha256:" + "0123456789abcdef" * 4,
        "openshift=true",
        "test.mailer=team-a/noreply",
        "test.sender=noreply@contoso.example",
    ),
    "a company's": (
        "global.imageRegistry=mirror.example",
        "global.imagePullSecrets={registry}",
        "enabled=true",
        "commonLabels.cost-centre=mail",
        "crds.keep=false",
        "webhook.configurationAnnotations.note=here",
        "webhook.namespaceSelector.matchLabels.mail=allowed",
        "webhook.namespaceSelector.matchExpressions[0].key=team",
        "webhook.namespaceSelector.matchExpressions[0].operator=Exists",
        "webhook.service.annotations.note=here",
        "webhook.service.ipFamilyPolicy=SingleStack",
        "webhook.service.ipFamilies={IPv4}",
        "networkPolicy.enabled=true",
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.monitoring=yes",
        "networkPolicy.controllerEgress[0].ports[0].port=16443",
        "allowedHosts.authority={emulator.example:8443}",
        "extraObjects[0].apiVersion=v1",
        "extraObjects[0].kind=ConfigMap",
        "extraObjects[0].metadata.name=extra",
        r"extraObjects[0].data.namespace=\{{ .Release.Namespace }}",
    ),
    "on the host's network": (
        "webhook.podSpec.hostNetwork=true",
        "webhook.port=9443",
        "webhook.healthPort=9026",
        "controller.podSpec.hostNetwork=true",
    ),
}
"""Sets of values that between them reach every branch of the templates."""


def of_kind(objects: list[Manifest], kind: str, role: str = "") -> list[Manifest]:
    """The objects of a kind, or those of them that belong to a role by name."""
    return [found for found in objects if found["kind"] == kind and found["metadata"]["name"].endswith(role)]


def pod_of(objects: list[Manifest], role: str) -> Manifest:
    """The pod template's spec of a role's Deployment."""
    (deployment,) = of_kind(objects, "Deployment", role)
    spec = deployment["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def environment_of(objects: list[Manifest], role: str) -> dict[str, str]:
    """The environment of a role's container, by name."""
    (container,) = pod_of(objects, role)["containers"]
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}
