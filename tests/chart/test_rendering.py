"""What the chart's values do to its objects, without a cluster."""

import copy
import re

import pytest
import yaml
from cluster_rig.clients import Client

from chart.release import CHART, NAMESPACE, OLDEST, RELEASE, ROOT, Manifest, Render, environment_of, of_kind, pod_of
from o365mailer_contract import names
from o365mailer_operator.controller import options as controller_options
from o365mailer_operator.webhook import options as webhook_options
from o365mailer_operator.webhook.resources import DEFAULTS

VERSION = str(yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"])
DIGEST = "sha256:" + "0123456789abcdef" * 4
SIDECAR_IMAGE = "O365MAILER_SIDECAR_IMAGE"


def test_chart_images_and_distribution_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert project
    assert chart["version"] == chart["appVersion"] == project[1] == VERSION


@pytest.mark.promise("webhook-certificates-renewed")
def test_nothing_is_made_up_or_looked_up_while_rendering() -> None:
    made_up = re.compile(r"{{[^}]*\b(lookup|gen(CA|\w*Cert\w*|PrivateKey)|rand\w+|uuidv4|now)\b")
    assert made_up.search("{{- $ca := genCA 1 }}")
    for path in (CHART / "templates").iterdir():
        assert not made_up.search(path.read_text(encoding="utf-8")), path


@pytest.mark.promise("webhook-certificates-renewed")
def test_no_certificate_comes_from_helm_or_a_job(render: Render) -> None:
    objects = render()
    (configuration,) = of_kind(objects, "MutatingWebhookConfiguration")
    assert [webhook["clientConfig"].get("caBundle", "none") for webhook in configuration["webhooks"]] == ["none"] * 2
    assert not of_kind(objects, "Secret")
    assert not of_kind(objects, "Job")


def test_the_webhook_configuration_is_the_one_that_the_webhooks_tests_run_with(render: Render) -> None:
    (ours,) = of_kind(render(), "MutatingWebhookConfiguration")
    theirs = yaml.safe_load((ROOT / "tests" / "webhook" / "configuration.yaml").read_text(encoding="utf-8"))
    assert ours["metadata"]["name"] == theirs["metadata"]["name"] == names.WEBHOOK_NAME
    for webhook in ours["webhooks"]:
        service = webhook.pop("clientConfig")["service"]
        paths = {names.PODS_WEBHOOK: names.PODS_PATH, names.WORKLOADS_WEBHOOK: names.WORKLOADS_PATH}
        assert service.pop("path") == paths[webhook["name"]]
        assert service == {"name": "o365mailer-webhook", "namespace": NAMESPACE, "port": 443}
    for webhook in theirs["webhooks"]:
        webhook.pop("clientConfig")
    assert ours["webhooks"] == theirs["webhooks"]


def test_azures_admissions_enforcer_is_told_to_leave_the_configuration_alone(render: Render) -> None:
    (configuration,) = of_kind(render(), "MutatingWebhookConfiguration")
    assert configuration["metadata"]["annotations"]["admissions.enforcer/disabled"] == "true"


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
def test_the_failure_policy_is_a_value(render: Render, policy: str) -> None:
    (configuration,) = of_kind(render(f"webhook.failurePolicy={policy}"), "MutatingWebhookConfiguration")
    assert {webhook["failurePolicy"] for webhook in configuration["webhooks"]} == {policy}


@pytest.mark.promise("least-rights")
def test_the_webhook_has_no_token_and_no_rights(render: Render) -> None:
    objects = render()
    (account,) = of_kind(objects, "ServiceAccount", "webhook")
    assert account["automountServiceAccountToken"] is False
    assert pod_of(objects, "webhook")["automountServiceAccountToken"] is False
    bindings = of_kind(objects, "RoleBinding") + of_kind(objects, "ClusterRoleBinding")
    bound = {subject["name"] for binding in bindings for subject in binding["subjects"]}
    assert bound == {"o365mailer-controller"}


def test_the_webhook_starts_only_with_the_authority_that_the_controller_made(render: Render) -> None:
    volumes = {volume["name"]: volume for volume in pod_of(render(), "webhook")["volumes"]}
    secret = volumes["ca"]["secret"]
    assert secret["secretName"] == names.CA_SECRET
    assert not secret.get("optional", False)
    keys = {names.CA_SECRET_CERTIFICATE, names.CA_SECRET_SIGNER, names.CA_SECRET_KEY}
    assert {item["key"] for item in secret["items"]} == keys


def test_an_image_is_named_by_its_tag_or_by_its_digest(render: Render) -> None:
    tagged = render("image.tag=1.2.3", "image.registry=registry.example/mail")
    (container,) = pod_of(tagged, "controller")["containers"]
    assert container["image"] == "registry.example/mail/o365mailer-operator:1.2.3"
    assert environment_of(tagged, "webhook")[SIDECAR_IMAGE] == f"registry.example/mail/o365mailer-sidecar:{VERSION}"


def test_a_digest_wins_over_a_tag_and_an_images_own_registry_over_the_common_one(render: Render) -> None:
    values = (f"sidecar.image.digest={DIGEST}", "sidecar.image.tag=1.2.3", "sidecar.image.registry=mirror.example")
    assert environment_of(render(*values), "webhook")[SIDECAR_IMAGE] == f"mirror.example/o365mailer-sidecar@{DIGEST}"


@pytest.mark.promise("least-rights")
def test_watched_namespaces_get_roles_and_the_cluster_role_shrinks_to_one_configuration(render: Render) -> None:
    objects = render("watchNamespaces={team-a,team-b}")
    (cluster_wide,) = of_kind(objects, "ClusterRole", "controller")
    assert [rule["resources"] for rule in cluster_wide["rules"]] == [["mutatingwebhookconfigurations"]]
    assert sorted(place(found) for found in of_kind(objects, "Role")) == [
        f"{NAMESPACE}/o365mailer-controller",
        "team-a/o365mailer-controller-mailers",
        "team-b/o365mailer-controller-mailers",
    ]
    assert sorted(place(found) for found in of_kind(objects, "RoleBinding") if "secrets" in place(found)) == [
        "team-a/o365mailer-secrets",
        "team-b/o365mailer-secrets",
    ]
    assert environment_of(objects, "controller")["O365MAILER_WATCH_NAMESPACES"] == "team-a,team-b"


@pytest.mark.promise("least-rights")
@pytest.mark.parametrize(
    ("values", "bound"),
    [
        ((), ["ClusterRoleBinding"]),
        (("rbac.secrets=cluster",), ["ClusterRoleBinding"]),
        (("watchNamespaces={team-a}",), ["RoleBinding"]),
        (("watchNamespaces={team-a,team-b}", "rbac.secrets=namespaces"), ["RoleBinding", "RoleBinding"]),
        (("rbac.secrets=granted",), []),
    ],
)
def test_the_role_for_secrets_is_bound_where_the_value_says(
    render: Render, values: tuple[str, ...], bound: list[str]
) -> None:
    objects = render(*values)
    holding = [
        found["metadata"]["name"]
        for found in of_kind(objects, "ClusterRole")
        if any("secrets" in rule["resources"] for rule in found["rules"])
    ]
    assert holding == ["o365mailer-secrets"]
    bindings = [each for each in objects if each["kind"].endswith("RoleBinding")]
    assert [each["kind"] for each in bindings if each["roleRef"]["name"] == "o365mailer-secrets"] == bound


def place(manifest: Manifest) -> str:
    """Its namespace and name."""
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"


@pytest.mark.parametrize("role", ["controller", "webhook"])
def test_an_overlay_adds_to_the_charts_own_pod_and_keeps_the_rest(render: Render, role: str) -> None:
    values = (
        f"{role}.podSpec.nodeSelector.disk=ssd",
        f"{role}.podSpec.tolerations[0].key=infra",
        f"{role}.podSpec.affinity.podAffinity.note=x",
        f"{role}.podSpec.securityContext.runAsUser=1000690000",
        f"{role}.podSpec.enableServiceLinks=true",
        f"{role}.podSpec.volumes[0].name=mine",
        f"{role}.podSpec.imagePullSecrets[0].name=mine",
        f"{role}.container.env[0].name=EXAMPLE",
        f"{role}.container.volumeMounts[0].mountPath=/mine",
        f"{role}.container.livenessProbe.periodSeconds=30",
        f"{role}.container.startupProbe=null",
        f"{role}.container.securityContext.readOnlyRootFilesystem=false",
        "imagePullSecrets[0].name=registry",
    )
    usual, changed = pod_of(render("imagePullSecrets[0].name=registry"), role), pod_of(render(*values), role)
    wanted = copy.deepcopy(usual)
    wanted |= {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "infra"}], "enableServiceLinks": True}
    wanted["affinity"] = {"podAffinity": {"note": "x"}}
    wanted["securityContext"]["runAsUser"] = 1000690000
    wanted["volumes"] = [*usual.get("volumes", []), {"name": "mine"}]
    wanted["imagePullSecrets"] = [{"name": "registry"}, {"name": "mine"}]
    (container,) = wanted["containers"]
    container["env"] = [*container["env"], {"name": "EXAMPLE"}]
    container["volumeMounts"] = [*container.get("volumeMounts", []), {"mountPath": "/mine"}]
    container["livenessProbe"]["periodSeconds"] = 30
    container["startupProbe"] = None
    container["securityContext"]["readOnlyRootFilesystem"] = False
    assert changed == wanted


