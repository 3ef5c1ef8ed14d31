"""The corpus of `scan`: manifests and values as people have them in `corpus/`, each with what must be found next to it.

`python -m cli.scan_cases` in tests/ writes the expected findings anew; read the difference before you commit it.
"""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import yaml

from o365mailer_cli.main import main

CORPUS = Path(__file__).parent / "corpus"
CASES = sorted(
    path.name.removesuffix(".yaml") for path in CORPUS.glob("*.yaml") if not path.name.startswith("expected-")
)


def scan(*arguments: str) -> tuple[int, str]:
    """Exit status and standard output of `o365mailer scan`."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = main(["scan", *arguments], {})
    return status, out.getvalue()


def findings(*arguments: str) -> list[dict[str, Any]]:
    """The findings of `scan -o json`."""
    found: list[dict[str, Any]] = json.loads(scan("-o", "json", *arguments)[1])["findings"]
    return found


def expected_path(case: str) -> Path:
    """What the case must yield."""
    return CORPUS / f"expected-{case}.yaml"


def found_in_case(case: str) -> list[dict[str, Any]]:
    """What a person reads of each finding of the case: all but links, and without this machine's path."""
    path = str(CORPUS / f"{case}.yaml")
    return [
        {
            "status": one["status"],
            "subject": one["subject"].replace(path, "FILE"),
            "title": one["title"],
            "cause": one["cause"],
            "remedy": [line.replace(path, "FILE") for line in one["remedy"].splitlines()],
        }
        for one in findings("--read-secrets", "-f", path)
    ]


if __name__ == "__main__":
    for name in CASES:
        text = yaml.safe_dump(found_in_case(name), sort_keys=False, width=1000, allow_unicode=True)
        expected_path(name).write_text(text, encoding="utf-8")
