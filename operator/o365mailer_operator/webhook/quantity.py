"""Kubernetes quantities (`250m`, `64Mi`, `1e3`), compared by value.

The grammar is that of k8s.io/apimachinery/pkg/api/resource: a decimal number and a suffix or an exponent. Durations and
sizes of our own documents have a narrower grammar: o365mailer_contract.quantities.
"""

import re
from fractions import Fraction
from typing import Final

SUFFIXES: Final = {
    "": Fraction(1),
    **{suffix: Fraction(1, 1000**power) for power, suffix in enumerate(("m", "u", "n"), start=1)},
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", start=1)},
    **{suffix + "i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", start=1)},
}
QUANTITY: Final = re.compile(r"\+?(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})([A-Za-z]{0,2}|[eE][+-]?\d{1,2})", re.ASCII)
"""The bounded repeats keep a hostile annotation from costing more than a few microseconds."""


class InvalidQuantity(ValueError):
    """A text that the API server would not take as an amount of a resource."""


def amount(text: str | int | float) -> Fraction:
    """`"250m"` → 1/4. Never negative.

    Raises InvalidQuantity.
    """
    match = QUANTITY.fullmatch(str(text))
    if match is None:
        raise InvalidQuantity(f"{text!r} is not a quantity")
    number, suffix = match.groups()
    if suffix in SUFFIXES:
        return Fraction(number.rstrip(".")) * SUFFIXES[suffix]
    if re.fullmatch(r"[eE][+-]?\d{1,2}", suffix):
        return Fraction(number.rstrip(".")) * Fraction(10) ** int(suffix[1:])
    raise InvalidQuantity(f"{text!r} has an unknown unit")
