"""What the layout must never become."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_the_folder_operator_never_shadows_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    shown = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.eq(1, 1))"], cwd=ROOT, capture_output=True, text=True
    )
    assert shown.stdout == "True\n"


def test_the_locks_carry_hashes_and_no_index() -> None:
    locks = sorted((ROOT / "locks").glob("*.txt"))
    assert len(locks) == 9
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert "--hash=sha256:" in text, lock
        assert "http" not in text.replace("httptools", "").replace("aiohttp", ""), lock
