"""In CI a run that left something out fails, and says what."""

import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

TESTS = pathlib.Path(__file__).parents[1]

LEFT_OUT = {
    "skip": "import pytest\ndef test_a():\n    pytest.skip('no node')\n",
    "expected failure": "import pytest\n@pytest.mark.xfail\ndef test_a():\n    assert False\n",
    "unexpected success": "import pytest\n@pytest.mark.xfail\ndef test_a():\n    pass\n",
}


def run(folder: pathlib.Path, text: str, *arguments: str, ci: bool = True) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "support.completeness", *arguments, "test_it.py"],
        cwd=folder,
        env=os.environ | {"CI": str(ci).lower(), "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_ci_fails_on_what_is_left_out(tmp_path: pathlib.Path, kind: str) -> None:
    finished = run(tmp_path, LEFT_OUT[kind])
    assert finished.returncode == 1
    assert "left out, which CI refuses" in finished.stdout


def test_ci_fails_on_a_deselected_test(tmp_path: pathlib.Path) -> None:
    finished = run(tmp_path, "def test_a():\n    pass\ndef test_b():\n    pass\n", "-k", "test_a")
    assert finished.returncode == 1
    assert "1 not run in .: deselected" in finished.stdout


def test_a_complete_run_passes_in_ci(tmp_path: pathlib.Path) -> None:
    assert run(tmp_path, "def test_a():\n    pass\n").returncode == 0


def test_every_suite_has_its_least_number_of_tests() -> None:
    suites = {file.relative_to(TESTS).parts[0] for file in TESTS.glob("*/**/test_*.py")}
    minimums = tomllib.loads((TESTS / "minimums.toml").read_text(encoding="utf-8"))
    assert minimums.keys() == suites


def test_elsewhere_what_is_left_out_is_named_and_no_failure(tmp_path: pathlib.Path) -> None:
    finished = run(tmp_path, LEFT_OUT["skip"], ci=False)
    assert finished.returncode == 0
    assert "left out on this machine" in finished.stdout
    assert "1 in .: no node" in finished.stdout
