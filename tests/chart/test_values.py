"""Wrong values are refused before anything is installed, and the message names the value."""

import json
import re

import pytest
import yaml
from cluster_rig.clients import Client

from chart.release import CHART, OLDEST, RELEASE, VALUES, environment_of, of_kind

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

WRONG = {
    "webhok.replicas=3": "'webhok' not allowed",
    "webhook.replica=3": "'replica' not allowed",
    "webhook.replicas=many": "/webhook/replicas",
    "webhook.failurePolicy=fail": "/webhook/failurePolicy",
    "webhook.timeoutSeconds=31": "/webhook/timeoutSeconds",
    "webhook.port=443": "/webhook/port",
    "webhook.resources.limit.cpu=1": "/webhook/resources",
    "controller.resources.limits.memory=lots": "/controller/resources/limits/memory",
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
    "allowedHosts.authority={https://login.example}": "/allowedHosts/authority/0",
    "allowedHosts.submission={*.example}": "/allowedHosts/submission/0",
    "allowedHosts.host={login.example}": "/allowedHosts",
    # Which list a host belongs to is the user's decision.
    "allowedHosts={login.example}": "put hosts that give tokens into allowedHosts.authority (they get client secrets)",
    "watchNamespaces={team.a}": "/watchNamespaces/0",
    "rbac.secrets=some": "/rbac/secrets",
    "rbac.secrets=namespaces": "watchNamespaces names none: list the namespaces there",
    "rbac.secrets=cluster,watchNamespaces={team-a}": "leave watchNamespaces empty, or set rbac.secrets to namespaces",
    "rbac.secrets=granted,watchNamespaces={team-a}": "rbac.secrets is granted, which serves the mailers of all",
    "logLevel=INFO": "/logLevel",
    "crds.enabled=yes": "/crds/enabled",
    "openshift=maybe": "/openshift",
    "crds.keep=maybe": "/crds/keep",
    "commonLabels.team=a b": "/commonLabels/team",
    "global.imageRegistry=a b": "/global/imageRegistry",
    "controller.podSpec=x": "/controller/podSpec",
    "webhook.healthPort=80": "/webhook/healthPort",
    "webhook.service.ipFamilies={IPv5}": "/webhook/service/ipFamilies/0",
    "webhook.namespaceSelector.matchLabel.a=b": "/webhook/namespaceSelector",
    "networkPolicy.egress[0].ports[0].port=1": "/networkPolicy",
    # What the templates refuse, because a schema cannot say what to do instead.
    "controller.podSpec.containers[0].name=more": "an entry of controller.podSpec.initContainers",
    "webhook.podSpec.serviceAccountName=mine": "webhook.serviceAccount.annotations",
    "webhook.podSpec.automountServiceAccountToken=true": "leave it out",
    "webhook.container.image=mine": "set image.registry, image.repository, image.tag or image.digest",
    "webhook.container.ports[0].containerPort=1": "set webhook.port or webhook.healthPort",
    "controller.container.ports[0].containerPort=1": "set controller.healthPort",
    "controller.container.args={--health=x}": "controller.container.env",
    "controller.container.resources.limits.cpu=1": "set controller.resources",
    "webhook.container.env[0].name=O365MAILER_SIDECAR_IMAGE": "set sidecar.image",
    "controller.container.env[0].name=POD_NAMESPACE": "POD_NAMESPACE, which belongs to the chart: leave it out",
    "webhook.podSpec.volumes.name=mine": "webhook.podSpec.volumes must be a list, and is a map",
    "webhook.podSpec.imagePullSecrets={registry}": "webhook.podSpec.imagePullSecrets[0] must have keys, such as name",
    "controller.container.env.EXAMPLE=1": "controller.container.env must be a list, and is a map",
    "webhook.podSpec.volumes[0].name=ca": "give yours another name",
    "webhook.container.volumeMounts[0].mountPath=/var/run/o365mailer-webhook-ca": "mount yours elsewhere",
    "webhook.port=9025": "webhook.port and webhook.healthPort are both 9025",
    "webhook.podSpec.hostNetwork=true": "set webhook.port to a port that is free on your nodes",
    "commonLabels.app\\.kubernetes\\.io/name=x": "commonLabels must not set app.kubernetes.io/name",
    "webhook.podLabels.app\\.kubernetes\\.io/component=x": "webhook.podLabels must not set app.kubernetes.io/component",
    "test.mailer=noreply": "/test/mailer",
    "test.recipient=someone": "/test/recipient",
    "test.mailer=shop/noreply": "test.mailer needs test.sender",
    "test.sender=noreply@contoso.example": "test.sender and test.recipient need test.mailer",
    # Keys of other charts.
    "replicaCount=3": "replicaCount is no value of this chart: set controller.replicas or webhook.replicas",
    "webhook.nodeSelector.disk=ssd": "webhook.nodeSelector is no value of this chart: set webhook.podSpec.nodeSelector",
    "controller.extraEnv[0].name=A": "set controller.container.env",
    "monitoring.enabled=yes": "/monitoring/enabled",
    "monitoring.renderMode=always": "/monitoring/renderMode",
    "monitoring.interval=often": "/monitoring/interval",
    "monitoring.rules=true": "'rules' not allowed",
}

