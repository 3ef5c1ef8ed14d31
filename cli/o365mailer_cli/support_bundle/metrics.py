"""A page of metrics: samples of our families with labels of known forms stay. Pure."""

import re
from typing import Final

from o365mailer_cli.relays import LABEL, LONGEST_LINE, SAMPLE
from o365mailer_cli.support_bundle.logs import OBJECT, WORDS

FAMILY: Final = re.compile(r"(o365mailer|process|python_gc)_[a-z_]{1,60}")
FORMS: Final = {
    "version": re.compile(r"\d+\.\d+\.\d+[a-z0-9.+-]{0,16}"),
    "le": re.compile(r"[0-9.e+Inf-]{1,16}"),
    "generation": re.compile(r"\d"),
    "code": re.compile(r"\d{1,3}"),
    **dict.fromkeys(("namespace", "mailer"), OBJECT),
    **dict.fromkeys(("result", "why"), re.compile(r"[a-z_]{1,16}")),
}
"""A label's name → the form of its values. `outcome`, `reason` and `path` have words alone."""
NUMBER: Final = re.compile(r"[0-9.e+-]{1,24}|[+-]?Inf|NaN")


def kept_samples(page: str) -> list[str]:
    """The samples that stay; a label of another form has the value `?`."""
    kept = []
    for line in page.splitlines():
        match = SAMPLE.match(line) if len(line) <= LONGEST_LINE else None
        if match is None or not FAMILY.fullmatch(match["name"]) or not NUMBER.fullmatch(match["value"]):
            continue
        labels = ",".join(f'{name}="{_label(name, value)}"' for name, value in LABEL.findall(match["labels"] or ""))
        kept.append(f"{match['name']}{{{labels}}} {match['value']}" if labels else f"{match['name']} {match['value']}")
    return kept


def _label(name: str, value: str) -> str:
    form = FORMS.get(name)
    if form is None:
        return value if value in WORDS else "?"
    return value if form.fullmatch(value) else "?"
