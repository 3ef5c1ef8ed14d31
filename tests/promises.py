"""Every promise of ARCHITECTURE.md has a test marked with it, or stands in its list of what is not built yet.

Run by `make check`. That list only shrinks: an id cannot come back to it.
"""

import ast
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parent.parent
DOCUMENT = "ARCHITECTURE.md"
ROW = re.compile(r"^\| ([RCWB]\d+) \| (.+) \|$", re.MULTILINE)
UNBUILT = re.compile(r"^- ([RCWB]\d+):", re.MULTILINE)


def marked(tests: pathlib.Path) -> dict[str, str]:
    """Promise id → one test that is marked with it."""
    found: dict[str, str] = {}
    for path in sorted(tests.rglob("test_*.py")):
        for promise in _marks(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(promise, str(path.relative_to(tests.parent)))
    return found


def _marks(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.promise":
            yield from (ast.literal_eval(argument) for argument in node.args)


def complaints(document: str, tests: dict[str, str], before: str | None) -> list[str]:
    """What is wrong between the document, the tests, and the document as it was (None: never committed)."""
    promised = [promise for promise, _ in ROW.findall(document)]
    unbuilt = set(UNBUILT.findall(document))
    found = [f"{promise} is promised twice" for promise in sorted({p for p in promised if promised.count(p) > 1})]
    for promise in promised:
        if promise not in tests and promise not in unbuilt:
            found.append(f"{promise} has neither a test marked with it nor a line under 'Not built yet'")
        if promise in tests and promise in unbuilt:
            found.append(f"{promise} is tested by {tests[promise]}: take it out of 'Not built yet'")
    found += [
        f"{tests[p]} is marked with {p}, which {DOCUMENT} does not promise" for p in sorted(set(tests) - set(promised))
    ]
    found += [f"'Not built yet' names {p}, which is not promised" for p in sorted(unbuilt - set(promised))]
    if before is not None and UNBUILT.search(before):
        grown = unbuilt - set(UNBUILT.findall(before))
        found += [f"{promise} came back to 'Not built yet', which only shrinks" for promise in sorted(grown)]
    return found


def _committed(revision: str) -> str | None:
    shown = subprocess.run(["git", "show", f"{revision}:{DOCUMENT}"], cwd=ROOT, capture_output=True, text=True)
    return shown.stdout if shown.returncode == 0 else None


def main() -> int:
    document = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    before = _committed("HEAD")
    if before == document:
        before = _committed("HEAD~1")
    tests = marked(ROOT / "tests")
    found = complaints(document, tests, before)
    print("\n".join(found) or f"{len(ROW.findall(document))} promises: all tested or named as not built yet")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
