"""The audit: one record a message, at its end, and the metrics that count it.

A message that waits in the spool is not at its end: an outage is a few lines, not one a message. No header, no body;
addresses only where the mailer's `logAddresses` asks for them.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from o365mailer_contract.names import EVENT_MESSAGE, OUTCOME_DEAD
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.reply import Reply, upstream_trace
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.telemetry.metrics import Metrics

SETTLED: Final = frozenset({"accepted", "refused", OUTCOME_DEAD})
"""Outcomes after which the message is not tried again."""


class MessageEnd(NamedTuple):
    """What became of one message."""

    envelope: Envelope
    outcome: str
    reply: Reply
    size: int
    """Bytes."""
    reason: str = ""
    seconds: float = 0.0
    """Since its end of data."""
    upstream: float = 0.0
    """Seconds of these that were spent with Exchange."""
    attempts: int = 1
    undelivered: int = 0
    """Recipients of a message from the spool that did not get it."""


class Audit:
    """Writes the records."""

    def __init__(self, *, log: EventLog, metrics: Metrics, addresses: Callable[[], bool]) -> None:
        self.log, self.metrics, self.addresses = log, metrics, addresses

    def ended(self, end: MessageEnd) -> None:
        """Write the record of a message that is at its end, and count it."""
        envelope, reply = end.envelope, end.reply
        self.count(end.outcome, end.reason)
        if end.outcome in SETTLED:
            self.metrics.observe("message_seconds", end.seconds)
        if end.outcome == "accepted":
            self.metrics.count("message_bytes_total", by=end.size)
        trace = upstream_trace(reply.text)
        addresses: dict[str, Any] = {}
        if self.addresses():
            to = " ".join(recipient.address for recipient in envelope.recipients)
            addresses = {"sender": envelope.sender.address, "to": to}
        self.log.event(
            EVENT_MESSAGE,
            queue_id=envelope.queue_id,
            outcome=end.outcome,
            reason=end.reason,
            code=reply.code,
            enhanced=reply.enhanced,
            size=end.size,
            recipients=len(envelope.recipients),
            undelivered=end.undelivered,
            attempts=end.attempts,
            seconds=round(end.seconds, 3),
            upstream_seconds=round(end.upstream, 3),
            exchange_host=trace.hostname,
            exchange_id=trace.identifier,
            **addresses,
        )

    def count(self, outcome: str, reason: str = "") -> None:
        """One more in the metrics, without a record."""
        self.metrics.count("messages_total", f'outcome="{outcome}"' + (f',reason="{reason}"' if reason else ""))
