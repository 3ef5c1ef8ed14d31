"""Whether Exchange lets the mailbox in, and when the scheduler looks again: what all attempts so far say.

A token that is refused, or a right that is missing, is healed by a person or never. A 250 for mail that then waits for
days would hide it; a 451 shows it to the person who looks at the app. So while the mailbox is in doubt, nothing is
queued for it until it has accepted a message.
"""

from collections.abc import Callable
from typing import Final

from o365mailer_contract.replies import Outcome
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.queue import retry
from o365mailer_sidecar.upstream.blocks import NOT_ASKED, TOKEN_REFUSED
from o365mailer_sidecar.upstream.result import Result

PROOF: Final = 2
"""430 of a mailbox that works comes once and goes (a backend restarts); twice in a row it is a missing right."""

GAP: Final = 1.0
"""Seconds after a message that was not let through: the spool is not read from disk only to be held back, again and
again."""


class MailboxHealth:
    """Shared by the scheduler and the queue acceptor. `waiting` counts messages, for the log."""

    def __init__(self, context: Context, *, waiting: Callable[[], int]) -> None:
        self.directory, self.monotonic, self.dice = context.directory, context.clock.monotonic, context.dice
        self.log, self.waiting = context.log, waiting
        self.doubted = ""
        """The mailbox that `refusals` are counted for."""
        self.refusals = 0
        """Of the mailbox as such, since it last accepted a message."""
        self.failures = 0
        """In a row, of the way and not of a message."""
        self.paused_until = 0.0
        """A time of the event loop."""

    @property
    def in_doubt(self) -> bool:
        """Whether the mailbox may not work at all."""
        return self.refusals >= PROOF and self._mailbox == self.doubted

    @property
    def _mailbox(self) -> str:
        return self.directory.settings.mailbox if self.directory.settings else ""

    def hear(self, result: Result) -> None:
        """What any attempt, an app's too, came to."""
        if result.outcome is Outcome.ACCEPTED:
            self.refusals = 0
        elif result.outcome is Outcome.UNAUTHORIZED:
            self._refused(result.reason)
        if result.own:
            self.failures, self.paused_until = 0, 0.0

    def _refused(self, reason: str) -> None:
        if self._mailbox != self.doubted:
            self.doubted, self.refusals = self._mailbox, 0
        before = self.in_doubt
        self.refusals += PROOF if reason == TOKEN_REFUSED else 1
        if self.in_doubt and not before:
            self.log.event("mailbox_in_doubt", level="error", reason=reason, waiting=self.waiting())

    def learn(self, result: Result) -> bool:
        """What an attempt of the scheduler came to. False if it found no way to Exchange, and the others wait.

        A message that was not let through is no such sign: others may be, and upstream knows when.
        """
        self.hear(result)
        if result.reason == NOT_ASKED:
            self.paused_until = min(result.until, self.monotonic() + GAP)
        if result.own or result.reason == NOT_ASKED:
            return True
        self.failures += 1
        self.paused_until = self.monotonic() + retry.OUTAGE.pause(self.failures, self.dice)
        return False
