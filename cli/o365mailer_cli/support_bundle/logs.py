"""A log of ours, line by line: what is known and harmless stays, the rest of the line goes. Pure.

The relay's and the operator's logs never hold a secret, but any container may call itself as ours does. So a field
stays by its name and the form of its value, and an event by its name.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from o365mailer_cli.check.mailer import REMEDIES
from o365mailer_cli.support_bundle.text import phrases
from o365mailer_contract.names import EVENT_LISTENING, EVENT_MESSAGE
from o365mailer_contract.replies import REASONS, Outcome

EVENTS: Final = frozenset(
    {
        *(EVENT_LISTENING, EVENT_MESSAGE, "attempt", "dead_letters_removed", "left_in_spool", "library_message"),
        *("listen_skipped", "log_lines_dropped", "mailbox_in_doubt", "mailbox_paused", "mailbox_resumed"),
        *("mailer_directory_problem", "mailer_read", "notice_failed", "queue_failed", "refusal_cached"),
        *("scheduler_failed", "session_failed", "spool_damaged", "spool_failed", "spool_recovered", "spool_reread"),
        *("spool_taken_over", "spool_unreadable", "spool_write_failed", "stopped", "stopping", "upstream_away"),
        *("upstream_back", "upstream_token_refused", "waiting_for_mailer", "watcher_failed"),
    }
)
"""The relay's events."""
MESSAGES: Final = frozenset(
    {
        "the Secret of the webhook's authority is not ours: delete it, it is then made anew",
        "the webhook's authority cannot be kept",
        "the webhook's authority changed",
        "the webhook configuration cannot be watched",
        "the webhook configuration trusts",
        "O365Mailers cannot be listed yet",
        "a condition changed",
        "a look failed",
        "a look failed by a defect of the controller",
        "a login was tried",
        "admission port open",
        "an Event could not be written",
        "another writer was quicker",
        "cannot accept a connection",
        "cannot listen: set --listen and --health to addresses that are free and that this process may have",
        "denied",
        "ended by a defect of the controller",
        "health port open",
        "leading",
        "leading again",
        "leaf signed",
        "listening",
        "lost what it takes to go on",
        "malformed request",
        "no leaf can be signed",
        "no token",
        "patched",
        "paused: the Lease is not renewed",
        "standing by: another replica holds the Lease",
        "stopped",
        "stopping",
        "the CRD is outdated",
        "the CRD is up to date",
        "the Lease could not be looked at",
        "the Lease could not be released",
        "the Lease could not be renewed",
        "the mailers cannot be listed",
        "the schema of O365Mailers cannot be read",
        "the schema of O365Mailers is not checked",
        "the status is refused",
        "the token Secret is refused",
        "the token Secret is written",
        "the watch does not deliver what the API server lists",
        "untouched",
    }
)
"""The operator's messages."""
WORDS: Final = frozenset(
    {
        *REASONS,
        *REMEDIES,
        *(outcome.value for outcome in Outcome),
        *(
            "TokenValid",
            "TokenIssued",
            "Ready",
            "True",
            "False",
            "Unknown",
            "smtp",
            "health",
            "dead",
            "queued",
            "/pods",
        ),
        *("/workloads", "policy", "expired", "content", "flush", "stopping", "no annotation", "static pod"),
        *("injected already", "withdrawn", "orphaned", "debug", "info", "warning", "error", "critical"),
    }
)
"""Every value that a field of words may have."""
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
ENHANCED: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
QUEUE_ID: Final = re.compile(r"[0-9A-F]{12}")
OBJECT: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?(/[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)?")
"""A name of an object, or its namespace and name. Names of objects stay throughout the bundle."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def _one_of(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _word(value: Any) -> bool:
    return isinstance(value, str) and value in WORDS


FIELDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "time": _one_of(TIME),
    "event": lambda value: isinstance(value, str) and value in EVENTS,
    "message": lambda value: isinstance(value, str) and value in MESSAGES,
    "enhanced": _one_of(ENHANCED),
    "queue_id": _one_of(QUEUE_ID),
    "mailer": _one_of(OBJECT),
    "namespace": _one_of(OBJECT),
    **dict.fromkeys(("level", "outcome", "reason", "condition", "status", "protocol", "path", "why"), _word),
    **dict.fromkeys(
        (
            *("code", "size", "recipients", "undelivered", "attempts", "seconds", "upstream_seconds", "messages"),
            *("sessions", "left_in_spool", "without_verdict", "appeared", "changed", "gone", "waiting", "port"),
            *("lines", "revision", "mailers", "drainSeconds", "valid", "held"),
        ),
        _number,
    ),
}
"""A field's name → whether its value may stay."""
FREE: Final = ("reason", "error")
"""Fields with a free text, of which the known phrases stay."""


def kept_lines(log: str) -> tuple[list[str], int]:
    """The lines as JSON with what may stay, and how many lines are left out."""
    kept: list[str] = []
    dropped = 0
    for line in log.splitlines():
        record = kept_fields(line)
        if record.keys() & {"event", "message"}:
            kept.append(json.dumps(record))
        else:
            dropped += 1
    return kept, dropped


def kept_fields(line: str) -> dict[str, Any]:
    """What may stay of one line; empty if it is no JSON object."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    kept = {key: value for key, value in record.items() if key in FIELDS and FIELDS[key](value)}
    for key in FREE:
        if key in record and key not in kept and (said := phrases(str(record[key]))):
            kept[f"{key}Phrases"] = said
    return kept
