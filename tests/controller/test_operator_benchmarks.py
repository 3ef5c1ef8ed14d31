"""The benchmarks of controller and webhook run, measure every row of their tables, and write nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.results import ADMISSION, CONTROLLER
from benchmarks.table import ADMISSION_LINES, CONTROLLER_LINES, Line
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