FOREIGN = {
    "top": re.findall(r"[A-Za-z]+", SCHEMA["patternProperties"].popitem()[0]),
    "role": re.findall(r"[A-Za-z]+", SCHEMA["properties"]["webhook"]["patternProperties"].popitem()[0]),
}
"""Keys that the schema lets through, because the templates refuse them with a better message."""


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_value_is_refused_by_name(helm: Client, value: str) -> None:
    refused = helm.process("template", RELEASE, CHART, "--kube-version", OLDEST, "--set", value)
    assert refused.returncode != 0
    assert WRONG[value] in refused.stderr


def test_two_roles_on_the_hosts_network_need_different_ports(helm: Client) -> None:
    both = [f"{role}.podSpec.hostNetwork=true" for role in ("controller", "webhook")]
    values = (*both, "webhook.port=9443")
    command = ["template", RELEASE, CHART, "--kube-version", OLDEST]
    command += [part for value in values for part in ("--set", value)]
    told = "controller.healthPort and webhook.healthPort are both 9025"
    assert told in helm.process(*command).stderr
    assert helm.process(*command, "--set", "webhook.healthPort=9026").returncode == 0
    told = "controller.healthPort and webhook.port are both 9443"
    assert told in helm.process(*command, "--set", "controller.healthPort=9443").stderr


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_right_values_pass(helm: Client, values: tuple[str, ...]) -> None:
    sets = [part for value in values for part in ("--set", value)]
    assert helm.process("template", RELEASE, CHART, "--kube-version", OLDEST, *sets).returncode == 0


def test_every_key_that_the_schema_lets_through_for_a_better_message_gets_one(helm: Client) -> None:
    """All at once: Helm says one at a time, so each is looked for in the template, and the first one is tried."""
    assert len(FOREIGN["top"]) > 10
    assert len(FOREIGN["role"]) > 20
    for role, keys in (("", FOREIGN["top"]), ("controller.", FOREIGN["role"])):
        left = set(keys)
        while left:
            sets = [part for key in left for part in ("--set", f"{role}{key}=x")]
            refused = helm.process("template", RELEASE, CHART, "--kube-version", OLDEST, *sets)
            told = re.search(r"([\w.]+) is no value of this chart: ", refused.stderr)
            assert told, f"{left}: {refused.stderr}"
            left.remove(told[1].removeprefix(role))


@pytest.mark.promise("chart-keeps-mailers")
def test_values_of_a_release_without_the_new_ones_still_render_and_keep_the_crd(helm: Client) -> None:
    """`helm upgrade --reuse-values` has only the values of the installed release."""
    new = ("global", "commonLabels", "crds.keep", "networkPolicy", "extraObjects", "openshift", "test")
    roles = [f"{role}.{key}" for role in ("controller", "webhook") for key in NEW_OF_ROLE]
    webhook = ("webhook.namespaceSelector", "webhook.configurationAnnotations", "webhook.service")
    sets = [part for name in (*new, *roles, *webhook) for part in ("--set", f"{name}=null")]
    text = helm("template", RELEASE, CHART, "--kube-version", OLDEST, *sets)
    objects = [document for document in yaml.safe_load_all(text) if document]
    (crd,) = of_kind(objects, "CustomResourceDefinition")
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert environment_of(objects, "webhook")["O365MAILER_OPENSHIFT"] == "false"


NEW_OF_ROLE = ("serviceAccount", "healthPort", "podSpec", "container", "podLabels")


def test_the_empty_defaults_of_an_older_chart_are_no_values_that_a_user_set(helm: Client) -> None:
    """`helm upgrade --reuse-values` gives them to the chart again. What a user set is refused."""
    older = {
        "nodeSelector": {},
        "tolerations": [],
        "affinity": {},
        "priorityClassName": "",
        "topologySpreadConstraints": [],
    }
    command = ("template", RELEASE, CHART, "--kube-version", OLDEST, "--set-json", "allowedHosts=[]")
    sets = ("--set-json", f"controller={json.dumps(older)}", "--set-json", f"webhook={json.dumps(older)}")
    assert helm.process(*command, *sets).returncode == 0
    assert "installCRDs is no value of this chart" in helm.process(*command, "--set", "installCRDs=false").stderr
    refused = helm.process(*command, *sets, "--set", "webhook.affinity.nodeAffinity.any=1").stderr
    assert "webhook.affinity is no value of this chart: set webhook.podSpec.affinity" in refused
