"""The objects for Prometheus and Grafana: off by default, left out where the cluster lacks their kind, and right."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane

from chart.release import CHART, NAMESPACE, OLDEST, RELEASE, Manifest, Render, of_kind, pod_of
from o365mailer_contract import names
from o365mailer_operator.webhook.container import HEALTH_PORT_NAME

CRDS = Path(__file__).with_name("prometheus_operator_crds.yaml")
KINDS = ("PodMonitor", "ServiceMonitor", "PrometheusRule")
ON = ("monitoring.enabled=true", "monitoring.renderMode=alwaysRender")


def on_a_cluster_with(helm: Client, *kinds: str, mode: str = "skipIfMissing") -> list[str]:
    """The kinds of Prometheus' operator that are rendered where these are served."""
    served = [part for kind in kinds for part in ("--api-versions", f"monitoring.coreos.com/v1/{kind}")]
    values = ("--set", "monitoring.enabled=true", "--set", f"monitoring.renderMode={mode}")
    text = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", OLDEST, *served, *values)
    return sorted(each["kind"] for each in yaml.safe_load_all(text) if each and each["kind"] in KINDS)


def the(objects: list[Manifest], kind: str) -> Any:
    """The one object of the kind."""
    (found,) = of_kind(objects, kind)
    assert found["metadata"]["namespace"] == NAMESPACE
    return found


@pytest.fixture
def plane_with_the_kinds(plane: ControlPlane) -> Iterator[ControlPlane]:
    """The API server with the Prometheus operator's kinds, which go again."""
    plane.kubectl("apply", "--server-side", "-f", CRDS)
    plane.kubectl("wait", "--for=condition=Established", "-f", CRDS)
    yield plane
    plane.kubectl("delete", "-f", CRDS)


def test_the_api_server_takes_every_object(
    plane_with_the_kinds: ControlPlane, helm_on_plane: Client, render: Render
) -> None:
    """Strictly, so that no field is unknown; then as Helm finds the kinds itself."""
    kubectl = plane_with_the_kinds.kubectl
    for kind in KINDS:
        found = json.dumps(the(render(*ON, "monitoring.interval=30s"), kind))
        kubectl("apply", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=found)
    sets = ("--set", "monitoring.enabled=true", "--set", "monitoring.dashboard.enabled=true")
    helm_on_plane("install", RELEASE, CHART, "--namespace", NAMESPACE, *sets)
    try:
        installed = kubectl("get", ",".join(KINDS), "--namespace", NAMESPACE, "--output", "name").split()
        assert len(installed) == len(KINDS)
        assert kubectl.json("get", "configmap", "o365mailer-dashboard", "--namespace", NAMESPACE)["data"]
    finally:
        helm_on_plane("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")


def test_a_field_that_no_monitor_has_is_refused(plane_with_the_kinds: ControlPlane, render: Render) -> None:
    wrong = the(render(*ON), "PodMonitor")
    wrong["spec"]["podMetricsEndpoints"][0]["honourLabels"] = True
    command = ("apply", "--dry-run=server", "--validate=strict", "--filename", "-")
    refused = plane_with_the_kinds.kubectl.process(*command, stdin=json.dumps(wrong))
    assert "honourLabels" in refused.stderr
    assert refused.returncode != 0


def test_nothing_is_rendered_by_default(render: Render) -> None:
    objects = render()
    assert not [each for each in objects if each["kind"] in {*KINDS, "ConfigMap"}]


def test_values_that_were_kept_from_before_monitoring_still_render(render: Render) -> None:
    """`helm upgrade --reuse-values` knows no value that is new."""
    assert of_kind(render("monitoring=null"), "Deployment")


def test_what_the_cluster_does_not_serve_is_left_out(helm: Client) -> None:
    assert on_a_cluster_with(helm) == []
    assert on_a_cluster_with(helm, "PodMonitor") == ["PodMonitor"]
    assert on_a_cluster_with(helm, *KINDS) == sorted(KINDS)
    assert on_a_cluster_with(helm, mode="alwaysRender") == sorted(KINDS)


