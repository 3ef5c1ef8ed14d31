"""Whether upstream is worth asking: what the last attempts said. Pure; the time is passed in, in seconds."""

from dataclasses import dataclass
from typing import Final

from o365mailer_sidecar.reply import Reply

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 5.0
"""Seconds: without a spool a pause only answers sooner, and an app that asks after it is the probe."""

TOKEN_PAUSE: Final = 60.0
"""Seconds until a refused token is offered again: refused AUTHs count against the mailbox."""

LONGEST_TOKEN_PAUSE: Final = 900.0
"""The same after many: a right that is missing is given by a person, and takes half an hour to be known everywhere."""

TRIES: Final = 3
"""Refusals in a row after which the pause doubles with each."""


NOT_READY: Final = "not-ready"
TOKEN_REFUSED: Final = "token-refused"
NOT_ASKED: Final = "mailbox-held"
AWAY: Final = "away"
"""Why Exchange has not seen a message: there is no mailer or no token, it does not let this mailbox in, the mailbox
rests, it cannot be reached. The words are those of the log and the metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why an attempt would be pointless now."""

    reason: str
    """One of the words above."""
    reply: Reply
    """For an app that has no spool between."""
    until: float
    """A time of the event loop in seconds; infinity: until the mailer directory changes."""


class Availability:
    """After a connection that failed, the next is tried after a pause that doubles; in between, nobody waits."""

    def __init__(self) -> None:
        self.reason = ""
        self.pause = 0.0
        self.until = 0.0

    def failed(self, reason: str, *, now: float) -> bool:
        """Note a failure; True when it is news."""
        news = reason != self.reason
        self.reason = reason
        self.pause = min(max(2 * self.pause, FIRST_PAUSE), LONGEST_PAUSE)
        self.until = now + self.pause
        return news

    def succeeded(self) -> bool:
        """Note a success; True when it is news."""
        news = bool(self.reason)
        self.reason, self.pause, self.until = "", 0.0, 0.0
        return news

    def away(self, *, now: float) -> str:
        """Why nobody should wait now; empty when an attempt is due."""
        return self.reason if now < self.until else ""


class RefusedTokens:
    """The last token that was refused, and when."""

    def __init__(self) -> None:
        self.token = ""
        self.answer = ""
        self.until = 0.0
        self.times = 0

    def refused(self, token: str, answer: str, *, now: float) -> bool:
        """Note a refusal; True when it is news."""
        news = (token, answer) != (self.token, self.answer)
        self.times += 1
        pause = min(TOKEN_PAUSE * 2.0 ** min(max(self.times - TRIES, 0), 10), LONGEST_TOKEN_PAUSE)
        self.token, self.answer, self.until = token, answer, now + pause
        return news

    def accepted(self) -> None:
        """Note that a token was taken."""
        self.token = self.answer = ""
        self.times = 0

    def answer_for(self, token: str, *, now: float) -> str:
        """What was said to this token, while it must not be offered again; otherwise empty."""
        return self.answer if token == self.token and now < self.until else ""
