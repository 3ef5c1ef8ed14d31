"""The benchmark runs, and fills its table."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.timeout(180)
def test_a_quick_run_fills_every_row_and_writes_nothing() -> None:
    results = ROOT / "benchmarks" / "results" / "latest.json"
    before = results.stat().st_mtime_ns if results.exists() else None
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=170)
    assert ended.returncode == 0, ended.stderr
    rows = [line for line in ended.stdout.splitlines() if line.endswith(" times |")]
    assert len(rows) == 7
    assert (results.stat().st_mtime_ns if results.exists() else None) == before
