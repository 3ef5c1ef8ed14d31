"""docs/install.md tells what the chart does: every value is in its table, every command's file exists."""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from chart.release import CHART, ROOT

DOCUMENT = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
WHOLE = {"resources", "imagePullSecrets", "nodeSelector", "affinity", "podLabels", "podAnnotations"}
"""Values that are documented as one, because their shape is Kubernetes'."""


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """The dotted name of every value."""
    for key, value in values.items():
        if isinstance(value, dict) and key not in WHOLE:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def test_every_value_of_the_chart_is_in_the_table_and_nothing_else() -> None:
    table = "\n".join(line for line in DOCUMENT.splitlines() if line.startswith("| `"))
    cells = [line.split("|")[1] + line.split("|")[3] for line in table.splitlines()]
    named = {name for cell in cells for name in re.findall(r"`([a-z][\w]*(?:\.[\w]+)*)`", cell)}
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    wanted = set(leaves(values))
    assert wanted - named == set()
    top = {name.split(".")[0] for name in wanted}
    assert {name for name in named if name.split(".")[0] in top} - wanted == set()


def test_every_file_that_the_document_names_is_there() -> None:
    named = set(re.findall(r"\b((?:examples|charts|crds|tests|locks)/[\w./-]*)", DOCUMENT))
    assert "examples/app.yaml" in named
    assert [name for name in named if not (ROOT / name.rstrip(".")).exists()] == []
