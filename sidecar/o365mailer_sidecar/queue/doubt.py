"""Whether this mailbox can be believed to work: until it has taken a message again, nothing is queued for it.

A token that is refused, or a right that is missing, is healed by a person or never. A 250 for mail that then waits for
days would hide it; a 451 shows it to whoever looks at the app.
"""

from typing import Final

PROOF: Final = 2
"""430 of a mailbox that may be used comes once and goes (a backend restarts); twice in a row it is a missing right."""


class Doubt:
    """Counts refusals of one mailbox since it last took a message."""

    def __init__(self) -> None:
        self.mailbox = ""
        self.count = 0

    def grow(self, mailbox: str, *, by: int = 1) -> bool:
        """It has been refused as such; True when that makes enough of it, and there was not."""
        if mailbox != self.mailbox:
            self.mailbox, self.count = mailbox, 0
        before = self.about(mailbox)
        self.count += by
        return self.about(mailbox) and not before

    def end(self) -> None:
        """It has taken a message."""
        self.count = 0

    def about(self, mailbox: str) -> bool:
        """Whether there is enough of it."""
        return self.count >= PROOF and mailbox == self.mailbox
