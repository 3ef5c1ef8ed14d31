"""The Grafana dashboard, as a table. `python charts/dashboard.py` writes the chart's files/dashboard.json.

With --check nothing is written, and the exit status is 1 if that file is not what this table makes.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("o365mailer") / "files" / "dashboard.json"
UID: Final = "o365mailer"
WIDTH: Final = 24
"""Columns of Grafana's grid."""

OF: Final = 'namespace=~"$namespace", mailer=~"$mailer"'
"""What the two variables at the top of the page choose."""
OUTDATED: Final = (
    f"count(o365mailer_settings_revision{{{OF}}} > 0 < on (namespace, mailer) group_left () "
    f"max by (namespace, mailer) (o365mailer_token_secret_revision{{{OF}}}))"
)
"""How many pods have an older mailer directory than the token Secret."""
RATE: Final = "[$__rate_interval]"
MAILER: Final = "{{namespace}}/{{mailer}}"


@dataclass(frozen=True)
class Panel:
    """One panel: its queries are pairs of PromQL and legend."""

    title: str
    description: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    """As Grafana names it: `s` seconds, `bytes`, `cps` counts a second."""
    width: int = 8
    kind: str = "timeseries"


def number(title: str, description: str, query: str) -> Panel:
    """A number of the present moment; 0 where the query has no result."""
    return Panel(title, description, ((f"{query} or vector(0)", title),), width=4, kind="stat")


