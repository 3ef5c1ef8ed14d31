"""Finds words that we do not write (words.toml). `make check` runs it.

It reads every line of docs, charts and scripts; of Python only comments and strings; of tests only comments and
docstrings, because their strings imitate what others write.
"""

import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
LIST: Final = Path(__file__).with_suffix(".toml")
READ: Final = {".md", ".py", ".toml", ".yaml", ".txt", ".tpl", ""}
"""Suffixes of files that people read."""
BEFORE_DOCSTRING: Final = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT}
STRINGS: Final = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def prose(name: str, text: str) -> Iterator[tuple[int, str]]:
    """The lines of a file that a person reads, each with its number."""
    if not name.endswith(".py"):
        yield from enumerate(text.splitlines(), 1)
        return
    before, depth = tokenize.NL, 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        depth += (token.string in "([{") - (token.string in ")]}") if token.type == tokenize.OP else 0
        docstring = token.type == tokenize.STRING and before in BEFORE_DOCSTRING and not depth
        if token.type == tokenize.COMMENT or docstring or (token.type in STRINGS and not name.startswith("tests/")):
            yield from enumerate(token.string.splitlines(), token.start[0])
        before = token.type


def complaints(name: str, text: str, instead: dict[str, str]) -> list[str]:
    """One line for each word of the list in this file's prose."""
    return [
        f"{name}:{number}: {match[0]!r}: write {better}"
        for number, line in prose(name, text)
        for pattern, better in instead.items()
        for match in re.finditer(rf"\b({pattern})\b", line, re.IGNORECASE)
    ]


def check(listed: dict[str, Any]) -> list[str]:
    """The complaints about all files that git knows."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = []
    for name in listing.stdout.splitlines():
        if Path(name).suffix in READ and not name.startswith(tuple(listed["skip"])):
            text = (ROOT / name).read_text(encoding="utf-8")
            for allowed in listed["allow"].get(name, ()):
                text = text.replace(allowed, "")
            found += complaints(name, text, listed["instead"])
    return found


if __name__ == "__main__":
    sys.exit("\n".join(check(tomllib.loads(LIST.read_text(encoding="utf-8")))) or None)
