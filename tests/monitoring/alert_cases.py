"""For each alert, series that make it fire and series that do not, as data.

Time begins at 0, so the timestamps in the series are small. Values are in promtool's notation: `5x60` is the value 5
and the same for 60 more minutes, `0+1x60` grows by one each minute.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAILER: Final = 'namespace="shop",mailer="noreply"'
LABELS: Final = {"namespace": "shop", "mailer": "noreply"}
POD: Final = f'{MAILER},pod="web-1"'
DAY: Final = 86400

Series = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One alert at one severity."""

    alert: str
    severity: str
    fires: Series
    """Series with which it fires at the minute `at`."""
    quiet: tuple[Series, ...]
    """Sets of series with each of which it does not fire at that minute."""
    value: str
    """`$value` as the annotations show it."""
    labels: Mapping[str, str] = field(default_factory=lambda: LABELS)
    at: int = 60


def _of(metric: str, value: str, labels: str = MAILER) -> Series:
    return {f"o365mailer_{metric}{{{labels}}}": value}


def _expiry(metric: str, seconds: int, *, suspended: int = 0) -> Series:
    """A mailer with something that ends so many seconds after the hour at which the case is looked at."""
    return {**_of(metric, f"{3600 + seconds}x60"), **_of("suspended", f"{suspended}x60")}


def _blocked(outcome: str, reason: str, count: int = 1) -> Series:
    return {
        f'o365mailer_blocked{{{MAILER},pod="web-{number}",outcome="{outcome}",reason="{reason}"}}': "1x60"
        for number in range(count)
    }


REFUSED: Final = _blocked("refused", "send-as")
"""What the refusal cache shows is about some messages, not about the mailbox."""

