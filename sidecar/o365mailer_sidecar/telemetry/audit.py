"""The audit: one record a message, at its end, and the metrics that count it.

A message that waits in the spool is not at its end: an outage is a few lines, not one a message. No header, no body;
addresses only where the mailer's `logAddresses` asks for them.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from o365mailer_contract.names import EVENT_MESSAGE, OUTCOME_DEAD
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.reply import Reply, upstream_trace
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.telemetry.metrics import Metrics

SETTLED: Final = frozenset({"accepted", "refused", OUTCOME_DEAD})
"""Outcomes after which nobody tries the message again."""


class Audit:
    """Writes the records."""

    def __init__(self, *, log: EventLog, metrics: Metrics, addresses: Callable[[], bool]) -> None:
        self.log, self.metrics, self.addresses = log, metrics, addresses

    def ended(
        self,
        envelope: Envelope,
        *,
        outcome: str,
        reply: Reply,
        size: int,
        seconds: float,
        reason: str = "",
        attempts: int = 1,
        upstream: float = 0.0,
        undelivered: int = 0,
    ) -> None:
        """What became of one message. `seconds` since its end of data, `upstream` of them spent with Exchange.

        `undelivered` is how many recipients of a message from the spool did not get it.
        """
        self.count(outcome, reason)
        if outcome in SETTLED:
            self.metrics.observe("message_seconds", seconds)
        if outcome == "accepted":
            self.metrics.count("message_bytes_total", by=size)
        trace = upstream_trace(reply.text)
        record = partial(
            self.log.event,
            EVENT_MESSAGE,
            queue_id=envelope.queue_id,
            outcome=outcome,
            reason=reason,
            code=reply.code,
            enhanced=reply.enhanced,
            size=size,
            recipients=len(envelope.recipients),
            undelivered=undelivered,
            attempts=attempts,
            seconds=round(seconds, 3),
            upstream_seconds=round(upstream, 3),
            exchange_host=trace.hostname,
            exchange_id=trace.identifier,
        )
        if self.addresses():
            to = " ".join(recipient.address for recipient in envelope.recipients)
            record(sender=envelope.sender.address, to=to)
        else:
            record()

    def count(self, outcome: str, reason: str = "") -> None:
        """One more in the metrics, without a record."""
        self.metrics.count("messages_total", f'outcome="{outcome}"' + (f',reason="{reason}"' if reason else ""))