def test_the_notes_say_what_was_left_out(helm_on_plane: Client) -> None:
    dry = ("install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=server")
    _, _, notes = helm_on_plane(*dry, "--set", "monitoring.enabled=true").partition("NOTES:")
    assert "does not serve PodMonitor, ServiceMonitor, PrometheusRule of monitoring.coreos.com/v1" in notes
    assert "docs/monitoring.md" in notes
    _, _, notes = helm_on_plane(*dry).partition("NOTES:")
    assert notes
    assert "monitoring" not in notes


def test_an_installation_that_needs_the_kinds_says_what_is_missing(helm: Client) -> None:
    assert on_a_cluster_with(helm, *KINDS, mode="failIfMissing") == sorted(KINDS)
    sets = ("--set", "monitoring.enabled=true", "--set", "monitoring.renderMode=failIfMissing")
    refused = helm.process("template", RELEASE, CHART, "--kube-version", OLDEST, *sets)
    assert refused.returncode != 0
    assert re.search(r"this cluster does not serve \w+ of monitoring\.coreos\.com/v1", refused.stderr)
    assert "Install the Prometheus operator first" in refused.stderr


def test_the_podmonitor_finds_what_the_webhook_injects(render: Render) -> None:
    spec = the(render(*ON), "PodMonitor")["spec"]
    assert spec["namespaceSelector"] == {"any": True}
    assert spec["selector"] == {"matchExpressions": [{"key": names.MAILER_LABEL, "operator": "Exists"}]}
    (endpoint,) = spec["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == (HEALTH_PORT_NAME, names.METRICS)
    label = "__meta_kubernetes_pod_label_" + names.MAILER_LABEL.replace(".", "_").replace("/", "_")
    assert endpoint["relabelings"] == [{"sourceLabels": [label], "targetLabel": "mailer"}]
    assert "interval" not in endpoint
    watched = the(render(*ON, "watchNamespaces={team-a,team-b}"), "PodMonitor")["spec"]
    assert watched["namespaceSelector"] == {"matchNames": ["team-a", "team-b"]}


def test_the_servicemonitor_finds_the_controller_and_the_webhook(render: Render) -> None:
    objects = render(*ON, "monitoring.interval=30s")
    spec = the(objects, "ServiceMonitor")["spec"]
    (endpoint,) = spec["endpoints"]
    assert (endpoint["port"], endpoint["path"], endpoint["interval"]) == ("health", names.METRICS, "30s")
    assert endpoint["honorLabels"] is True
    for role in ("controller", "webhook"):
        (service,) = of_kind(objects, "Service", role)
        assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        (port,) = [port for port in service["spec"]["ports"] if port["name"] == endpoint["port"]]
        (container,) = pod_of(objects, role)["containers"]
        assert port["targetPort"] in [port["name"] for port in container["ports"]]


@pytest.mark.promise("alerts-with-runbooks")
def test_the_rule_holds_the_alerts_as_promtool_reads_them(render: Render) -> None:
    spec = the(render(*ON), "PrometheusRule")["spec"]
    assert spec == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))
    assert not of_kind(render(*ON, "monitoring.alerts=false"), "PrometheusRule")


@pytest.mark.parametrize("kind", KINDS)
def test_a_prometheus_can_select_the_objects_by_labels(render: Render, kind: str) -> None:
    found = the(render(*ON, "monitoring.labels.release=stack"), kind)
    assert found["metadata"]["labels"]["release"] == "stack"
    assert found["metadata"]["labels"]["app.kubernetes.io/part-of"] == "o365mailer"


def test_the_dashboard_is_in_a_configmap_that_grafanas_sidecar_finds(render: Render) -> None:
    values = ("monitoring.dashboard.enabled=true", "monitoring.dashboard.annotations.grafana_folder=Mail")
    found = the(render(*values), "ConfigMap")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Mail"}
    (text,) = found["data"].values()
    assert json.loads(text) == json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))
