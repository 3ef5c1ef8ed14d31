"""What `make test` makes of tests that fail: a defect is red, an accident is named, a broken session is never green."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from support.completeness import INCOMPLETE

pytestmark = pytest.mark.timeout(180)

TESTS = pathlib.Path(__file__).parents[1]
FINE = "import pytest\ndef test_a():\n    pass\n@pytest.mark.serial\ndef test_b():\n    pass\n"
FLAKY = """
import pathlib
def test_late():
    been_here = pathlib.Path('been-here')
    if not been_here.exists():
        been_here.touch()
        assert False
"""


def run(folder: pathlib.Path, *, ci: bool = False, **files: str) -> subprocess.CompletedProcess[str]:
    (folder / "tests" / "support").mkdir(parents=True)
    for name in ("run.py", "support/__init__.py", "support/completeness.py", "support/parallel.py"):
        shutil.copy(TESTS / name, folder / "tests" / name)
    plugins = "-p xdist -p support.parallel -p support.completeness"
    ini = f"[pytest]\ntestpaths = tests\npythonpath = tests\naddopts = {plugins}\nmarkers = serial\n"
    (folder / "pytest.ini").write_text(ini)
    for name, text in {"test_fine": FINE, **files}.items():
        (folder / "tests" / f"{name}.py").write_text(text)
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "O365MAILER_TEST_WORKERS": "1"}
    environment["CI"] = str(ci).lower()
    command = [sys.executable, "tests/run.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_each_test_runs_once(tmp_path: pathlib.Path) -> None:
    finished = run(tmp_path)
    assert finished.returncode == 0, finished.stdout
    assert finished.stdout.count("1 passed") == 2
    assert "--last-failed" not in finished.stdout


@pytest.mark.parametrize("ci", [False, True])
def test_what_passes_only_alone_is_green_and_named(tmp_path: pathlib.Path, ci: bool) -> None:
    finished = run(tmp_path, ci=ci, test_flaky=FLAKY)
    assert finished.returncode == 0, finished.stdout
    assert finished.stdout.splitlines()[-1] == "PASSED ONLY ALONE, mend it: tests/test_flaky.py::test_late"


def test_what_fails_twice_is_red(tmp_path: pathlib.Path) -> None:
    finished = run(tmp_path, test_flaky=FLAKY, test_broken="def test_x():\n    assert False\n")
    assert finished.returncode == 1, finished.stdout
    assert "1 failed, 1 passed" in finished.stdout
    assert "PASSED ONLY ALONE, mend it: tests/test_flaky.py::test_late" in finished.stdout


@pytest.mark.parametrize(
    "text",
    ["import no_such_module\n", "import os\nos._exit(0)\n", "raise KeyboardInterrupt\n"],
    ids=["no import", "the process ends", "interrupted"],
)
def test_a_session_that_breaks_is_red_and_runs_nothing_again(tmp_path: pathlib.Path, text: str) -> None:
    finished = run(tmp_path, test_broken=text)
    assert finished.returncode > 1, finished.stdout
    assert "--last-failed" not in finished.stdout


def test_what_passes_only_alone_hides_nothing_that_was_left_out(tmp_path: pathlib.Path) -> None:
    skipped = "import pytest\ndef test_x():\n    pytest.skip('no node')\n"
    finished = run(tmp_path, ci=True, test_flaky=FLAKY, test_skipped=skipped)
    assert finished.returncode == INCOMPLETE, finished.stdout
    assert "1 not run in .: no node" in finished.stdout


def test_many_failures_are_not_run_again(tmp_path: pathlib.Path) -> None:
    many = "import pytest\n@pytest.mark.parametrize('n', range(26))\ndef test_x(n):\n    assert False\n"
    finished = run(tmp_path, test_many=many)
    assert finished.returncode == 1
    assert "26 tests failed: too many to run them again alone" in finished.stdout
