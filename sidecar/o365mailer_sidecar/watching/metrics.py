"""Every metric of the sidecar, as data. docs/sidecar.md shows the same table, and a test holds the two together.

Base units (seconds, bytes), no address in a label, and every label from a closed vocabulary: a fleet of a thousand
sidecars is a thousand times what is written here.
"""

from typing import Final, Literal, NamedTuple

PREFIX: Final = "o365mailer_"

SUBMISSION_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
"""Seconds: Exchange takes about one for a message; 600 is how long its last reply is waited for."""

VERDICT_BUCKETS: Final = (*SUBMISSION_BUCKETS, 3600.0, 21600.0, 86400.0)
"""The same, and what a message can wait in the spool."""


class Metric(NamedTuple):
    """One family of the exposition."""

    name: str
    """Without the prefix; a counter's ends with `_total`, a unit stands in front of that."""
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, ascending, of a histogram; +Inf is added."""


METRICS: Final = (
    # --- Messages ---
    Metric(
        "messages_total",
        "counter",
        "Messages by outcome, and by the reason for it.",
        labels=("outcome", "reason"),
    ),
    Metric("message_bytes_total", "counter", "Size of the messages that Office 365 accepted."),
    Metric(
        "message_seconds",
        "histogram",
        "From a message's end until its fate was settled: accepted, or refused for good.",
        buckets=VERDICT_BUCKETS,
    ),
    Metric(
        "upstream_seconds",
        "histogram",
        "Office 365's share of it: from a message's first command to the last reply, for each attempt.",
        buckets=SUBMISSION_BUCKETS,
    ),
    Metric("sessions", "gauge", "Sessions of apps."),
    # --- Office 365 ---
    Metric(
        "upstream_connections_total",
        "counter",
        "Connections to Office 365 by result: opened, away, distrusted, token_refused, crowded (432), held, shut.",
        labels=("result",),
    ),
    Metric(
        "auth_total",
        "counter",
        "AUTH XOAUTH2 by result: accepted, refused (the token or the mailbox), failed (the moment).",
        labels=("result",),
    ),
    Metric("upstream_connections_open", "gauge", "Open connections to Office 365."),
    Metric("upstream_up", "gauge", "1 unless the last connection failed."),
    Metric(
        "concurrency_window",
        "gauge",
        "Submissions at once that this sidecar allows itself; below 1 it pauses between them.",
    ),
    Metric("breaker_open", "gauge", "1 while messages are held or refused here for this reason.", labels=("reason",)),
    # --- The mailer directory ---
    Metric("mailer_ready", "gauge", "1 when there is something to submit with."),
    Metric("token_expires_timestamp_seconds", "gauge", "When the token in use ends; 0 when unknown."),
    Metric("settings_revision", "gauge", "Revision of the settings in use; 0 while there are none."),
    # --- The spool ---
    Metric("spool_messages", "gauge", "Messages in the spool that are not settled yet."),
    Metric("spool_bytes", "gauge", "Their size."),
    Metric("spool_oldest_age_seconds", "gauge", "How long the oldest of them has waited; 0 when there is none."),
    Metric("spool_dead_messages", "gauge", "Dead letters: messages that failed for good and are kept."),
    Metric("spool_damaged_messages", "gauge", "Entries that could not be read and were set aside."),
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}
