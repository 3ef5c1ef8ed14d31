"""What the chart's values do to its objects, without a cluster."""

import re

import pytest
import yaml
from chart.release import CHART, NAMESPACE, ROOT, Render, environment_of, of_kind, pod_of

from o365mailer_contract import names
from o365mailer_operator.controller import options as controller_options
from o365mailer_operator.webhook import options as webhook_options
from o365mailer_operator.webhook.resources import DEFAULTS

VERSION = "0.1.0"
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
    for kind in ("Role", "RoleBinding"):
        assert sorted(found["metadata"]["namespace"] for found in of_kind(objects, kind)) == [
            NAMESPACE,
            "team-a",
            "team-b",
        ]
    assert environment_of(objects, "controller")["O365MAILER_WATCH_NAMESPACES"] == "team-a,team-b"


def test_placement_and_pull_secrets_reach_the_pods(render: Render) -> None:
    pod = pod_of(
        render(
            "webhook.nodeSelector.disk=ssd",
            "webhook.tolerations[0].key=infra",
            "webhook.priorityClassName=system-cluster-critical",
            "webhook.affinity.podAffinity.note=x",
            "imagePullSecrets[0].name=registry",
        ),
        "webhook",
    )
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["tolerations"] == [{"key": "infra"}]
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert pod["affinity"] == {"podAffinity": {"note": "x"}}
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


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
    other = f"{role}.topologySpreadConstraints[0].topologyKey=zone"
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
