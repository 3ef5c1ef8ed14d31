"""The chart as a dependency of a company's own chart: Helm hands it `enabled` and `global`, and only its own values."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane

from chart.release import CHART, NAMESPACE, OLDEST, Manifest, environment_of, of_kind, pod_of
from chart.test_manifests import dry_run

COMPANY = {"imageRegistry": "mirror.example", "imagePullSecrets": ["mirror"], "storageClass": "fast"}
"""`global` as parent charts have it, with a key that is none of ours."""


def parent(directory: Path, helm: Client, alias: str = "") -> Path:
    """A chart with one template and this chart as its dependency, brought by `helm dependency update`."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"]
    dependency = {"name": "o365mailer", "version": version, "repository": f"file://{CHART}"}
    dependency |= {"condition": f"{alias or 'o365mailer'}.enabled"} | ({"alias": alias} if alias else {})
    (directory / "templates").mkdir(parents=True)
    chart = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (directory / "Chart.yaml").write_text(yaml.safe_dump(chart), encoding="utf-8")
    (directory / "templates" / "own.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\n", encoding="utf-8"
    )
    helm("dependency", "update", directory)
    return directory


def rendered(helm: Client, chart: Path, values: dict[str, Any]) -> list[Manifest]:
    """The parent's objects with these values."""
    where = ("--namespace", NAMESPACE, "--kube-version", OLDEST, "--skip-tests")
    text = helm("template", "platform", chart, *where, "--values", "-", stdin=json.dumps(values))
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.mark.parametrize("alias", ["", "mail"])
def test_a_parents_values_reach_it_and_a_real_api_server_takes_it(
    helm: Client, plane: ControlPlane, tmp_path: Path, alias: str
) -> None:
    own = {"enabled": True, "webhook": {"replicas": 3, "podSpec": {"topologySpreadConstraints": None}}}
    objects = rendered(
        helm, parent(tmp_path / "platform", helm, alias), {"global": COMPANY, alias or "o365mailer": own}
    )
    (webhook,) = of_kind(objects, "Deployment", "webhook")
    assert webhook["spec"]["replicas"] == 3
    assert webhook["spec"]["template"]["spec"].get("topologySpreadConstraints") is None
    assert pod_of(objects, "controller")["imagePullSecrets"] == [{"name": "mirror"}]
    assert environment_of(objects, "webhook")["O365MAILER_SIDECAR_IMAGE"].startswith("mirror.example/")
    code, complaints = dry_run(plane, objects)
    assert code == 0, complaints


def test_a_parent_can_leave_it_out(helm: Client, tmp_path: Path) -> None:
    chart = parent(tmp_path / "platform", helm)
    names = [found["metadata"]["name"] for found in rendered(helm, chart, {"o365mailer": {"enabled": False}})]
    assert names == ["own"]
    assert len(rendered(helm, chart, {"o365mailer": {"enabled": True}})) > 10


def test_a_wrong_value_of_a_parent_is_refused_as_its_own_would_be(helm: Client, tmp_path: Path) -> None:
    chart = parent(tmp_path / "platform", helm)
    command = ("template", "platform", chart, "--kube-version", OLDEST)
    refused = helm.process(*command, "--set", "o365mailer.webhok.replicas=3")
    assert "'webhok' not allowed" in refused.stderr
    refused = helm.process(*command, "--set", "o365mailer.webhook.podSpec.hostNetwork=true")
    assert "set webhook.port to a port that is free on your nodes" in refused.stderr


def test_a_dependency_refuses_an_old_kubernetes_too(helm: Client, tmp_path: Path) -> None:
    """Helm looks at the kubeVersion of the outermost chart alone."""
    command = ("template", "platform", parent(tmp_path / "platform", helm), "--kube-version")
    assert "o365mailer needs Kubernetes >=1.32.0-0, and this is v1.31.9" in helm.process(*command, "v1.31.9").stderr
    assert helm.process(*command, "v1.32.4-gke.1").returncode == 0
    assert helm.process(*command, "v1.31.9", "--set", "o365mailer.enabled=false").returncode == 0
