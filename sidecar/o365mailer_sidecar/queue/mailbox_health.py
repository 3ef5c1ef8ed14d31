"""Whether this mailbox can be believed to work: until it has taken a message again, nothing is queued for it.

A token that is refused, or a right that is missing, is healed by a person or never. A 250 for mail that then waits for
days would hide it; a 451 shows it to whoever looks at the app.
"""

from collections.abc import Callable
from typing import Final

from o365mailer_contract.replies import Outcome
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.queue import retry
from o365mailer_sidecar.upstream.blocks import NOT_ASKED, TOKEN_REFUSED
from o365mailer_sidecar.upstream.result import Result

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


# --- prospect --------------------
# What attempts so far say about the next: is Exchange there, does the mailbox let us in, when to look again.


BREATH: Final = 1.0
"""Seconds after a message that was not let through: a backlog is not to be read from disk only to be held, again and
again."""


class Prospect:
    """Shared by the courier and by who takes messages of apps. `waiting` counts messages, for the log."""

    def __init__(self, context: Context, *, waiting: Callable[[], int]) -> None:
        self.directory, self.monotonic, self.dice = context.directory, context.clock.monotonic, context.dice
        self.log, self.waiting = context.log, waiting
        self.doubt = Doubt()
        self.failures = 0
        """In a row, of the way and not of a message."""
        self.rest_until = 0.0
        """A time of the event loop."""

    @property
    def mailbox(self) -> str:
        """Whose mail it is; empty while there are no settings."""
        return self.directory.settings.mailbox if self.directory.settings else ""

    @property
    def in_doubt(self) -> bool:
        """Whether the mailbox may not work at all (`doubt`)."""
        return self.doubt.about(self.mailbox)

    def hear(self, result: Result) -> None:
        """What any attempt, an app's too, came to."""
        if result.outcome is Outcome.ACCEPTED:
            self.doubt.end()
        elif result.outcome is Outcome.UNAUTHORIZED:
            self._doubt(result.reason)
        if result.own:
            self.failures, self.rest_until = 0, 0.0

    def _doubt(self, reason: str) -> None:
        if self.doubt.grow(self.mailbox, by=PROOF if reason == TOKEN_REFUSED else 1):
            self.log.event("mailbox_in_doubt", level="error", reason=reason, waiting=self.waiting())

    def learn(self, result: Result) -> bool:
        """What one of the courier's came to; False when it found no way, and the rest wait.

        A message that was not let through is no such sign: others may be, and upstream knows when. They breathe.
        """
        self.hear(result)
        if result.reason == NOT_ASKED:
            self.rest_until = min(result.until, self.monotonic() + BREATH)
        if result.own or result.reason == NOT_ASKED:
            return True
        self.failures += 1
        self.rest_until = self.monotonic() + retry.OUTAGE.pause(self.failures, self.dice)
        return False
