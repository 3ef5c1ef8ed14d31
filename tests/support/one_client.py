"""The relay's SMTP client alone, without a relay around it."""

from datetime import UTC, datetime
from typing import Any

from o365mailer_sidecar.smtp.connection import SmtpClient
from o365mailer_sidecar.telemetry.metrics import Metrics
from o365mailer_sidecar.upstream.classify import auth_refusal


def client(**options: Any) -> SmtpClient:
    """As the relay makes it, with these options of its own."""
    clock = {"name": "localhost", "now": lambda: datetime.now(UTC)}
    return SmtpClient(metrics=Metrics(), refusal=auth_refusal, **clock, **options)
