"""The mails that each program sends, and how the emulator answers. Data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

RECIPIENT: Final = "a@example.com"
OTHER: Final = "b@example.com"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One mail."""

    name: str
    heading: str
    """The heading of its column in docs/apps.md."""
    text: str = "A text.\n"
    """The body, with LF at the end of its lines."""
    recipients: tuple[str, ...] = (RECIPIENT,)
    attachment: int = 0
    """Bytes."""
    login: bool = False
    starttls: bool = False
    """The program is configured to require STARTTLS."""
    away: bool = False
    """Nothing listens on the address of Office 365."""
    rule: Mapping[str, Any] = field(default_factory=dict)
    """What the emulator does (docs/emulator.md, "Make it fail")."""
    code: int = 250
    """The code of the deciding reply."""
    words: str = ""
    """A part of the reply's text. A program's report that contains it tells the reason."""
    arrives: tuple[tuple[str, ...], ...] = ()
    """The recipients that one message may have arrived for; empty: nothing may arrive."""


DELIVERED: Final = (
    Scenario(name="eight-bit", heading="8-bit text", text="Grüße aus Köln\nÄpfel: 100 €\n", arrives=((RECIPIENT,),)),
    Scenario(
        name="utf8-address", heading="UTF-8 address", recipients=("jörg@example.com",), arrives=(("jörg@example.com",),)
    ),
    Scenario(name="attachment", heading="10 MiB attached", attachment=10 * 2**20, arrives=((RECIPIENT,),)),
    Scenario(name="long-line", heading="5,000-byte line", text="x" * 5000 + "\nend\n", arrives=((RECIPIENT,),)),
    Scenario(name="dots", heading="dot lines", text=".\n..\nbetween\n.x\n\n.\nend\n", arrives=((RECIPIENT,),)),
    Scenario(name="login", heading="with a login", login=True, arrives=((RECIPIENT,),)),
)
"""Mails that must arrive as they were sent, unless the program itself refuses to send them."""

REFUSED: Final = (
    Scenario(
        name="one-refused-here",
        heading="one of two recipients refused by the sidecar (550)",
        recipients=(RECIPIENT, "x@elsewhere.example"),
        code=550,
        words="allowedDomains",
        arrives=((RECIPIENT,),),
    ),
    Scenario(
        name="one-refused-there",
        heading="one of two recipients refused by Exchange (550)",
        recipients=(RECIPIENT, OTHER),
        rule={"step": "rcpt", "match": OTHER, "reply": "550 5.1.10 Recipient not found", "times": None},
        code=550,
        words="Recipient not found",
    ),
    Scenario(
        name="deferred",
        heading="451",
        rule={"step": "body", "reply": "451 4.7.0 Temporary server error. Please try again later", "times": None},
        code=451,
        words="Temporary server error",
    ),
    Scenario(
        name="rejected",
        heading="554",
        rule={"step": "body", "reply": "554 5.6.0 Corrupt message content", "times": None},
        code=554,
        words="Corrupt message content",
    ),
    Scenario(name="away", heading="Office 365 away (451)", away=True, code=451, words="Office 365 cannot be reached"),
    Scenario(name="starttls", heading="set to require STARTTLS", starttls=True, code=502, words="turn STARTTLS off"),
)
"""Mails whose refusal the app must be told."""

PLAIN: Final = Scenario(name="plain", heading="", arrives=((RECIPIENT,),))
"""Nothing of note."""

SCENARIOS: Final = DELIVERED + REFUSED
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}
