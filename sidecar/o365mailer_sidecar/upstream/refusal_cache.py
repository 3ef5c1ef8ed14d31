"""Refusals that the relay remembers: after a few of one kind it refuses the next message itself, in Exchange's words.

Exchange locks a mailbox whose errors are continuous (Microsoft, "Continuous error throttling for SMTP AUTH
submissions"). Pure: times are passed in, in seconds of the event loop.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from o365mailer_sidecar.backoff import Backoff
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.address_list import canonical
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.upstream.classify import remembered

FEW: Final = 3
"""After this many refusals of one key the relay refuses itself. Microsoft does not say how many lock a mailbox."""

WITHIN: Final = 86_400.0
"""Seconds in which they count together. An app that fails every few minutes, and goes on, is what Exchange locks."""

REMEMBERED: Final = Backoff(900.0, 4 * 3600.0)
"""For how long the relay refuses: longer each time the message that is let through afterwards is refused too."""

KEYS: Final = 1000
"""Keys that are remembered; the oldest is forgotten first. Each takes some hundred bytes of memory."""


class Key(NamedTuple):
    """A sender or recipients that Exchange may refuse, and the reason. Messages with the same key share refusals."""

    reason: str
    what: tuple[str, ...]


class Keys(NamedTuple):
    """The keys of one message as it goes to Exchange."""

    senders: Key
    """The envelope's sender and the author."""
    recipients: tuple[Key, ...]
    """In the order of the envelope."""
    together: Key
    """All recipients at once."""

    @classmethod
    def of(cls, envelope: Envelope, author: str) -> "Keys":
        """The keys of a message with this envelope, after policy."""
        recipients = tuple(Key("recipient", (canonical(to.address),)) for to in envelope.recipients)
        together = Key("recipient", tuple(sorted({key.what[0] for key in recipients})))
        return cls(Key("send-as", (canonical(envelope.sender.address), canonical(author))), recipients, together)


@dataclass(slots=True)
class Refusal:
    """The refusals of one key."""

    reply: Reply
    times: list[float]
    """When Exchange refused it: the last `FEW`, in seconds of the event loop."""
    until: float = 0.0
    pauses: int = 0


class RefusalCache:
    """Remembers refusals of messages by their keys."""

    def __init__(self) -> None:
        self.refusals: dict[Key, Refusal] = {}
        """The oldest first."""

    def check(self, keys: Keys, *, now: float) -> None:
        """Raises Refused for a message that Exchange would refuse.

        If only some of the recipients are remembered, the message goes to Exchange: the others could get their mail.
        """
        found = {
            key: refusal
            for key in (keys.senders, *keys.recipients, keys.together)
            if (refusal := self.refusals.get(key)) and now < refusal.until
        }
        for key, refusal in found.items():
            if key in (keys.senders, keys.together) or all(other in found for other in keys.recipients):
                raise Refused(remembered(refusal.reply, seconds=refusal.until - now))

    def suspects(self, keys: Keys, reason: str) -> bool:
        """Whether a message is of a class that has been refused: the same senders, a recipient, many recipients."""
        if reason == "recipients":
            return len(keys.recipients) > 1
        alike = (keys.senders,) if reason == "send-as" else (*keys.recipients, keys.together)
        return any(key in self.refusals for key in alike)

    def refused(self, key: Key, reply: Reply, *, now: float) -> bool:
        """Note that Exchange refused a message for good because of `key`. True if the next is refused here."""
        refusal = self.refusals.pop(key, None) or Refusal(reply, [])
        self.refusals[key] = refusal
        if len(self.refusals) > KEYS:
            del self.refusals[next(iter(self.refusals))]
        refusal.reply = reply
        refusal.times = [*[time for time in refusal.times if now - time < WITHIN][1 - FEW :], now]
        if len(refusal.times) < FEW and not refusal.pauses:
            return False
        refusal.pauses += 1
        refusal.until = now + REMEMBERED.pause(refusal.pauses)
        return True

    def accepted(self, *keys: Key) -> None:
        """Forget what is known of these: Exchange has accepted a message that has them."""
        for key in keys:
            self.refusals.pop(key, None)

    def open(self, *, now: float) -> set[str]:
        """The reasons for which something is refused here now."""
        return {key.reason for key, refusal in self.refusals.items() if now < refusal.until}
