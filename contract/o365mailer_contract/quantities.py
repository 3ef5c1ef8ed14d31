"""Durations and sizes as people write them: `30s`, `5m`, `35Mi`.

The custom resource, the settings document and flags use them, so that a value looks the same everywhere.
"""

import re
from functools import lru_cache
from typing import Final

SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES: Final = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}

DURATION_PATTERN: Final = r"^[0-9]+(ms|s|m|h|d)$"
SIZE_PATTERN: Final = r"^[0-9]+(Ki|Mi|Gi|k|M|G)?$"

LONGEST: Final = 20
"""Characters. Longer texts are no quantity here, and Python refuses to read numbers of thousands of digits."""


class InvalidQuantity(ValueError):
    """A text that is not a duration or a size. The message says what is expected."""


def whole(pattern: str) -> str:
    """The pattern for Python. Python's `$` also matches before a final line feed; the CRD's does not."""
    return pattern.removesuffix("$") + r"\Z"


@lru_cache(maxsize=16)  # called for every message, with the same few settings
def seconds(text: str) -> float:
    """`"30s"` → 30.0. One whole number and one unit of ms, s, m, h, d.

    Raises InvalidQuantity.
    """
    return _parse(text, DURATION_PATTERN, SECONDS, "a duration such as 10s, 5m or 24h")


def byte_count(text: str) -> int:
    """`"35Mi"` → 36700160. One whole number, and a unit of Ki, Mi, Gi (powers of 2) or k, M, G (powers of 10) or none.

    Raises InvalidQuantity.
    """
    return int(_parse(text, SIZE_PATTERN, BYTES, "a size such as 35Mi or 500Ki"))


def _parse(text: str, pattern: str, units: dict[str, float] | dict[str, int], expected: str) -> float:
    if len(text) > LONGEST or not re.fullmatch(pattern, text, re.ASCII):
        raise InvalidQuantity(f"{text[:LONGEST]!r} is not {expected}")
    number = text.rstrip("".join({letter for unit in units for letter in unit}))
    return int(number) * units[text[len(number) :]]
