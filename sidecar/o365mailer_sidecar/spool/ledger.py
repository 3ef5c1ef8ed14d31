"""What a spool holds, counted: messages and octets, those on their way in included, against its limits. No I/O."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from o365mailer_sidecar.errors import SpoolFull
from o365mailer_sidecar.spool.stored import SpoolLimits, Stored


class Ledger:
    """Kept in the event loop's thread."""

    def __init__(self) -> None:
        self.limits = SpoolLimits(octets=2**29, messages=20_000)
        self.messages: dict[str, Stored] = {}
        self.octets = 0
        """Of all their files."""
        self.storing = self.reserved = 0
        """Messages on their way in, and their octets."""

    @property
    def oldest(self) -> datetime | None:
        """When the oldest message was received."""
        return min((stored.received for stored in self.messages.values()), default=None)

    def enter(self, stored: Stored) -> None:
        """One more."""
        self.messages[stored.queue_id] = stored
        self.octets += stored.octets

    def strike(self, queue_id: str) -> None:
        """One less, if it was there."""
        if stored := self.messages.pop(queue_id, None):
            self.octets -= stored.octets

    def correct(self, stored: Stored, fresh: Stored) -> None:
        """Make `stored` what its file says now."""
        if stored.queue_id in self.messages:
            self.octets += fresh.octets - stored.octets
        stored.follow(fresh)

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """For a message of that many octets, while it is stored. Raises SpoolFull."""
        messages, octets = len(self.messages), self.octets
        if messages + self.storing >= self.limits.messages:
            raise SpoolFull(f"the spool holds {messages} messages (delivery.spool.maxMessages)")
        if octets + self.reserved + size > self.limits.octets:
            raise SpoolFull(f"the spool holds {octets} of {self.limits.octets} octets (delivery.spool.maxSize)")
        self.storing += 1
        self.reserved += size
        try:
            yield
        finally:
            self.storing -= 1
            self.reserved -= size
