"""The benchmark runs and fills its table; the figures in the docs are those of the committed run."""

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.page import PAGE, differences, page
from benchmarks.results import LATEST, Results
from benchmarks.table import LINES, Line

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.timeout(300)
def test_a_quick_run_measures_every_row_and_writes_nothing() -> None:
    before = LATEST.read_bytes(), PAGE.read_bytes()
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=290)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()[2:]
    assert len(lines) == len(LINES)
    unmeasured = {line for line in lines if "| not measured |" in line}
    assert bool(unmeasured) == ("\nnot measured: " in ended.stderr), ended.stderr
    assert (LATEST.read_bytes(), PAGE.read_bytes()) == before


@pytest.mark.promise("docs-show-what-was-measured")
def test_the_page_is_what_the_committed_results_say() -> None:
    results = Results.load()
    assert not differences(results, PAGE.read_text())
    results.figures["time added (ms)"]["sidecar"] = [9999.0]
    assert "9,999.00" in differences(results, PAGE.read_text())


@pytest.mark.promise("docs-show-what-was-measured")
def test_what_is_not_reached_is_shown_as_it_is() -> None:
    line = Line(words="a", measure="a", rival="plain", times=4)
    results = Results(figures={"a": {"sidecar": [30, 20, 90], "plain": [90]}})
    assert line.drawn(results) == "| a | 30 | 90 (plain) | 3.00 |"
    assert line.missed(results) == "a: 3.00 times as good as plain; the goal is 4 times."
    results.figures["a"]["sidecar"] = [22]
    assert line.drawn(results) == "| a | 22 | 90 (plain) | 4.09 |"
    assert line.missed(results) == ""


@pytest.mark.promise("docs-show-what-was-measured")
def test_what_was_not_measured_is_named_with_the_reason() -> None:
    results = Results(figures={"a": {"sidecar": [2]}}, missing={"postfix": "it is not installed"})
    line = Line(words="a", measure="a", rival="postfix", times=1)
    assert line.drawn(results) == "| a | 2 | not measured (postfix) |  |"
    assert line.missed(results) == ""
    assert "Not measured: postfix (it is not installed)." in page(results)


def test_a_row_that_is_measured_again_replaces_what_was_said_of_it() -> None:
    results = Results(figures={"a": {"sidecar": [1]}, "b": {"sidecar": [2]}}, missing={"spooled": "no spool", "x": "-"})
    results.update(Results(figures={"a": {"sidecar": [3]}, "c": {"sidecar": [4]}}, conditions={"spooled": {}}))
    assert results.figures == {"a": {"sidecar": [3]}, "b": {"sidecar": [2]}, "c": {"sidecar": [4]}}
    assert results.missing == {"x": "-"}


def test_the_fleets_figures_are_shown_when_they_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.page.FLEET", tmp_path / "fleet.json")
    assert "50 sidecars" not in page(Results())
    Results(figures={"fleet: slot time used (%)": {"sidecar": [89.6]}}).save(tmp_path / "fleet.json")
    assert "| 50 sidecars with queued mail on one mailbox: slot time used (%) | 89.6 |  |  |" in page(Results())
    missed = "- 50 sidecars with queued mail on one mailbox: slot time used (%): 89.6; the goal is at least 90."
    assert missed in page(Results()).splitlines()