def quantiles(metric: str, where: str = "") -> tuple[tuple[str, str], ...]:
    """The median, the 95th and the 99th percentile of a histogram."""
    total = f"sum by (le) (rate(o365mailer_{metric}_bucket{{{where}}}{RATE}))"
    return tuple((f"histogram_quantile({share}, {total})", f"{share:.0%}") for share in (0.5, 0.95, 0.99))


ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Mailers": (
        number(
            "Mailers ready",
            "Pods can send with them.",
            f"count(max by (namespace, mailer) (o365mailer_ready{{{OF}}}) == 1)",
        ),
        number(
            "Mailers not ready",
            "kubectl get o365mailers says why.",
            f"count(max by (namespace, mailer) (o365mailer_ready{{{OF}}}) == 0)",
        ),
        number("Pods with a token", "Their relay can submit mail.", f"count(o365mailer_mailer_ready{{{OF}}} == 1)"),
        number("Pods without a token", "Their apps get 451.", f"count(o365mailer_mailer_ready{{{OF}}} == 0)"),
        number("Queued messages", "In the spools of all pods.", f"sum(o365mailer_spool_messages{{{OF}}})"),
        number(
            "Dead letters", "Failed for good; a person has to look.", f"sum(o365mailer_spool_dead_messages{{{OF}}})"
        ),
        Panel(
            "Messages by outcome",
            "What became of the messages, for each second.",
            ((f"sum by (outcome) (rate(o365mailer_messages_total{{{OF}}}{RATE}))", "{{outcome}}"),),
            unit="cps",
        ),
        Panel(
            "Accepted, by mailer",
            "Messages that Office 365 accepted, for each second.",
            (
                (
                    f'sum by (namespace, mailer) (rate(o365mailer_messages_total{{{OF}, outcome="accepted"}}{RATE}))',
                    MAILER,
                ),
            ),
            unit="cps",
        ),
        Panel(
            "Not accepted, by reason",
            "docs/sidecar.md explains the reasons.",
            (
                (
                    f'sum by (outcome, reason) (rate(o365mailer_messages_total{{{OF}, outcome!="accepted"}}{RATE}))',
                    "{{outcome}} {{reason}}",
                ),
            ),
            unit="cps",
        ),
        Panel(
            "Time until the verdict",
            "From the end of a message until it was accepted or refused for good; with a spool, waiting included.",
            quantiles("message_seconds", OF),
            unit="s",
        ),
        Panel(
            "Time in Office 365",
            "From a message's first command to the last reply.",
            quantiles("upstream_seconds", OF),
            unit="s",
        ),
        Panel(
            "Accepted bytes",
            "Size of the messages that Office 365 accepted, for each second.",
            ((f"sum by (namespace, mailer) (rate(o365mailer_message_bytes_total{{{OF}}}{RATE}))", MAILER),),
            unit="Bps",
        ),
    ),
    "Tokens": (
        Panel(
            "Token is valid for",
            "It is replaced when 60 to 75 % of its life are over.",
            ((f"max by (namespace, mailer) (o365mailer_token_expiry_timestamp_seconds{{{OF}}}) - time()", MAILER),),
            unit="s",
        ),
        Panel(
            "Token is replaced in",
            "Below 0 the refresh is late.",
            ((f"max by (namespace, mailer) (o365mailer_token_refresh_timestamp_seconds{{{OF}}}) - time()", MAILER),),
            unit="s",
        ),
        Panel(
            "Credential expires in",
            "Certificates by tls.crt, client secrets by expiresAt of the mailer.",
            (
                (
                    f"max by (namespace, mailer) (o365mailer_certificate_expiry_timestamp_seconds{{{OF}}}) - time()",
                    f"{MAILER} certificate",
                ),
                (
                    f"max by (namespace, mailer) (o365mailer_client_secret_expiry_timestamp_seconds{{{OF}}}) - time()",
                    f"{MAILER} client secret",
                ),
            ),
            unit="s",
        ),
        Panel(
            "Token requests",
            "TokenIssued is a success; docs/troubleshooting.md explains the other reasons.",
            ((f"sum by (reason) (rate(o365mailer_token_requests_total{RATE}))", "{{reason}}"),),
            unit="cps",
        ),
        Panel(
            "Duration of token requests",
            "Entra's answer, the way there included.",
            quantiles("token_request_duration_seconds"),
            unit="s",
        ),
        Panel(
            "Exchange lets the application log in",
            "0 is no; the condition Authenticated of the mailer has the commands.",
            ((f"max by (namespace, mailer) (o365mailer_authenticated{{{OF}}})", MAILER),),
        ),
        Panel(
            "Logins that the controller tried",
            "By Exchange's answer; docs/troubleshooting.md explains the reasons.",
            ((f"sum by (reason) (rate(o365mailer_logins_total{RATE}))", "{{reason}}"),),
            unit="cps",
        ),
        Panel(
            "Duration of these logins",
            "From the look-up of the host to Exchange's answer.",
            quantiles("login_duration_seconds"),
            unit="s",
        ),
        Panel(
            "Failed attempts",
            "Since the last token.",
            ((f"max by (namespace, mailer) (o365mailer_failed_attempts{{{OF}}})", MAILER),),
        ),
    ),
    "Relays": (
        Panel(
            "Pods that are blocked",
            "The relay has stopped sending (locked, quota, unauthorized), or refuses some messages itself (refused).",
            (
                (
                    f"sum by (namespace, mailer, outcome, reason) (o365mailer_blocked{{{OF}}})",
                    f"{MAILER} {{{{outcome}}}} {{{{reason}}}}",
                ),
            ),
        ),
        Panel(
            "Pods by their way to Office 365",
            "By their last connection.",
            (
                (f"count(o365mailer_upstream_up{{{OF}}} == 1) or vector(0)", "connected"),
                (f"count(o365mailer_upstream_up{{{OF}}} == 0) or vector(0)", "not connected"),
            ),
        ),
        Panel(
            "Logins",
            "AUTH XOAUTH2 at Office 365.",
            ((f"sum by (result) (rate(o365mailer_auth_total{{{OF}}}{RATE}))", "{{result}}"),),
            unit="cps",
        ),
        Panel(
            "New connections",
            "To Office 365, by result.",
            ((f"sum by (result) (rate(o365mailer_upstream_connections_total{{{OF}}}{RATE}))", "{{result}}"),),
            unit="cps",
        ),
        Panel(
            "Open sessions and connections",
            "Of apps to their relays, and of the relays to Office 365.",
            (
                (f"sum(o365mailer_sessions{{{OF}}})", "sessions of apps"),
                (f"sum(o365mailer_upstream_connections_open{{{OF}}})", "connections to Office 365"),
            ),
        ),
        Panel(
            "Submissions at once",
            "Of the slowest relay of a mailer; below 1 it pauses between them, because other pods use the mailbox.",
            ((f"min by (namespace, mailer) (o365mailer_concurrency_window{{{OF}}})", MAILER),),
        ),
        Panel(
            "Pods without the newest token",
            "Their mailer directory is older than the token Secret.",
            (
                (
                    f"{OUTDATED} or vector(0)",
                    "pods",
                ),
            ),
        ),
        Panel(
            "Pods by version of the relay",
            "A pod gets the newest one when it is replaced.",
            ((f"count by (version) (o365mailer_relay_info{{{OF}}})", "{{version}}"),),
        ),
        Panel(
            "Token in use expires in",
            "Of the pod whose token expires first.",
            (
                (
                    f"min by (namespace, mailer) (o365mailer_token_expires_timestamp_seconds{{{OF}}} > 0) - time()",
                    MAILER,
                ),
            ),
            unit="s",
        ),
    ),
    "Queue": (
        Panel(
            "Queued messages",
            "In the spools.",
            ((f"sum by (namespace, mailer) (o365mailer_spool_messages{{{OF}}})", MAILER),),
            width=6,
        ),
        Panel(
            "Age of the oldest message",
            "After delivery.spool.maxAge (48 h) it becomes a dead letter.",
            ((f"max by (namespace, mailer) (o365mailer_spool_oldest_age_seconds{{{OF}}})", MAILER),),
            unit="s",
            width=6,
        ),
        Panel(
            "Size of the queue",
            "Of the queued messages.",
            ((f"sum by (namespace, mailer) (o365mailer_spool_bytes{{{OF}}})", MAILER),),
            unit="bytes",
            width=6,
        ),
        Panel(
            "Failed mail",
            "Dead letters and damaged files.",
            (
                (f"sum by (namespace, mailer) (o365mailer_spool_dead_messages{{{OF}}})", f"{MAILER} dead"),
                (f"sum by (namespace, mailer) (o365mailer_spool_damaged_messages{{{OF}}})", f"{MAILER} damaged"),
            ),
            width=6,
        ),
    ),
    "Webhook and controller": (
        Panel(
            "Requests of the API server",
            "patched: a pod got its relay, or a workload its annotation.",
            ((f"sum by (path, result) (rate(o365mailer_webhook_requests_total{RATE}))", "{{path}} {{result}}"),),
            unit="cps",
        ),
        Panel(
            "Denials",
            "docs/injection.md explains the reasons.",
            ((f"sum by (reason) (rate(o365mailer_webhook_denials_total{RATE}))", "{{reason}}"),),
            unit="cps",
        ),
        Panel("Time of an answer", "After the request was read.", quantiles("webhook_seconds"), unit="s"),
        Panel(
            "Certificates expire in",
            "Both are renewed when two thirds of their life (24 hours, 365 days) are over.",
            (
                ("min(o365mailer_webhook_leaf_expiry_timestamp_seconds > 0) - time()", "webhook"),
                ("max(o365mailer_webhook_authority_expiry_timestamp_seconds > 0) - time()", "authority"),
            ),
            unit="s",
        ),
        Panel(
            "Reconciles",
            "Passes of the controller over a mailer.",
            ((f"sum by (result) (rate(o365mailer_reconciles_total{RATE}))", "{{result}}"),),
            unit="cps",
        ),
        Panel(
            "Mailers that wait",
            "For a worker of the controller, and those that it reconciles.",
            (
                ("sum(o365mailer_queue_depth)", "waiting"),
                ("sum(o365mailer_reconciles_running)", "running"),
            ),
        ),
        Panel(
            "Controllers",
            "One leads, by the Lease.",
            (("sum(o365mailer_leading)", "leading"), ("count(o365mailer_leading)", "running")),
        ),
        Panel(
            "Watch last agreed with a list",
            "The controller compares them every 5 minutes.",
            (("time() - max(o365mailer_watch_agreed_timestamp_seconds and o365mailer_leading == 1)", "ago"),),
            unit="s",
        ),
        Panel(
            "Versions",
            "Replicas by version.",
            (
                ("count by (version) (o365mailer_controller_info)", "controller {{version}}"),
                ("count by (version) (o365mailer_webhook_info)", "webhook {{version}}"),
            ),
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard's JSON model (Grafana 9 and newer)."""
    return {
        "uid": UID,
        "title": "O365 Mailer",
        "description": "Mail from Kubernetes apps through Office 365",
        "tags": ["o365mailer", "mail"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    for name, source in (
        ("namespace", "label_values(o365mailer_ready, namespace)"),
        ("mailer", 'label_values(o365mailer_ready{namespace=~"$namespace"}, mailer)'),
    ):
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": source, "refId": name},
            "definition": source,
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
            "sort": 1,
        }


def _panels() -> Iterator[dict[str, Any]]:
    identifier = y = 0
    for title, panels in ROWS.items():
        identifier += 1
        yield {"id": identifier, "type": "row", "title": title, "collapsed": False, "gridPos": _place(0, y, WIDTH, 1)}
        y += 1
        x = height = 0
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + height
            height = 4 if panel.kind == "stat" else 8
            identifier += 1
            yield {"id": identifier, "gridPos": _place(x, y, panel.width, height), **_model(panel)}
            x += panel.width
        y += height


def _model(panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for number, (query, legend) in enumerate(panel.queries)
    ]
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}}
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": options,
    }


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def main() -> int:
    """Write the file, or compare it. The exit status."""
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" not in sys.argv[1:]:
        FILE.write_text(text, encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != text:
        print(f"{FILE} is stale: run python charts/dashboard.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
