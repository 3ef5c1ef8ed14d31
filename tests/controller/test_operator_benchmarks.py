"""The benchmarks of controller and webhook run, measure every row of their tables, and write nothing."""

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from benchmarks.controller import Stand, run_rows
from benchmarks.mailers import office365
from benchmarks.results import ADMISSION, CONTROLLER, Results
from benchmarks.table import ADMISSION_LINES, CONTROLLER_LINES, OPERATOR, Line
from cluster_rig import programs, releases
from support.cluster_fixtures import PREPARATIONS, need
from support.rendered_chart import build_helm

ROOT = Path(__file__).parents[2]


def build() -> None:
    """Builds the programs of a control plane, and Helm."""
    programs.build(programs.CONTROL_PLANE, releases.chosen())
    build_helm()


PREPARATIONS.update(programs_built=build)


@pytest.fixture
def programs_built() -> None:
    """What the benchmarks start is there."""
    need("programs_built")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "lines"), [("controller", CONTROLLER_LINES), ("admission", ADMISSION_LINES)])
@pytest.mark.usefixtures("programs_built")
def test_a_quick_run_measures_every_row_and_writes_nothing(name: str, lines: tuple[Line, ...]) -> None:
    kept = {path: path.read_bytes() if path.exists() else b"" for path in (CONTROLLER, ADMISSION)}
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=290)
    assert ended.returncode == 0, ended.stderr
    rows = ended.stdout.splitlines()[2:]
    assert len(rows) == len(lines)
    assert not [row for row in rows if "| not measured |" in row]
    assert kept == {path: path.read_bytes() if path.exists() else b"" for path in kept}


async def works(stand: Stand) -> None:
    """A row that is measured."""
    stand.results.add("a figure", OPERATOR, 1)


async def fails(_: Stand) -> None:
    """A row that fails."""
    raise AssertionError("3 of 12 mailers are Ready after 900 s\nand the log of a program")


def measured(folder: Path, **rows: bool) -> Results:
    """What a run of these rows brings; each works, or fails."""
    with office365(folder, mailers=1, applications=1) as emulator:
        stand = cast("Stand", SimpleNamespace(results=Results(), emulator=emulator))
        asyncio.run(run_rows(stand, {name: works if well else fails for name, well in rows.items()}, rows))
    return stand.results


def test_a_row_that_fails_is_missing_until_it_is_measured_and_the_others_are_kept(tmp_path: Path) -> None:
    results = measured(tmp_path, ready=True, steady=False, restart=True)
    assert results.of("a figure", OPERATOR) == [1, 1]
    assert results.missing == {"steady": "3 of 12 mailers are Ready after 900 s"}
    results.update(measured(tmp_path, ready=True, steady=True))
    assert results.missing == {}


def test_no_row_is_measured_without_mailers_that_are_ready(tmp_path: Path) -> None:
    results = measured(tmp_path, ready=False, steady=True)
    assert results.figures == {}
    assert results.missing["steady"] == "its mailers are not there: row ready failed"
