"""ARCHITECTURE.md names every module of the relay and the operator, and no file or function that is not there."""

import re
import subprocess
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES = ("sidecar/o365mailer_sidecar", "operator/o365mailer_operator")
ABSENT = {"operator/__init__.py"}
"""Named because it is not there."""


def tracked() -> list[PurePosixPath]:
    """The Python files that git knows."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [PurePosixPath(line) for line in listed.stdout.splitlines()]


def named() -> set[str]:
    """The Python files in the text, by the end of their path."""
    return set(re.findall(r"[`\" ]([\w/]+\.py)\b", TEXT)) - ABSENT


def is_named(path: PurePosixPath, names: set[str]) -> bool:
    """Whether one of the names is this file's."""
    return any(path.as_posix() == name or path.as_posix().endswith(f"/{name}") for name in names)


def test_every_file_in_the_text_is_there() -> None:
    assert "relay.py" in named()
    assert [name for name in named() if not any(is_named(path, {name}) for path in tracked())] == []


def test_every_module_of_the_relay_and_the_operator_is_in_the_text() -> None:
    modules = [path for path in tracked() if path.as_posix().startswith(PACKAGES) and not path.name.startswith("__")]
    assert len(modules) > 50
    assert [path.as_posix() for path in modules if not is_named(path, named())] == []


def test_every_method_in_the_text_is_there() -> None:
    """Written as `Class.method`."""
    code = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in tracked() if "tests" not in path.parts)
    methods = re.findall(r"`([A-Z]\w+)\.(\w+)`", TEXT)
    assert ("Relay", "submit") in methods
    missing = [(one, name) for one, name in methods if f"class {one}" not in code or f"def {name}(" not in code]
    assert missing == []