CASES: Final = (
    Case(
        alert="O365MailerTokenRefreshLate",
        severity="warning",
        fires=_of("token_refresh_timestamp_seconds", "2400x60"),
        quiet=(
            _of("token_refresh_timestamp_seconds", "3500x60"),
            {  # the controller that led before shows what it knew
                **_of("token_refresh_timestamp_seconds", "600x60", f'{MAILER},pod="former"'),
                **_of("token_refresh_timestamp_seconds", "4000x60", f'{MAILER},pod="leader"'),
            },
        ),
        value="1970-01-01 00:40:00 +0000 UTC",
    ),
    Case(
        alert="O365MailerTokenExpires",
        severity="critical",
        fires=_expiry("token_expiry_timestamp_seconds", 200),
        quiet=(
            _expiry("token_expiry_timestamp_seconds", 900),
            _expiry("token_expiry_timestamp_seconds", 200, suspended=1),
        ),
        value="3m 20s",
    ),
    Case(
        alert="O365MailerNotReady",
        severity="warning",
        fires={**_of("ready", "0x60"), **_of("suspended", "0x60")},
        quiet=(
            {**_of("ready", "1x60"), **_of("suspended", "0x60")},
            {**_of("ready", "0x60"), **_of("suspended", "1x60")},
            {**_of("ready", "1x49 0x11"), **_of("suspended", "0x60")},
            {**_of("ready", "0x60"), **_of("suspended", "0x60"), **_of("authenticated", "0x60")},  # has its own alert
        ),
        value="0",
    ),
    Case(
        alert="O365MailerLoginRefused",
        severity="critical",
        fires={**_of("authenticated", "0x60"), **_of("suspended", "0x60"), **_of("ready", "0x60")},
        quiet=(
            {**_of("authenticated", "1x60"), **_of("suspended", "0x60")},
            {**_of("authenticated", "0x60"), **_of("suspended", "1x60")},
            {**_of("authenticated", "1x57 0x3"), **_of("suspended", "0x60")},
            {**_of("ready", "0x60"), **_of("suspended", "0x60")},  # rights may still spread, or nothing is known
        ),
        value="0",
    ),
    Case(
        alert="O365MailerCredentialExpires",
        severity="info",
        fires=_expiry("certificate_expiry_timestamp_seconds", 20 * DAY),
        quiet=(_expiry("certificate_expiry_timestamp_seconds", 22 * DAY),),
        labels={**LABELS, "credential": "certificate"},
        value="20d 0h 0m 0s",
    ),
    Case(
        alert="O365MailerCredentialExpires",
        severity="warning",
        fires=_expiry("client_secret_expiry_timestamp_seconds", 6 * DAY),
        quiet=(_expiry("client_secret_expiry_timestamp_seconds", 30 * DAY),),
        labels={**LABELS, "credential": "client secret"},
        value="6d 0h 0m 0s",
    ),
    Case(
        alert="O365MailerCredentialExpires",
        severity="critical",
        fires=_expiry("certificate_expiry_timestamp_seconds", -3600),
        quiet=({**_expiry("certificate_expiry_timestamp_seconds", 60 * DAY), **_of("ready", "0x60")},),
        labels={**LABELS, "credential": "certificate"},
        value="-1h 0m 0s",
    ),
    Case(
        alert="O365MailerRelayRefuses",
        severity="critical",
        fires={**_of("mailer_ready", "0x60", POD), **_of("mailer_ready", "1x60", f'{MAILER},pod="web-2"')},
        quiet=(_of("mailer_ready", "1x60", POD), _of("mailer_ready", "0x5 1x55", POD)),
        value="1",
    ),
    Case(
        alert="O365MailerUnauthorized",
        severity="critical",
        fires=_blocked("unauthorized", "token-refused", 3),
        quiet=(_blocked("quota", "mailbox-full"), REFUSED),
        labels={**LABELS, "reason": "token-refused"},
        value="3",
    ),
    Case(
        alert="O365MailerMailboxLocked",
        severity="critical",
        fires=_blocked("locked", "spam", 2),
        quiet=(_blocked("quota", "mailbox-full"), REFUSED),
        labels={**LABELS, "reason": "spam"},
        value="2",
    ),
    Case(
        alert="O365MailerMailboxOverQuota",
        severity="warning",
        fires=_blocked("quota", "mailbox-full"),
        quiet=(_blocked("locked", "spam"), REFUSED),
        labels={**LABELS, "reason": "mailbox-full"},
        value="1",
    ),
    Case(
        alert="O365MailerExchangeUnreachable",
        severity="critical",
        fires=_of("upstream_up", "0x60", POD),
        quiet=(_of("upstream_up", "1x60", POD), _of("upstream_up", "1x55 0x5", POD)),
        value="1",
    ),
    Case(
        alert="O365MailerQueueOld",
        severity="warning",
        fires=_of("spool_oldest_age_seconds", "7200x60", POD),
        quiet=(_of("spool_oldest_age_seconds", "1800x60", POD),),
        value="2h 0m 0s",
    ),
    Case(
        alert="O365MailerQueueOld",
        severity="critical",
        fires=_of("spool_oldest_age_seconds", f"{2 * DAY}x60", POD),
        quiet=(_of("spool_oldest_age_seconds", "0x60", POD),),
        value="2d 0h 0m 0s",
    ),
    Case(
        alert="O365MailerQueueGrows",
        severity="warning",
        fires=_of("spool_messages", "200+10x60", POD),
        quiet=(
            _of("spool_messages", "900-10x60", POD),
            _of("spool_messages", "0+1x60", POD),
            _of("spool_messages", "200x60", POD),
        ),
        value="800",
    ),
    Case(
        alert="O365MailerMailFailed",
        severity="warning",
        fires={**_of("spool_dead_messages", "2x60", POD), **_of("spool_damaged_messages", "1x60", POD)},
        quiet=({**_of("spool_dead_messages", "0x60", POD), **_of("spool_damaged_messages", "0x60", POD)},),
        value="3",
    ),
    Case(
        alert="O365MailerMailLeftBehind",
        severity="warning",
        fires=_of("spool_messages", "0x20 4x20 stale", POD),
        quiet=(
            _of("spool_messages", "4x60", POD),
            _of("spool_messages", "4x20 0x20 stale", POD),
            _of("spool_messages", "4x57 stale", POD),
        ),
        labels={**LABELS, "pod": "web-1"},
        value="4",
    ),
    Case(
        alert="O365MailerPodsOutdated",
        severity="warning",
        fires={
            **_of("settings_revision", "6x60", POD),
            **_of("settings_revision", "7x60", f'{MAILER},pod="web-2"'),
            **_of("token_secret_revision", "7x60"),
        },
        quiet=(
            {**_of("settings_revision", "7x60", POD), **_of("token_secret_revision", "7x60")},
            {**_of("settings_revision", "6x57 7x3", POD), **_of("token_secret_revision", "6x54 7x6")},
            {  # another mailer of this name
                **_of("settings_revision", "6x60", POD),
                **_of("token_secret_revision", "7x60", 'namespace="blog",mailer="noreply"'),
            },
        ),
        value="1",
    ),
    Case(
        alert="O365MailerRelayOutdated",
        severity="info",
        fires={
            **_of("relay_info", "1x1600", f'{POD},version="0.1.0"'),
            **_of("webhook_info", "1x1600", 'namespace="o365mailer-system",version="0.2.0"'),
        },
        quiet=(
            {
                **_of("relay_info", "1x1600", f'{POD},version="0.2.0"'),
                **_of("webhook_info", "1x1600", 'namespace="o365mailer-system",version="0.2.0"'),
            },
            _of("relay_info", "1x1600", f'{POD},version="0.1.0"'),  # no webhook to compare with
        ),
        labels={**LABELS, "version": "0.1.0"},
        value="1",
        at=1500,
    ),
    Case(
        alert="O365MailerWebhookAway",
        severity="critical",
        fires={
            **_of("webhook_leaf_expiry_timestamp_seconds", "0x60", 'pod="webhook-1"'),
            **_of("webhook_leaf_expiry_timestamp_seconds", "3000x60", 'pod="webhook-2"'),
        },
        quiet=(
            {
                **_of("webhook_leaf_expiry_timestamp_seconds", "0x60", 'pod="webhook-1"'),
                **_of("webhook_leaf_expiry_timestamp_seconds", "80000x60", 'pod="webhook-2"'),
            },
        ),
        labels={},
        value="1",
    ),
    Case(
        alert="O365MailerWebhookCertificateExpires",
        severity="warning",
        fires=_of("webhook_leaf_expiry_timestamp_seconds", "7200x60", 'pod="webhook-1"'),
        quiet=(
            _of("webhook_leaf_expiry_timestamp_seconds", "40000x60", 'pod="webhook-1"'),
            _of("webhook_leaf_expiry_timestamp_seconds", "0x60", 'pod="webhook-1"'),  # O365MailerWebhookAway
            _of("webhook_authority_expiry_timestamp_seconds", f"{100 * DAY}x60", 'pod="controller-1"'),
            _of("webhook_authority_expiry_timestamp_seconds", "0x60", 'pod="controller-2"'),  # stands by
        ),
        labels={"pod": "webhook-1"},
        value="1970-01-01 02:00:00 +0000 UTC",
    ),
    Case(
        alert="O365MailerWebhookFails",
        severity="warning",
        fires=_of("webhook_requests_total", "0+1x60", 'path="/pods",result="error"'),
        quiet=(
            _of("webhook_requests_total", "7x60", 'path="/pods",result="error"'),
            _of("webhook_requests_total", "0+1x60", 'path="/pods",result="patched"'),
        ),
        labels={"path": "/pods"},
        value="0.016666666666666666",
    ),
    Case(
        alert="O365MailerControllerAway",
        severity="critical",
        fires=_of("leading", "0x60", 'pod="controller-1"'),
        quiet=({**_of("leading", "0x60", 'pod="controller-1"'), **_of("leading", "1x60", 'pod="controller-2"')},),
        labels={},
        value="1",
    ),
    Case(
        alert="O365MailerControllerStale",
        severity="warning",
        fires={
            **_of("watch_agreed_timestamp_seconds", "600x60", 'pod="controller-1"'),
            **_of("leading", "1x60", 'pod="controller-1"'),
        },
        quiet=(
            {
                **_of("watch_agreed_timestamp_seconds", "3000x60", 'pod="controller-1"'),
                **_of("leading", "1x60", 'pod="controller-1"'),
            },
            {
                **_of("watch_agreed_timestamp_seconds", "0x60", 'pod="controller-1"'),  # stands by
                **_of("leading", "0x60", 'pod="controller-1"'),
            },
        ),
        labels={},
        value="50m 0s",
    ),
)

AUTHORITY: Final = _of("webhook_authority_expiry_timestamp_seconds", f"{20 * DAY}x60", 'pod="controller-1"')
"""With it O365MailerWebhookCertificateExpires fires as well."""
