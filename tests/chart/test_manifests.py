"""The manifests are ones that a real API server takes, and the CRD is the canonical one: run by `make check`."""

import json
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane

from chart.release import CHART, OLDEST, RELEASE, ROOT, VALUES, Manifest, Render, of_kind

TEMPLATES = sorted((CHART / "templates").glob("*.yaml"))
USERS = "extra-objects.yaml"
"""The one template without a resource of ours."""
CRDS = sorted((ROOT / "crds").glob("*.yaml"))
METADATA = '\n  {{- include "o365mailer.crd.metadata" . | nindent 2 }}'


def dry_run(plane: ControlPlane, objects: list[dict[str, object]]) -> tuple[int, str]:
    """What the API server says to these objects, without keeping any of them."""
    items = {"apiVersion": "v1", "kind": "List", "items": objects}
    done = plane.kubectl.process(
        "apply", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=json.dumps(items)
    )
    return done.returncode, done.stderr


def test_the_chart_passes_helms_own_linter_in_strict_mode(helm: Client) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "--kube-version", OLDEST)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_a_real_api_server_takes_every_object_under_strict_validation(
    plane: ControlPlane, render: Render, values: tuple[str, ...]
) -> None:
    code, complaints = dry_run(plane, render(*values, tests=True))
    assert code == 0, complaints


@pytest.mark.timeout(120)
def test_the_same_validation_refuses_an_object_with_an_unknown_field(plane: ControlPlane, render: Render) -> None:
    objects = render()
    of_kind(objects, "Deployment", "webhook")[0]["spec"]["replicaz"] = 2
    code, complaints = dry_run(plane, objects)
    assert code != 0
    assert "unknown field" in complaints
    assert "replicaz" in complaints


@pytest.mark.parametrize("template", [path for path in TEMPLATES if path.name != USERS], ids=lambda path: path.stem)
def test_a_template_file_holds_one_resource_and_is_named_for_it(template: Path) -> None:
    kinds = re.findall(r"^kind: (\w+)$", template.read_text(encoding="utf-8"), re.MULTILINE)
    assert [kind.lower() for kind in kinds] == [template.stem.split("-")[-1]]


def test_the_canonical_crds_are_all_in_the_chart() -> None:
    copies = {path.stem.removesuffix("-customresourcedefinition") for path in TEMPLATES if "definition" in path.stem}
    assert copies == {path.stem for path in CRDS} != set()


@pytest.mark.promise("chart-keeps-mailers")
@pytest.mark.parametrize("crd", CRDS, ids=lambda path: path.stem)
def test_the_charts_crd_is_the_canonical_one_byte_for_byte_apart_from_its_labels(crd: Path) -> None:
    copy = (CHART / "templates" / f"{crd.stem}-customresourcedefinition.yaml").read_text(encoding="utf-8")
    body = copy.removeprefix("{{- if .Values.crds.enabled -}}\n").removesuffix("{{- end }}\n")
    assert len(body) < len(copy)
    assert body.count(METADATA) == 1
    assert body.replace(METADATA, "") == crd.read_text(encoding="utf-8"), "run charts/copy-crds"


def test_the_crd_comes_out_of_helm_as_it_went_in(render: Render) -> None:
    (rendered,) = of_kind(render(), "CustomResourceDefinition")
    assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert rendered["metadata"].pop("labels")["app.kubernetes.io/part-of"] == "o365mailer"
    assert rendered == yaml.safe_load(CRDS[0].read_text(encoding="utf-8"))


def test_an_api_server_whose_kubelets_may_lack_native_sidecars_is_refused(helm: Client) -> None:
    older = helm.process("template", RELEASE, CHART, "--kube-version", "1.31.9")
    assert older.returncode != 0
    assert f"requires kubeVersion: >={OLDEST}-0" in older.stderr
    assert helm.process("template", RELEASE, CHART, "--kube-version", f"{OLDEST}-gke.100").returncode == 0


@pytest.fixture(scope="module")
def different(render: Render) -> list[Manifest]:
    """The objects of all sets of values, each once."""
    found = {json.dumps(document): document for values in VALUES.values() for document in render(*values, tests=True)}
    return list(found.values())


@pytest.mark.parametrize("minor", ["1.32", "1.33", "1.34", "1.35", "1.36", "1.37"])
def test_the_manifests_are_valid_in_every_minor(different: list[Manifest], minor: str) -> None:
    assert len(different) > len(TEMPLATES)
    for document in different:
        kubernetes_validate.validate(document, minor, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**different[0], "spek": {}}, minor, strict=True)
