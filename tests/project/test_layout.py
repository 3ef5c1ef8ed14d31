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


def test_a_suite_with_fixtures_of_its_package_is_a_package() -> None:
    """In another folder pytest keeps such a fixture to the end of the session, while later suites run."""
    with_fixtures = [
        path.parent
        for path in (ROOT / "tests").glob("*/conftest.py")
        if 'scope="package"' in path.read_text(encoding="utf-8")
    ]
    assert with_fixtures
    assert [folder.name for folder in with_fixtures if not (folder / "__init__.py").exists()] == []
