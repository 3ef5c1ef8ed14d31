"""docs/promises.md and the tests agree: `make check` compares both ways, and pytest refuses a marker that it lacks."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| .+ \|$", re.MULTILINE)
MARKER = re.compile(r"mark\.promise\(([^)]*)\)")


def promised() -> list[str]:
    """The names in the first column of docs/promises.md."""
    return ROW.findall((ROOT / "docs" / "promises.md").read_text(encoding="utf-8"))


def marked(tests: Path = ROOT / "tests") -> set[str]:
    """The names that the tests' markers hold."""
    markers = (MARKER.findall(path.read_text(encoding="utf-8")) for path in tests.rglob("test_*.py"))
    return {name for found in markers for marker in found for name in re.findall(r'"([^"]*)"', marker)}


def complaints(promises: list[str], tests: set[str]) -> list[str]:
    """What is wrong; empty if each promise stands there once and has a test, and each marker names a promise."""
    return [
        *(f"{name}: promised twice" for name in sorted(set(promises)) if promises.count(name) > 1),
        *(f"{name}: no test is marked with it" for name in sorted(set(promises) - tests)),
        *(f"{name}: a test is marked with it, and docs/promises.md lacks it" for name in sorted(tests - set(promises))),
    ]


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    known = set(promised())
    for item in items:
        for marker in item.iter_markers("promise"):
            if unknown := set(marker.args) - known:
                raise pytest.UsageError(f"{item.nodeid}: docs/promises.md has no promise {', '.join(sorted(unknown))}")


if __name__ == "__main__":
    sys.exit("\n".join(complaints(promised(), marked())) or None)
