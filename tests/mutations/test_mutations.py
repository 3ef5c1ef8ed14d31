"""The code broken in named ways: each must turn a named test red.

A promise whose test stays green while the code that keeps it is gone has no test. The same tests pass on the code as it
is, in their own suites: that is the control.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = ("contract", "operator", "sidecar", "cli", "emulator")
TREE = (*SOURCES, "tests", "rig", "benchmarks", "docs", "demo", "crds", "charts", "pyproject.toml")

MUTATIONS: list[dict[str, str]] = tomllib.loads(
    (pathlib.Path(__file__).parent / "mutations.toml").read_text(encoding="utf-8")
)["mutation"]


def copy_of_the_tree(folder: pathlib.Path) -> None:
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def test_every_mutation_fits_the_code_in_one_place() -> None:
    places = {each["name"]: (ROOT / each["file"]).read_text(encoding="utf-8").count(each["old"]) for each in MUTATIONS}
    assert {name: count for name, count in places.items() if count != 1} == {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation["name"].replace(" ", "-") for mutation in MUTATIONS])
def test_a_broken_promise_turns_its_test_red(mutation: dict[str, str], tmp_path: pathlib.Path) -> None:
    copy_of_the_tree(tmp_path)
    broken = tmp_path / mutation["file"]
    text = broken.read_text(encoding="utf-8")
    broken.write_text(text.replace(mutation["old"], mutation["new"]), encoding="utf-8")

    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutation["test"]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(str(tmp_path / source) for source in SOURCES)},
        capture_output=True,
        text=True,
    )

    assert finished.returncode == pytest.ExitCode.TESTS_FAILED, finished.stdout[-3000:] + finished.stderr[-2000:]
