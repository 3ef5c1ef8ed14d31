"""The mailer's file: one O365Mailer document as YAML or JSON."""

import sys
from pathlib import Path
from typing import Any, Final

import yaml

from o365mailer_cli.document import Document, decode_document
from o365mailer_cli.errors import WrongFile
from o365mailer_operator.token.errors import InvalidSpec

STANDARD_INPUT: Final = "-"
LARGEST_FILE: Final = 2**20
"""Bytes. A Kubernetes object may have no more."""


class WithoutAliases(yaml.SafeLoader):
    """YAML without aliases and repeated keys: an alias can make a small file huge, and a repeated key hides a value."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Raises ComposerError for an alias."""
        if self.check_event(yaml.AliasEvent):
            mark = parent.start_mark if parent else None
            raise yaml.composer.ComposerError(None, None, "aliases are not supported; write it out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises ConstructorError for a key that is given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_mailer(name: str) -> Document:
    """The mailer in the file `name` that is to run, or on standard input for `-`.

    Raises WrongFile, as `read_mailer` does, and if the mailer is suspended.
    """
    mailer = read_mailer(name)
    if mailer.spec.suspend:
        raise WrongFile(
            f"{_shown(name)}: spec.suspend: is true, so there is nothing to run. Set it to false, or leave it out."
        )
    return mailer


def read_mailer(name: str) -> Document:
    """The mailer in the file `name`, or on standard input for `-`.

    Raises WrongFile, whose text names the file and the line and column, or the member that is wrong.
    """
    shown = _shown(name)
    content = _content(name, shown)
    try:
        return decode_document(_parsed(content, shown))
    except RecursionError:
        raise WrongFile(f"{shown}: is nested too deeply; an O365Mailer has no more than five levels.") from None
    except InvalidSpec as error:
        raise WrongFile(f"{shown}: {error}") from None


def _shown(name: str) -> str:
    return "standard input" if name == STANDARD_INPUT else name


def _content(name: str, shown: str) -> bytes:
    try:
        if name == STANDARD_INPUT:
            if sys.stdin is None:
                raise WrongFile(f"{shown}: is closed. Name the mailer's file with -f FILE.")
            content = sys.stdin.buffer.read(LARGEST_FILE + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise WrongFile(
            f"{shown}: there is no such file. Write an O365Mailer into it (docs/run.md has one to start from)."
        ) from None
    except OSError as error:
        raise WrongFile(f"{shown}: cannot be read: {error.strerror}.") from None
    if len(content) > LARGEST_FILE:
        raise WrongFile(f"{shown}: is larger than 1 MiB; that is no O365Mailer.")
    return content


def _parsed(content: bytes, shown: str) -> Any:
    try:
        documents = [document for document in yaml.load_all(content.decode(), WithoutAliases) if document is not None]
    except UnicodeDecodeError:
        raise WrongFile(f"{shown}: is not UTF-8 text.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise WrongFile(f"{shown}: {where}{error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise WrongFile(f"{shown}: is no YAML: {str(error).splitlines()[0]}.") from None
    except (ValueError, OverflowError) as error:  # a date such as 2026-13-45, an integer that is none
        raise WrongFile(f"{shown}: a date or a number in it cannot be: {error}.") from None
    if len(documents) != 1:
        found = f"{len(documents)} documents" if documents else "nothing"
        raise WrongFile(f"{shown}: holds {found}; expected one O365Mailer.")
    return documents[0]
