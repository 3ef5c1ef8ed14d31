"""Application rights in a token that mail does not need. Pure; the controller and `check` share the words."""

from collections.abc import Iterable
from typing import Final

from o365mailer_operator.exchange.objects import PERMISSION
from o365mailer_operator.printable import printable

SHOWN: Final = 10
"""Rights that a text names: they come from a claim, which Entra writes, or a test server in its place."""

CAUSE: Final = "A person who gets hold of the token may use all of them, in the whole tenant."
REMEDY: Final = "Remove these API permissions of the app registration in Entra, and their admin consent."


def excess_rights(roles: Iterable[str] | None) -> tuple[str, ...]:
    """Every right but the one to send mail by SMTP, in order. Such as `Mail.Send` and `full_access_as_app`."""
    return tuple(sorted(role for role in roles or () if role != PERMISSION))


def more_rights(excess: tuple[str, ...]) -> str:
    """In words, for the middle of a sentence."""
    named = ", ".join(printable(role) for role in excess[:SHOWN])
    return f"the token has more rights than mail needs: {named}{' and others' if len(excess) > SHOWN else ''}"


def excess_note(excess: tuple[str, ...]) -> str:
    """With the remedy, for a condition and an Event."""
    text = more_rights(excess)
    return f"{text[0].upper()}{text[1:]}. {REMEDY}"
