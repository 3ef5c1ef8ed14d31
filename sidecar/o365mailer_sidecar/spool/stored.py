"""What the spool knows of a message while its octets are on disk: little, because there may be thousands."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from o365mailer_sidecar.spool.record import Event, Header


@dataclass(slots=True, eq=False)
class Stored:
    """One message; about 400 octets of memory. The spool changes it in place."""

    queue_id: str
    received: datetime
    size: int
    """Octets of the message."""
    octets: int
    """Of its file."""
    recipients: int
    """Still due."""
    refused: int = 0
    """Refused for good."""
    attempts: int = 0
    due: datetime | None = None
    """When the next attempt may be made; None: at once."""
    held: bool = False
    """By hand: not to be attempted until it is released."""

    def follow(self, fresh: "Stored") -> None:
        """Stand as the other does."""
        self.octets, self.recipients, self.refused = fresh.octets, fresh.recipients, fresh.refused
        self.attempts, self.due, self.held = fresh.attempts, fresh.due, fresh.held


class Changes(NamedTuple):
    """What was changed by hand."""

    appeared: list[Stored]
    changed: list[Stored]
    """The same objects as before."""
    gone: list[Stored]


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """What the spool may hold."""

    octets: int
    messages: int


@dataclass(slots=True)
class Standing:
    """How a message stands after what happened to it."""

    attempts: int = 0
    due: datetime | None = None
    held: bool = False
    accepted: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    last: Event | None = None

    @classmethod
    def after(cls, events: Iterable[Event]) -> "Standing":
        """All of them, in the order of their lines."""
        standing = cls()
        for event in events:
            standing.follow(event)
        return standing

    def follow(self, event: Event) -> None:
        """One more."""
        self.last = event
        self.attempts += event.event == "attempt"
        self.due = event.due or self.due
        self.accepted.update(event.accepted)
        self.refused.update(event.refused)
        if event.event == "hold":
            self.held = True
        elif event.event in ("release", "retry"):
            self.held, self.due = False, event.at
        if event.event == "retry":  # a dead letter is tried again for those who were refused
            self.refused.clear()

    @property
    def settled(self) -> set[str]:
        """Who is not due any more."""
        return self.accepted.union(self.refused)

    def stored(self, header: Header, *, octets: int) -> Stored:
        """What is kept in memory of a message that stands so; `octets` of its file."""
        return Stored(
            queue_id=header.queue_id,
            received=header.received,
            size=header.size,
            octets=octets,
            recipients=sum(to.address not in self.settled for to in header.recipients),
            refused=sum(to.address in self.refused for to in header.recipients),
            attempts=self.attempts,
            due=self.due,
            held=self.held,
        )
