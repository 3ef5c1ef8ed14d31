"""What Exchange need not see again. Pure: times in seconds are passed in.

Exchange shuts a mailbox whose errors are continuous: for everybody, for a time that nobody outside knows, and no
support lifts it (Microsoft, "Continuous error throttling for SMTP AUTH submissions"). So a message that would be
refused like a few others before it is refused here, in the words that Exchange used, and only now and then one is let
through to see whether the cause is gone.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from o365mailer_sidecar.message.address_list import canonical
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.reply import Reply

FEW: Final = 3
"""Refusals of the same until the next is refused here. How many lock a mailbox is unpublished."""

WITHIN: Final = 600.0
"""Seconds in which they count together."""

REMEMBERED: Final = (900.0, 4 * 3600.0)
"""Seconds for which it is refused here, first and longest: doubled whenever the one that is let through is refused."""

KEYS: Final = 1000
"""Messages' keys that are remembered; the oldest is forgotten first. Each is some hundred octets of memory."""


class Key(NamedTuple):
    """What messages have in common that Exchange refuses for the same reason."""

    reason: str
    what: tuple[str, ...]


@dataclass(slots=True)
class Record:
    """What is known of one key."""

    reply: Reply
    times: list[float]
    until: float = 0.0
    length: float = 0.0


class Remembered(NamedTuple):
    """A refusal that needs not be asked for, and until when."""

    reply: Reply
    until: float


def keys_of(envelope: Envelope, author: str) -> tuple[Key, ...]:
    """The keys of a message as it goes to Exchange: its two senders, each recipient, all of them where they differ."""
    senders = Key("send-as", (canonical(envelope.sender.address), canonical(author)))
    recipients = [Key("recipient", (canonical(to.address),)) for to in envelope.recipients]
    together = Key("recipient", tuple(sorted({key.what[0] for key in recipients})))
    return (senders, *recipients, *([together] if len(together.what) > 1 else ()))


class Breaker:
    """Remembers refusals of messages. What concerns the whole mailbox is `rest`'s."""

    def __init__(self) -> None:
        self.records: dict[Key, Record] = {}

    def refusal(self, keys: tuple[Key, ...], *, now: float) -> Remembered | None:
        """The refusal that a message with these keys would get.

        Of several recipients every one must be refused, or the same ones together: the others could get their mail.
        """
        found = {key: record for key in keys if (record := self.records.get(key)) and now < record.until}
        recipients = [key for key in keys if len(key.what) == 1]
        for key, record in found.items():
            if key not in recipients or all(other in found for other in recipients):
                return Remembered(record.reply, record.until)
        return None

    def suspect(self, keys: tuple[Key, ...], reason: str) -> bool:
        """Whether a message is of a class that has been refused: the same senders, a recipient, many recipients."""
        if reason == "recipients":
            return sum(key.reason == "recipient" for key in keys) > 1
        return any(key.reason == reason and key in self.records for key in keys)

    def refused(self, key: Key, reply: Reply, *, now: float) -> bool:
        """Exchange refused a message for good, for something that is `key`; True when the next is refused here."""
        record = self.records.pop(key, None) or Record(reply, [])
        self.records[key] = record  # the last is the youngest
        record.reply = reply
        record.times = [*[time for time in record.times if now - time < WITHIN][1 - FEW :], now]
        if len(record.times) < FEW and not record.length:
            self._forget()
            return False
        record.length = min(2 * record.length or REMEMBERED[0], REMEMBERED[1])
        record.until = now + record.length
        self._forget()
        return True

    def accepted(self, keys: tuple[Key, ...]) -> None:
        """Exchange has taken a message with these keys: what was known of them is over."""
        for key in keys:
            self.records.pop(key, None)

    def open(self, *, now: float) -> set[str]:
        """The reasons for which something is refused here."""
        return {key.reason for key, record in self.records.items() if now < record.until}

    def _forget(self) -> None:
        while len(self.records) > KEYS:
            del self.records[next(iter(self.records))]
