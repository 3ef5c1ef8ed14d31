"""Alerts and dashboard name only metrics that exist, and labels that those have."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from monitoring.prometheus import ALERTS, ROOT
from prometheus_client.parser import text_string_to_metric_families

from o365mailer_operator.controller.metrics import Metrics as ControllerMetrics
from o365mailer_operator.controller.queue import DueQueue
from o365mailer_operator.webhook.metrics import Metrics as WebhookMetrics
from o365mailer_sidecar.telemetry.metrics import METRICS, PREFIX

NAME = re.compile(r"\bo365mailer_\w+")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}


def exposed() -> set[str]:
    """The names of all series that a process of ours can have."""
    relay = {(metric.name.removesuffix("_total"), metric.kind) for metric in METRICS}
    pages = [
        ControllerMetrics(DueQueue(clock=float), leading=lambda: True, agreed_at=float).exposition().decode(),
        WebhookMetrics().text().decode(),
    ]
    families = [family for page in pages for family in text_string_to_metric_families(page)]
    ours = {(family.name, family.type) for family in families if family.name.startswith(PREFIX)}
    ours |= {(PREFIX + name, kind) for name, kind in relay}
    return {name + suffix for name, kind in ours if kind in SUFFIXES for suffix in SUFFIXES[kind]}


def expressions_of_the_alerts() -> list[str]:
    """PromQL of every rule."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def expressions_of_the_dashboard() -> list[str]:
    """PromQL of every panel and variable."""
    dashboard = json.loads(ALERTS.with_name("dashboard.json").read_text(encoding="utf-8"))
    variables = [each["definition"] for each in dashboard["templating"]["list"] if "definition" in each]
    return variables + [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


@pytest.mark.promise("alerts-with-runbooks")
def test_every_metric_that_an_alert_or_the_dashboard_names_exists() -> None:
    named = set(NAME.findall("\n".join([*expressions_of_the_alerts(), *expressions_of_the_dashboard()])))
    assert named - exposed() == set()
    assert len(named) > 30


def test_a_metric_that_does_not_exist_is_noticed() -> None:
    assert set(NAME.findall('o365mailer_no_such_metric{a="b"} > 0')) - exposed() == {"o365mailer_no_such_metric"}
    assert "o365mailer_messages" not in exposed()


def test_every_metric_of_the_runbooks_and_of_the_page_on_monitoring_exists() -> None:
    for page in ("troubleshooting.md", "monitoring.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert set(NAME.findall(text)) - exposed() == set(), page


def test_the_dashboards_file_is_what_its_script_makes(tmp_path: Path) -> None:
    script = ROOT / "charts" / "dashboard.py"
    assert subprocess.run([sys.executable, script, "--check"]).returncode == 0
    copy = tmp_path / "dashboard.py"
    copy.write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    file = tmp_path / "o365mailer" / "files" / "dashboard.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}\n", encoding="utf-8")
    stale = subprocess.run([sys.executable, copy, "--check"], capture_output=True, text=True)
    assert stale.returncode == 1
    assert "is stale: run python charts/dashboard.py" in stale.stderr


def test_the_dashboard_can_be_imported() -> None:
    """What Grafana relies on: identifiers are unique, and no panel covers another."""
    panels = json.loads(ALERTS.with_name("dashboard.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
