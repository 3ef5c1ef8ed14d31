"""The chart's README lists every value, and docs/install.md names no file or value that is not there."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from chart.release import CHART, ROOT

DOCUMENT = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
README = (CHART / "README.md").read_text(encoding="utf-8")
SCRIPT = ROOT / "charts" / "readme.py"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """The dotted name of every value that is no mapping with keys."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def ancestors(name: str) -> set[str]:
    """The value itself, and the mappings that it is in."""
    parts = name.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def test_the_readme_is_what_its_script_makes_of_the_values() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_stale_readme_and_a_value_without_a_comment_are_told(tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    chart = tmp_path / "o365mailer"
    chart.mkdir()
    for name in ("README.md", "README.md.in", "values.yaml"):
        (chart / name).write_text((CHART / name).read_text(encoding="utf-8"), encoding="utf-8")

    def check() -> str:
        return subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True).stderr

    assert check() == ""
    (chart / "values.yaml").write_text("# A new one.\nnew: 1\n", encoding="utf-8")
    assert "run charts/readme.py" in check()
    (chart / "values.yaml").write_text("new: 1\n", encoding="utf-8")
    assert "values.yaml: new has no comment above it" in check()


def test_every_value_of_the_chart_is_in_the_readme_and_nothing_else() -> None:
    rows = set(re.findall(r"^\| `([\w.]+)` \|", README, re.MULTILINE))
    wanted = set(leaves(VALUES))
    assert {name for name in wanted if not ancestors(name) & rows} == set()
    assert rows - set().union(*map(ancestors, wanted)) == set()


def test_every_value_that_the_document_names_is_there() -> None:
    tops = "|".join(VALUES)
    named = set(re.findall(rf"`((?:{tops})(?:\.\w+)*)(?::[^`]*)?`", DOCUMENT))
    named |= set(re.findall(rf"--set '?((?:{tops})[\w.]*)=", DOCUMENT))
    known = set().union(*map(ancestors, leaves(VALUES)))
    free = ("controller.podSpec.", "controller.container.", "webhook.podSpec.", "webhook.container.")
    assert "webhook.podSpec.hostNetwork" in named
    assert {name for name in named - known if not name.startswith(free)} == set()


def test_every_file_that_the_document_names_is_there() -> None:
    named = set(re.findall(r"\b((?:examples|charts|crds|tests|locks)/[\w./-]*)", DOCUMENT))
    assert "examples/app.yaml" in named
    assert [name for name in named if not (ROOT / name.rstrip(".")).exists()] == []
