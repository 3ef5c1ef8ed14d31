"""What the parts of one process share: its clock, its dice, its log, metrics and audit, and the mailer directory."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from o365mailer_sidecar.backoff import Dice
from o365mailer_sidecar.mailer import MailerDirectory
from o365mailer_sidecar.telemetry.audit import Audit
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Two times: of day (UTC), and of the event loop in seconds. A test passes its own."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Made once, in `app`; every part that needs more than one of these takes the whole."""

    clock: Clock
    dice: Dice
    log: EventLog
    metrics: Metrics
    audit: Audit
    directory: MailerDirectory
