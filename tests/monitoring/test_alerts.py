"""The alerts: each fires when it should and is quiet when it should be, by promtool, and each has a runbook."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitoring.alert_cases import AUTHORITY, CASES, Case, Series
from monitoring.prometheus import ALERTS, promtool
from project.test_links import HEADING, anchor, prose

from o365mailer_contract.names import DOCS

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
ALERT_RULES = {(rule["alert"], rule["labels"]["severity"]): rule for rule in RULES if "alert" in rule}

Test = dict[str, Any]
"""One test of promtool's."""


def written(text: str, case: Case) -> str:
    """An annotation as Prometheus writes it for the case."""
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: case.labels.get(found[1], ""), text)
    return re.sub(r"\{\{ \$value[^}]*\}\}", case.value, text)


def expected(case: Case) -> dict[str, Any]:
    """The one alert of the case, with all its labels and annotations."""
    rule = ALERT_RULES[case.alert, case.severity]
    return {
        "exp_labels": {**case.labels, "severity": case.severity},
        "exp_annotations": {name: written(text, case) for name, text in rule["annotations"].items()},
    }


def looked_at(case: Case, series: Series, *alerts: Mapping[str, Any]) -> Test:
    """With these series, the case's alert is to be seen as these alerts at its minute."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{case.at}m", "alertname": case.alert, "exp_alerts": list(alerts)}],
    }


def judged(directory: Path, tests: Sequence[Test]) -> tuple[bool, str]:
    """Whether promtool finds all of it so, and what it says."""
    path = directory / "test.yaml"
    path.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "5m", "tests": list(tests)}))
    done = promtool("test", "rules", path)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promise("alerts-with-runbooks")
def test_each_alert_fires_for_its_fault(tmp_path: Path) -> None:
    right, said = judged(tmp_path, [looked_at(case, case.fires, expected(case)) for case in CASES])
    assert right, said


@pytest.mark.promise("alerts-with-runbooks")
def test_each_alert_is_quiet_for_what_is_near_its_fault(tmp_path: Path) -> None:
    assert all(case.quiet for case in CASES)
    right, said = judged(tmp_path, [looked_at(case, series) for case in CASES for series in case.quiet])
    assert right, said


def test_an_authority_that_is_not_renewed_makes_the_webhooks_alert_fire(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.alert == "O365MailerWebhookCertificateExpires")
    case = dataclasses.replace(case, fires=AUTHORITY, labels={}, value="1970-01-21 00:00:00 +0000 UTC")
    right, said = judged(tmp_path, [looked_at(case, case.fires, expected(case))])
    assert right, said


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    case = CASES[0]
    assert not judged(tmp_path, [looked_at(case, case.fires)])[0]
    assert not judged(tmp_path, [looked_at(case, case.quiet[0], expected(case))])[0]


def test_without_any_series_only_what_is_away_is_told(tmp_path: Path) -> None:
    away = {"O365MailerWebhookAway", "O365MailerControllerAway"}
    nothing = {"other": "1x1600"}
    right, said = judged(
        tmp_path, [looked_at(case, nothing, *([expected(case)] if case.alert in away else [])) for case in CASES]
    )
    assert right, said


def test_every_alert_has_a_case_and_every_case_an_alert() -> None:
    assert sorted((case.alert, case.severity) for case in CASES) == sorted(ALERT_RULES)


@pytest.mark.promise("alerts-with-runbooks")
@pytest.mark.parametrize("rule", ALERT_RULES.values(), ids=map(" ".join, ALERT_RULES))
def test_every_alert_has_a_severity_a_text_and_a_runbook_that_exists(rule: dict[str, Any]) -> None:
    page = ROOT / "docs" / "troubleshooting.md"
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    address, _, section = rule["annotations"]["runbook_url"].partition("#")
    assert address == f"{DOCS}/troubleshooting.md"
    assert section == rule["alert"].lower()
    assert section in map(anchor, HEADING.findall(prose(page)))


def test_the_page_on_monitoring_lists_every_alert() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\(troubleshooting\.md#(\w+)\) \| ([a-z, ]+) \|", page, re.MULTILINE)
    assert all(name.lower() == section for name, section, _ in rows)
    assert sorted((name, each) for name, _, told in rows for each in told.split(", ")) == sorted(ALERT_RULES)
