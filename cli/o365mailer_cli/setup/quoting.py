"""Literals of PowerShell and sh, so that no value of a mailer becomes code."""

import re
import shlex
import unicodedata
from typing import Final

_POWERSHELL_QUOTES: Final = re.compile("['\u2018\u2019\u201a\u201b]")
"""PowerShell takes typographic quotes for the plain one (about_Quoting_Rules; the tokenizer's `IsSingleQuote`)."""
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of control characters, of those that change how a line is shown, and of line breaks."""


def powershell(value: str) -> str:
    """A PowerShell verbatim string. Raises ValueError for a character that cannot be seen."""
    _check(value)
    return "'" + _POWERSHELL_QUOTES.sub(lambda quote: quote[0] * 2, value) + "'"


def sh(value: str) -> str:
    """A word of sh. Raises ValueError for a character that cannot be seen."""
    _check(value)
    return shlex.quote(value)


def filter_text(value: str) -> str:
    """A string of Exchange's filter language (OPATH), quoted: `'o''brien@contoso.com'`."""
    return "'" + value.replace("'", "''") + "'"


def comment(value: str) -> str:
    """A value for a comment of one line, in either language."""
    _check(value)
    return value


def _check(value: str) -> None:
    for character in value:
        if unicodedata.category(character) in _UNSEEN:
            raise ValueError(f"has the character U+{ord(character):04X}, which cannot be seen. Type it again.")
