"""Wrong values are refused before anything is installed, and the message names the value."""

import pytest
from chart.release import CHART, OLDEST, RELEASE, VALUES
from cluster_rig.clients import Client

WRONG = {
    "webhok.replicas=3": "'webhok' not allowed",
    "webhook.replica=3": "'replica' not allowed",
    "webhook.replicas=many": "/webhook/replicas",
    "webhook.failurePolicy=fail": "/webhook/failurePolicy",
    "webhook.timeoutSeconds=31": "/webhook/timeoutSeconds",
    "webhook.port=443": "/webhook/port",
    "webhook.resources.limit.cpu=1": "/webhook/resources",
    "controller.resources.limits.memory=lots": "/controller/resources/limits/memory",
    "controller.affinity.nodeaffinity.x=y": "/controller/affinity",
    "controller.leaseDuration=4s": "/controller/leaseDuration",
    "controller.leaseDuration=15": "/controller/leaseDuration",
    "controller.reconcileInterval=1s": "/controller/reconcileInterval",
    "controller.httpsProxy=proxy:3128": "/controller/httpsProxy",
    "controller.httpsProxy=http://user:word@proxy:3128": "controller.httpsProxySecret",
    "controller.httpsProxySecret=Not A Name": "/controller/httpsProxySecret",
    "controller.podLabels.number=1": "/controller/podLabels/number",
    "image.tag=a b": "/image/tag",
    "image.digest=sha256:1234": "/image/digest",
    "image.pullPolicy=Sometimes": "/image/pullPolicy",
    "sidecar.image.name=x": "/sidecar/image",
    "sidecar.spool=outbox": "/sidecar/spool",
    "sidecar.logLevel=loud": "/sidecar/logLevel",
    "sidecar.imagePullSecrets[0].name=registry": "/sidecar/imagePullSecrets/0",
    "imagePullSecrets={registry}": "/imagePullSecrets/0",
    "allowedHosts={https://login.example}": "/allowedHosts/0",
    "allowedHosts={*.example}": "/allowedHosts/0",
    "watchNamespaces={team.a}": "/watchNamespaces/0",
    "logLevel=INFO": "/logLevel",
    "crds.enabled=yes": "/crds/enabled",
    "openshift=auto": "/openshift",
}


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_value_is_refused_by_name(helm: Client, value: str) -> None:
    refused = helm.process("template", RELEASE, CHART, "--kube-version", OLDEST, "--set", value)
    assert refused.returncode != 0
    assert WRONG[value] in refused.stderr


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_right_values_pass(helm: Client, values: tuple[str, ...]) -> None:
    sets = [part for value in values for part in ("--set", value)]
    assert helm.process("template", RELEASE, CHART, "--kube-version", OLDEST, *sets).returncode == 0
