"""One version number: pyproject.toml has it, and every other place must say the same.

The places are found by their text, so that a new page or example cannot be forgotten.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from o365mailer_release.errors import ReleaseError

NUMBER: Final = r"(\d+\.\d+\.\d+)"
SOURCE: Final = "pyproject.toml"
PLACES: Final = (
    ("charts/o365mailer/Chart.yaml", rf"^(?:appVersion|version): {NUMBER}$"),
    ("*/Dockerfile", rf'image\.version="{NUMBER}"'),
    ("*", rf"\bo365mailer(?:-operator|-sidecar|-emulator)?[:-]{NUMBER}"),
)
"""Which files, and the text in them whose group is the version."""
READ: Final = ("README.md", "SUPPORT.md", "docs/*.md", "docs/*/*.md", "examples/*", "charts/**/*", "*/Dockerfile")
"""The files that name a version."""


@dataclass(frozen=True)
class Mention:
    """A place that says a version."""

    path: str
    line: int
    version: str


def current(root: Path) -> str:
    """The version of the project."""
    return str(tomllib.loads((root / SOURCE).read_text())["project"]["version"])


def files(root: Path) -> Iterator[Path]:
    """The files of `READ`, each once."""
    yield from sorted({path for pattern in READ for path in root.glob(pattern) if path.is_file()})


def mentions(root: Path) -> Iterator[Mention]:
    """Every place that says a version."""
    for path in files(root):
        name, text = str(path.relative_to(root)), path.read_text()
        for match in matches(name, text):
            yield Mention(name, text.count("\n", 0, match.start()) + 1, match[1])


def matches(name: str, text: str) -> Iterator[re.Match[str]]:
    """The texts in a file that say a version."""
    for pattern, expression in PLACES:
        if fnmatch(name, pattern):
            yield from re.finditer(expression, text, re.MULTILINE)


def differences(root: Path) -> list[str]:
    """One line for each place that says another version than pyproject.toml."""
    version = current(root)
    found = [
        f"{mention.path}:{mention.line} says {mention.version}, and {SOURCE} says {version}"
        for mention in mentions(root)
        if mention.version != version
    ]
    if not re.search(rf"^## {re.escape(version)} ", (root / "CHANGELOG.md").read_text(), re.MULTILINE):
        found.append(f"CHANGELOG.md has no section `## {version} - DATE`")
    return found


def check(root: Path, tag: str = "") -> str:
    """The version, if all places say the same, and the tag too (`v0.1.0`), if there is one.

    Raises:
        ReleaseError: a place or the tag says another.
    """
    version = current(root)
    if found := differences(root):
        raise ReleaseError("\n".join([*found, f"`make version VERSION={version}` writes it everywhere"]))
    if tag not in ("", f"v{version}"):
        raise ReleaseError(f"the tag is {tag}, and the version is {version}: tag the commit as v{version}")
    return version


def write(root: Path, version: str) -> list[str]:
    """Writes a version into every place; returns the files that changed.

    Raises:
        ReleaseError: it is no version.
    """
    if not re.fullmatch(NUMBER, version):
        raise ReleaseError(f"{version!r} is no version: write three numbers, such as 0.2.0 (https://semver.org)")
    source = root / SOURCE
    own = re.compile(rf'^version = "{NUMBER}"$', re.MULTILINE)
    changed = {SOURCE: own.sub(f'version = "{version}"', source.read_text())}
    for path in files(root):
        name, text = str(path.relative_to(root)), path.read_text()
        for match in sorted(matches(name, text), key=lambda match: match.start(1), reverse=True):
            text = text[: match.start(1)] + version + text[match.end(1) :]
        changed[name] = text
    written = [name for name, text in changed.items() if text != (root / name).read_text()]
    for name in written:
        (root / name).write_text(changed[name])
    return written