def test_an_overlay_without_items_removes_none_of_the_charts(render: Render) -> None:
    lists = ("podSpec.volumes", "podSpec.imagePullSecrets", "container.env", "container.volumeMounts")
    values = [f"webhook.{name}=null" for name in lists]
    own = "imagePullSecrets[0].name=registry"
    assert pod_of(render(own, *values), "webhook") == pod_of(render(own), "webhook")


@pytest.mark.parametrize("role", ["controller", "webhook"])
def test_on_the_hosts_network_the_old_pod_goes_first_and_names_are_asked_of_the_cluster(
    render: Render, role: str
) -> None:
    """Both pods want the same ports of a node, so a surge could never be scheduled where each node has a replica."""
    values = (f"{role}.podSpec.hostNetwork=true", "webhook.port=9443")
    (deployment,) = of_kind(render(*values), "Deployment", role)
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert deployment["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirstWithHostNet"
    (usual,) = of_kind(render(), "Deployment", role)
    assert usual["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "dnsPolicy" not in usual["spec"]["template"]["spec"]


def test_ports_are_values_and_reach_the_programs(render: Render) -> None:
    objects = render("webhook.port=9443", "webhook.healthPort=9026", "controller.healthPort=9027")
    webhook = webhook_options.parse([], environment_of(objects, "webhook") | {"POD_NAMESPACE": NAMESPACE})
    assert (webhook.listen[1], webhook.health[1]) == (9443, 9026)
    assert controller_options.parse([], environment_of(objects, "controller")).health[1] == 9027
    for role, ports in (("webhook", {"webhook": 9443, "health": 9026}), ("controller", {"health": 9027})):
        (container,) = pod_of(objects, role)["containers"]
        assert {port["name"]: port["containerPort"] for port in container["ports"]} == ports


def test_what_a_parent_chart_says_of_all_its_charts_holds_unless_the_chart_says_otherwise(render: Render) -> None:
    parent = ("global.imageRegistry=mirror.example", "global.imagePullSecrets={all}")
    objects = render(*parent, "imagePullSecrets[0].name=ours")
    (container,) = pod_of(objects, "controller")["containers"]
    assert container["image"] == f"mirror.example/o365mailer-operator:{VERSION}"
    assert environment_of(objects, "webhook")[SIDECAR_IMAGE] == f"mirror.example/o365mailer-sidecar:{VERSION}"
    assert pod_of(objects, "webhook")["imagePullSecrets"] == [{"name": "ours"}, {"name": "all"}]
    (own,) = pod_of(render(*parent, "image.registry=own.example"), "controller")["containers"]
    assert own["image"] == f"own.example/o365mailer-operator:{VERSION}"


def test_common_labels_are_on_every_object_and_pod_and_not_in_a_selector(render: Render) -> None:
    objects = render("commonLabels.team=mail", "controller.podLabels.team=other", tests=True)
    assert {found["metadata"]["labels"].get("team") for found in objects} == {"mail"}
    templates = {found["metadata"]["name"]: found["spec"]["template"] for found in of_kind(objects, "Deployment")}
    labels = {name: template["metadata"]["labels"]["team"] for name, template in templates.items()}
    assert labels == {"o365mailer-controller": "other", "o365mailer-webhook": "mail"}
    for deployment in of_kind(objects, "Deployment"):
        assert "team" not in deployment["spec"]["selector"]["matchLabels"]


def test_a_crd_that_shall_not_stay_is_not_kept(render: Render) -> None:
    (crd,) = of_kind(render("crds.keep=false"), "CustomResourceDefinition")
    assert "annotations" not in crd["metadata"]


@pytest.mark.parametrize(
    ("values", "served", "told"),
    [
        ((), (), "false"),
        ((), ("security.openshift.io/v1",), "true"),
        (("openshift=false",), ("security.openshift.io/v1",), "false"),
        (("openshift=true",), (), "true"),
    ],
)
def test_openshift_is_recognized_by_its_own_api_group(
    helm: Client, values: tuple[str, ...], served: tuple[str, ...], told: str
) -> None:
    apis = [part for api in served for part in ("--api-versions", api)]
    sets = [part for value in values for part in ("--set", value)]
    text = helm("template", RELEASE, CHART, "--kube-version", OLDEST, *apis, *sets)
    objects = [document for document in yaml.safe_load_all(text) if document]
    assert environment_of(objects, "webhook")["O365MAILER_OPENSHIFT"] == told


def test_a_namespace_selector_of_the_users_is_added_to_the_charts(render: Render) -> None:
    values = ("webhook.namespaceSelector.matchLabels.mail=allowed",)
    expression = (
        "webhook.namespaceSelector.matchExpressions[0].key=team",
        "webhook.namespaceSelector.matchExpressions[0].operator=Exists",
    )
    (usual,) = of_kind(render(), "MutatingWebhookConfiguration")
    (changed,) = of_kind(render(*values, *expression), "MutatingWebhookConfiguration")
    for before, after in zip(usual["webhooks"], changed["webhooks"], strict=True):
        ours = before["namespaceSelector"]["matchExpressions"]
        selector = {"matchExpressions": [*ours, {"key": "team", "operator": "Exists"}]}
        assert after["namespaceSelector"] == {**selector, "matchLabels": {"mail": "allowed"}}


def test_a_network_policy_lets_the_controller_out_to_what_its_values_name_and_the_webhook_nowhere(
    render: Render,
) -> None:
    assert not of_kind(render(), "NetworkPolicy")
    hosts = (
        "allowedHosts.authority={emulator.example:8443,login.example}",
        "allowedHosts.submission={sink.example:1025}",
    )
    values = (*hosts, "controller.httpsProxy=http://proxy.example:3128/")
    objects = render("networkPolicy.enabled=true", "networkPolicy.controllerEgress[0].ports[0].port=1", *values)
    (controller,) = of_kind(objects, "NetworkPolicy", "controller")
    assert egress_ports(controller) == [[53, 53, 5353, 5353], [443, 6443, 587, 8443, 1025, 3128], [1]]
    (webhook,) = of_kind(objects, "NetworkPolicy", "webhook")
    assert webhook["spec"]["egress"] == []
    assert [rule["ports"][0]["port"] for rule in webhook["spec"]["ingress"]] == ["webhook", "health"]
    for policy in (controller, webhook):
        (deployment,) = of_kind(objects, "Deployment", policy["metadata"]["name"])
        assert policy["spec"]["podSelector"] == deployment["spec"]["selector"]
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def egress_ports(policy: Manifest) -> list[list[int]]:
    """The ports of each rule."""
    return [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["egress"]]


@pytest.mark.parametrize(
    ("value", "told", "ports"),
    [("true", True, [443, 6443, 587, 1025]), ("null", True, [443, 6443, 587, 1025]), ("false", False, [443, 6443])],
)
def test_the_canary_is_told_to_the_controller_and_its_port_is_open_only_with_it(
    render: Render, value: str, told: bool, ports: list[int]
) -> None:
    values = ("networkPolicy.enabled=true", "allowedHosts.submission={sink.example:1025}")
    objects = render(*values, f"controller.canary={value}")
    assert controller_options.parse([], environment_of(objects, "controller")).canary is told
    (policy,) = of_kind(objects, "NetworkPolicy", "controller")
    assert egress_ports(policy)[1] == ports


def test_further_objects_are_templates(render: Render) -> None:
    values = ("kind=ConfigMap", "apiVersion=v1", "metadata.name=extra", r"data.where=\{{ .Release.Namespace }}")
    objects = render(*(f"extraObjects[0].{value}" for value in values), "extraObjects[1]=kind: Text")
    (extra,) = (found for found in objects if found["kind"] == "ConfigMap")
    assert extra["data"] == {"where": NAMESPACE}
    assert {"kind": "Text"} in objects


def test_a_proxy_that_wants_a_password_is_read_from_a_secret(render: Render) -> None:
    (container,) = pod_of(render("controller.httpsProxySecret=proxy"), "controller")["containers"]
    (proxy,) = [entry for entry in container["env"] if entry["name"] == "O365MAILER_HTTPS_PROXY"]
    assert proxy["valueFrom"] == {"secretKeyRef": {"name": "proxy", "key": "url"}}


@pytest.mark.parametrize("role", ["controller", "webhook"])
def test_replicas_are_spread_over_nodes_unless_a_value_says_otherwise(render: Render, role: str) -> None:
    (spread,) = pod_of(render(), role)["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    (deployment,) = of_kind(render(), "Deployment", role)
    assert spread["labelSelector"] == deployment["spec"]["selector"]
    other = f"{role}.podSpec.topologySpreadConstraints[0].topologyKey=zone"
    assert pod_of(render(other), role)["topologySpreadConstraints"] == [{"topologyKey": "zone"}]


def test_the_sidecars_usual_resources_are_those_that_the_webhook_has_without_a_chart() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert values["sidecar"]["resources"] == {"requests": dict(DEFAULTS.requests), "limits": dict(DEFAULTS.limits)}


def test_what_the_sidecar_gets_is_told_to_the_webhook(render: Render) -> None:
    environment = environment_of(
        render(
            "sidecar.resources.limits.cpu=2",
            "sidecar.imagePullSecrets={a,b}",
            "sidecar.logLevel=debug",
            "openshift=true",
        ),
        "webhook",
    )
    assert webhook_options.parse([], environment | {"POD_NAMESPACE": NAMESPACE}).settings.log_level == "debug"
    usual = environment_of(render(), "webhook") | {"POD_NAMESPACE": NAMESPACE}
    assert webhook_options.parse([], usual).settings.log_level is None
    assert '"cpu":2' in environment["O365MAILER_SIDECAR_RESOURCES"].replace(" ", "")
    assert environment["O365MAILER_SIDECAR_PULL_SECRETS"] == "a,b"
    assert environment["O365MAILER_OPENSHIFT"] == "true"


@pytest.mark.parametrize(
    ("values", "lease", "interval"),
    [
        ((), 15, 60),
        (("controller.leaseDuration=1m", "controller.reconcileInterval=90s"), 60, 90),
        (("controller.leaseDuration=null", "controller.reconcileInterval=null"), 15, 60),
    ],
)
def test_the_leases_duration_and_the_interval_of_looks_are_told_to_the_controller(
    render: Render, values: tuple[str, ...], lease: float, interval: float
) -> None:
    options = controller_options.parse([], environment_of(render(*values), "controller"))
    assert (options.lease_duration, options.reconcile_interval) == (lease, interval)


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize(("values", "told"), [((), ""), (("sidecar.spool=ephemeral",), "ephemeral")])
def test_the_usual_spool_is_told_to_the_webhook_and_there_is_none_by_default(
    render: Render, values: tuple[str, ...], told: str
) -> None:
    environment = environment_of(render(*values), "webhook")
    assert environment["O365MAILER_SIDECAR_SPOOL"] == told
    assert webhook_options.parse([], environment | {"POD_NAMESPACE": NAMESPACE}).settings.spool == told


@pytest.mark.promise("spool-in-the-pod")
def test_values_that_were_kept_from_before_the_spool_still_render(render: Render) -> None:
    """`helm upgrade --reuse-values` knows no value that is new."""
    assert environment_of(render("sidecar.spool=null"), "webhook")["O365MAILER_SIDECAR_SPOOL"] == ""
