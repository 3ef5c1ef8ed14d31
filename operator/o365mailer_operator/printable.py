"""Text that a user, a server or a certificate wrote, for our messages and logs."""

from typing import Final

LONGEST: Final = 100
"""Characters."""


def printable(text: str, *, longest: int | None = LONGEST) -> str:
    """The text in one line, without characters that cannot be seen: they could disguise a command that a person copies.

    No more than `longest` characters; None: as long as it is.
    """
    return "".join(letter for letter in text if letter.isprintable())[:longest]
