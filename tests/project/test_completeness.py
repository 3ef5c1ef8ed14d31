"""In CI a run that left something out fails, and says what."""

import os
import pathlib
import subprocess
import sys

import pytest
from support.completeness import INCOMPLETE

TESTS = pathlib.Path(__file__).parents[1]

LEFT_OUT = {
    "skip": "import pytest\ndef test_a():\n    pytest.skip('no node')\n",
    "expected failure": "import pytest\n@pytest.mark.xfail\ndef test_a():\n    assert False\n",
    "unexpected success": "import pytest\n@pytest.mark.xfail\ndef test_a():\n    pass\n",
    "skipped file": "import pytest\npytest.skip('no node', allow_module_level=True)\n",
}


def run(folder: pathlib.Path, text: str, *arguments: str, ci: bool = True) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = .\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "support.completeness", *arguments],
        cwd=folder,
        env=os.environ | {"CI": str(ci).lower(), "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_ci_fails_on_what_is_left_out(tmp_path: pathlib.Path, kind: str) -> None:
    finished = run(tmp_path, LEFT_OUT[kind])
    assert finished.returncode != 0
    assert "left out, which CI refuses" in finished.stdout


def test_ci_fails_on_a_deselected_test(tmp_path: pathlib.Path) -> None:
    finished = run(tmp_path, "def test_a():\n    pass\ndef test_b():\n    pass\n", "-k", "test_a")
    assert finished.returncode == INCOMPLETE
    assert "1 not run in .: deselected" in finished.stdout


def test_a_complete_run_passes_in_ci(tmp_path: pathlib.Path) -> None:
    assert run(tmp_path, "def test_a():\n    pass\n").returncode == 0


def test_ci_fails_on_a_file_without_a_test_when_everything_runs(tmp_path: pathlib.Path) -> None:
    (tmp_path / "test_none.py").write_text("def tset_a():\n    pass\n")
    finished = run(tmp_path, "def test_a():\n    pass\n")
    assert finished.returncode == INCOMPLETE
    assert "1 not run in test_none.py: no test in it" in finished.stdout
    assert run(tmp_path, "def test_a():\n    pass\n", "test_it.py").returncode == 0


def test_elsewhere_what_is_left_out_is_named_and_no_failure(tmp_path: pathlib.Path) -> None:
    finished = run(tmp_path, LEFT_OUT["skip"], ci=False)
    assert finished.returncode == 0
    assert "left out on this machine" in finished.stdout
    assert "1 not run in .: no node" in finished.stdout
