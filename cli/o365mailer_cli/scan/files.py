"""Reads what a scan looks at from files: rendered manifests, Helm values, and configuration files."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from o365mailer_cli.errors import WrongFile
from o365mailer_cli.scan.inventory import Inventory

STANDARD_INPUT: Final = "-"
LARGEST_FILE: Final = 32 * 2**20
"""Bytes. What `helm template` prints for a large platform is below."""
MOST_FILES: Final = 20_000
_SUFFIXES: Final = frozenset(
    {".yaml", ".yml", ".json", ".env", ".ini", ".conf", ".cfg", ".cnf", ".properties", ".toml", ".php", ".rb", ".py"}
    | {".xml", ".sh", ".tpl", ".config"}
)
_SKIPPED: Final = frozenset({".git", ".svn", "node_modules", ".venv", "__pycache__", ".tox"})
_DEEPEST: Final = 100
_SEPARATOR: Final = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)
_OBJECT: Final = tuple(
    re.compile(rf"(?:^|[{{,\s]){member}\s{{0,9}}:") for member in ("[\"']?kind[\"']?", "[\"']?apiVersion[\"']?")
)
_Loader: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def read_files(names: list[str], *, secrets: bool) -> Inventory:
    """The inventory of files and folders; `-` is standard input. Raises WrongFile."""
    inventory = Inventory()
    for name in names:
        if name == STANDARD_INPUT:
            _add_text(inventory, "standard input", _standard_input(), secrets=secrets)
            continue
        path = Path(name)
        if not path.exists():
            raise WrongFile(
                f"{name}: there is no such file or folder. Name a manifest, Helm values or a folder with -f."
            )
        given = path.is_file()
        for each in [path] if given else _below(path, inventory):
            content = _content(each, inventory, given=given)
            if content is not None:
                _add_text(inventory, str(each), content, secrets=secrets)
    return inventory


def _standard_input() -> str:
    if sys.stdin is None:
        raise WrongFile("standard input: is closed. Name a file or folder with -f.")
    content = sys.stdin.buffer.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise WrongFile("standard input: is larger than 32 MiB. Scan the files one by one.")
    return content.decode(errors="replace")


def _below(folder: Path, inventory: Inventory) -> Iterator[Path]:
    """The files below a folder whose suffix says text, in order. Links to folders are not followed."""
    count = 0
    for directory, folders, names in os.walk(folder, onerror=lambda error: inventory.unread.append(_why(error))):
        folders[:] = sorted(one for one in folders if one not in _SKIPPED)
        for name in sorted(names):
            if Path(name).suffix.lower() in _SUFFIXES or name.startswith(".env"):
                count += 1
                if count > MOST_FILES:
                    inventory.unread.append(f"{folder} has more than {MOST_FILES} files: scan its folders one by one.")
                    return
                yield Path(directory) / name


def _content(path: Path, inventory: Inventory, *, given: bool) -> str | None:
    """The text of a file; None, and a note, if it cannot be read. A file that the user named has to be readable."""
    try:
        if not path.is_file():  # a pipe would block
            return None
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        if given:
            raise WrongFile(f"{path}: cannot be read: {error.strerror}.") from None
        inventory.unread.append(_why(error))
        return None
    if len(content) > LARGEST_FILE:
        inventory.unread.append(f"{path} is larger than 32 MiB and was not read.")
        return None
    return content.decode(errors="replace")


def _why(error: OSError) -> str:
    return f"{error.filename} cannot be read: {error.strerror}."


def _add_text(inventory: Inventory, name: str, text: str, *, secrets: bool) -> None:
    """Take in each Kubernetes object of the text. The rest is a text of its own, and its lines keep their numbers."""
    rest, start = [], 0
    bounds = [*((match.start(), match.end()) for match in _SEPARATOR.finditer(text)), (len(text), len(text))]
    for stop, following in bounds:
        part = text[start:stop]
        found = _object(part) if all(one.search(part) for one in _OBJECT) else None
        taken = found is not None and inventory.add(found, secrets=secrets)
        rest.append("\n" * part.count("\n") if taken else part)
        start = following
    remaining = "".join(rest)
    if remaining.strip():
        inventory.texts.append((name, remaining))


def _object(text: str) -> dict[str, Any] | None:
    """The mapping in a YAML or JSON document; None for anything else, also for what is broken or deeply nested.

    Values stay texts (no dates, no numbers). An alias shares its value, so that it costs nothing. The depth is counted
    first, because libyaml's loader is recursive and would end the process.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                return None
        found = yaml.load(text, Loader=_Loader)  # noqa: S506 - the base loader makes texts, lists and mappings only
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
