#!/usr/bin/env python3
"""Writes the chart's README.md from the comments of values.yaml. With --check it only says whether the page is stale.

A value's description is the comment above it. A mapping with comments inside is a section of values; a mapping without
is one value, because its shape is Kubernetes' or the user's own. README.md.in has the text around the tables.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "o365mailer"
PLACE = "{{ values }}"
KEY = re.compile(r"^( *)([A-Za-z]\w*):")


class ReadmeError(Exception):
    """values.yaml has a comment that is missing or unfit."""


@dataclass
class Node:
    """One key of values.yaml: its dotted name, its default, the comment above it, and what is below it."""

    name: str
    default: Any
    comment: str
    children: list["Node"] = field(default_factory=list)

    @property
    def is_section(self) -> bool:
        """Whether the keys below are values of their own."""
        return any(child.comment for child in self.children)


def parse(text: str) -> list[Node]:
    """The top-level keys. Comments belong to the key after them; an empty line ends a comment that belongs to none."""
    values = yaml.safe_load(text)
    tops: list[Node] = []
    path: list[tuple[int, Node]] = []
    comment: list[str] = []
    for line in text.splitlines():
        found = KEY.match(line)
        if line.strip().startswith("#"):
            comment.append(line.strip().removeprefix("#").strip())
        elif not line.strip():
            comment = []
        elif found:
            depth = len(found[1])
            path = [(outer, node) for outer, node in path if outer < depth]
            parent = path[-1][1] if path else None
            default = (parent.default if parent else values)[found[2]]
            name = f"{parent.name}.{found[2]}" if parent else found[2]
            node = Node(name, default, " ".join(comment))
            (parent.children if parent else tops).append(node)
            path.append((depth, node))
            comment = []
    return tops


def values_of(node: Node) -> Iterator[Node]:
    """The values of a section, those of sections in it included."""
    for child in node.children:
        yield from values_of(child) if child.is_section else [child]


def shown(default: Any) -> str:
    """A default as a cell has it."""
    if default == "":
        return ""
    if isinstance(default, str):
        return f"`{default}`"
    text = yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
    return f"`{text}`"


def table(nodes: list[Node]) -> Iterator[str]:
    """Lines of a table of values.

    Raises:
        ReadmeError: a value has no comment, or one that no table can hold.
    """
    yield "| Value | Default | |"
    yield "|---|---|---|"
    for node in nodes:
        if not node.comment:
            raise ReadmeError(f"values.yaml: {node.name} has no comment above it")
        if "|" in node.comment:
            raise ReadmeError(f"values.yaml: the comment of {node.name} has a |, which ends a cell of the table")
        yield f"| `{node.name}` | {shown(node.default)} | {node.comment} |"


def sections(tops: list[Node]) -> Iterator[str]:
    """The whole reference: values of no section first."""
    yield from table([node for node in tops if not node.is_section])
    for top in tops:
        if top.is_section:
            yield from ("", f"### {top.name}", "", top.comment, "", *table(list(values_of(top))))


def page() -> str:
    """What README.md must be."""
    text = (CHART / "README.md.in").read_text(encoding="utf-8")
    before, after = text.split(PLACE)
    tops = parse((CHART / "values.yaml").read_text(encoding="utf-8"))
    return before + "\n".join(sections(tops)) + after


def main() -> int:
    """0 if the page is as values.yaml says, or was written."""
    target = CHART / "README.md"
    wanted = page()
    if "--check" not in sys.argv[1:]:
        target.write_text(wanted, encoding="utf-8")
    elif not target.exists() or target.read_text(encoding="utf-8") != wanted:
        print(f"{target.name} of the chart is not what values.yaml says: run charts/readme.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
