"""Each promise of docs/promises.md has a test, and no test is marked with a promise that is not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import promises

MARKER = "pytest.mark.promise"


def test_each_promise_has_a_test_and_each_marker_a_promise() -> None:
    assert promises.complaints(promises.promised(), promises.marked()) == []


def test_a_promise_without_a_test_and_a_test_without_a_promise_are_found(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(f'@{MARKER}(\n    "kept", "unknown"\n)\ndef test_it(): ...\n')
    assert promises.complaints(["kept", "kept", "forgotten"], promises.marked(tmp_path)) == [
        "kept: promised twice",
        "forgotten: no test is marked with it",
        "unknown: a test is marked with it, and docs/promises.md lacks it",
    ]


@pytest.mark.parametrize(("name", "status"), [("no-such-promise", 4), ("loopback-only", 0)])
def test_pytest_refuses_a_promise_that_it_does_not_know(tmp_path: Path, name: str, status: int) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = promise\n")
    (tmp_path / "test_it.py").write_text(f'import pytest\n@{MARKER}("{name}")\ndef test_it():\n    pass\n')
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "support.promises", "test_it.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(promises.ROOT / "tests")},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == status
    assert (f"docs/promises.md has no promise {name}" in finished.stderr + finished.stdout) is bool(status)
