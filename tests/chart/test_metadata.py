"""What Artifact Hub shows of the chart: addresses of ours that exist, and an example that the API server takes."""

import json

import yaml
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane
from support.waiting import eventually

from chart.release import CHART, ROOT
from o365mailer_contract import names

CHART_FILE = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
ANNOTATIONS = {
    key.removeprefix("artifacthub.io/"): yaml.safe_load(text) for key, text in CHART_FILE["annotations"].items()
}


def test_home_sources_and_links_are_the_projects() -> None:
    assert CHART_FILE["home"] == names.HOME
    assert CHART_FILE["sources"] == [names.HOME]
    for link in ANNOTATIONS["links"]:
        assert link["url"].startswith(names.HOME)
        if link["url"].startswith(names.DOCS):
            assert (ROOT / "docs" / link["url"].removeprefix(f"{names.DOCS}/")).is_file()


def test_the_icon_is_a_file_of_ours() -> None:
    prefix = f"{names.HOME.replace('github.com', 'raw.githubusercontent.com')}/main/"
    assert CHART_FILE["icon"].startswith(prefix)
    assert (ROOT / CHART_FILE["icon"].removeprefix(prefix)).read_text(encoding="utf-8").startswith("<svg")


def test_the_crd_is_the_one_that_is_installed_and_its_example_is_valid(installed: Client, plane: ControlPlane) -> None:
    (crd,) = ANNOTATIONS["crds"]
    assert (crd["kind"], crd["version"], crd["name"]) == (names.KIND, names.VERSION, f"{names.PLURAL}.{names.GROUP}")
    eventually(lambda: plane.kubectl.process("get", names.PLURAL).returncode == 0)
    (example,) = ANNOTATIONS["crdsExamples"]
    command = ("create", "--dry-run=server", "--validate=strict", "--filename", "-")
    plane.kubectl(*command, stdin=json.dumps(example))
    wrong = {**example, "spec": {**example["spec"], "mailbox": "no address"}}
    assert "spec.mailbox" in plane.kubectl.process(*command, stdin=json.dumps(wrong)).stderr
