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


def run(folder: pathlib.Path, *arguments: str, ci: bool = False, **files: str) -> subprocess.CompletedProcess[str]:
    (folder / "tests" / "support").mkdir(parents=True)
    for name in ("__init__", "completeness", "fast", "parallel"):
        shutil.copy(TESTS / "support" / f"{name}.py", folder / "tests" / "support")
    shutil.copy(TESTS / "run.py", folder / "tests")
    (folder / "rig" / "cluster_rig").mkdir(parents=True)
    for name in ("__init__", "releases", "errors"):
        shutil.copy(TESTS.parent / "rig" / "cluster_rig" / f"{name}.py", folder / "rig" / "cluster_rig")
    plugins = "-p xdist -p support.parallel -p support.completeness"
    markers = "  serial\n  every_release\n"
    ini = f"[pytest]\ntestpaths = tests\npythonpath = tests\naddopts = {plugins}\nmarkers =\n{markers}"
    (folder / "pytest.ini").write_text(ini)
    for name, text in {"test_fine": FINE, **files}.items():
        path = folder / "tests" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "O365MAILER_TEST_WORKERS": "1"}
    environment["CI"] = str(ci).lower()
    command = [sys.executable, "tests/run.py", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_each_test_runs_once(tmp_path: pathlib.Path) -> None:
    finished = run(tmp_path)
    assert finished.returncode == 0, finished.stdout
    assert finished.stdout.count("1 passed") == 2
    assert "--last-failed" not in finished.stdout


OF_A_RELEASE = """
import os, pytest
@pytest.fixture
def control_plane():
    return os.environ["O365MAILER_TEST_KUBERNETES"]
@pytest.fixture
def through_another(control_plane):
    return control_plane
def test_api_server(through_another):
    print("api server", through_another)
    assert through_another != "1.33"
@pytest.mark.every_release
def test_node():
    print("node", os.environ["O365MAILER_TEST_KUBERNETES"])
"""

ASKS_TOO = """
import pytest
@pytest.fixture
def control_plane():
    pass
def test_of_a_suite_that_is_not_the_products(control_plane):
    assert False
"""


def test_on_a_release_run_the_tests_that_can_depend_on_it(tmp_path: pathlib.Path) -> None:
    finished = run(
        tmp_path, "--release", "oldest", **{"chart/test_release": OF_A_RELEASE, "command/test_more": ASKS_TOO}
    )
    assert finished.returncode == 0, finished.stdout
    assert "2 passed" in finished.stdout


def test_a_failure_on_a_release_is_red(tmp_path: pathlib.Path) -> None:
    finished = run(tmp_path, "--release", "1.33", **{"chart/test_release": OF_A_RELEASE})
    assert finished.returncode == 1, finished.stdout
    assert "== Kubernetes 1.33\n" in finished.stdout
    assert "1 failed, 1 passed" in finished.stdout


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
