"""How `status` shows what it found out."""

import datetime
from collections.abc import Iterator
from typing import Final

from o365mailer_cli.mailers import AUTHENTICATED, CREDENTIAL_EXPIRING, Mailer, reason_link
from o365mailer_cli.output import Output
from o365mailer_cli.status.report import MailerStatus, Status
from o365mailer_cli.wording import pods, span, until
from o365mailer_contract.names import DOCS

KUBELET_DELAY: Final = datetime.timedelta(minutes=2)
"""How long a changed Secret may take to reach a pod: the kubelet's sync period and its cache (kubernetes.io, "Secrets":
"Mounted Secrets are updated automatically")."""


def show(output: Output, status: Status, *, detailed: bool) -> None:
    """Print it."""
    if output.json:
        output.document(status.document())
        return
    now = datetime.datetime.now(datetime.UTC)
    if not status.mailers:
        output.line(f"There is no mailer in {status.place}.")
    else:
        output.table(COLUMNS, [_row(each, now) for each in status.mailers])
    if detailed:
        for each in status.mailers:
            _show_pods(output, each)
    for note in [*_notes(status, now), *status.problems]:
        output.line(f"! {note}", style="yellow")


COLUMNS: Final = (
    *("NAMESPACE", "NAME", "MAILBOX", "READY", "REASON", "EXPIRES", "REVISION"),
    *("PODS", "TOKEN", "RELAY", "QUEUED", "OLDEST"),
)


def _row(each: MailerStatus, now: datetime.datetime) -> list[str | tuple[str, str]]:
    mailer, ready = each.mailer, each.mailer.ready
    colour = {"True": "green", "False": "red"}.get(ready.status, "yellow")
    total, known = len(each.readings), len(each.known)
    return [
        mailer.namespace,
        mailer.name,
        mailer.mailbox or "-",
        (ready.status, colour),
        ready.reason or "-",
        until(mailer.token_expiry, now),
        str(mailer.revision or "-"),
        str(total),
        _share(each.newest_token, total, known),
        _share(each.this_relay, total, total) if each.sidecar_image else "?",
        str(each.queued) if known else "-",
        span(each.oldest) if each.queued else "-",
    ]


def _share(count: int, total: int, known: int) -> str | tuple[str, str]:
    """`2/3`, and how many of them are unknown."""
    if not total:
        return "-"
    text = f"{count}/{total}" + (f" ({total - known}?)" if known < total else "")
    return text if count == total else (text, "yellow")


def _show_pods(output: Output, each: MailerStatus) -> None:
    output.line()
    if not each.readings:
        output.line(f"No pod has a relay of {each.mailer}.")
        return
    rows = []
    for reading in each.readings:
        figures = reading.figures
        rows.append(
            [
                reading.relay.name,
                reading.relay.phase,
                (figures.version or "?") if figures else "?",
                str(figures.revision) if figures else "?",
                ("yes" if figures.ready else "no") if figures else "?",
                ", ".join(figures.blocked) or "-" if figures else "?",
                str(figures.queued) if figures else "?",
                span(figures.oldest) if figures and figures.queued else "-",
                str(figures.dead) if figures else "?",
            ]
        )
    output.table(("POD", "PHASE", "VERSION", "REVISION", "READY", "BLOCKED", "QUEUED", "OLDEST", "DEAD"), rows)


def _notes(status: Status, now: datetime.datetime) -> Iterator[str]:
    """What a person should know or do, one line each."""
    for each in status.mailers:
        mailer = each.mailer
        ready = mailer.ready
        if ready.status == "Unknown":
            yield f"{mailer}: the controller has not looked at it. Does it run? {DOCS}/troubleshooting.md"
        elif ready.reason and (mailer.failed or ready.reason == "RefreshFailing"):
            reason = _cause(mailer)
            yield f"{mailer}: {_first_line(ready.message)} See {reason_link(reason)}"
        elif (login := mailer.condition(AUTHENTICATED)).status == "False" and not mailer.suspended:
            yield f"{mailer}: {_first_line(login.message)} See {reason_link(login.reason)}"
        if (expiring := mailer.condition(CREDENTIAL_EXPIRING)).status == "True":
            yield f"{mailer}: {expiring.message} See {reason_link(expiring.reason)}"
        lagging = len(each.known) - each.newest_token
        since = mailer.last_refresh
        if lagging and since and now - since > KUBELET_DELAY:
            yield (
                f"{mailer}: {pods(lagging)} {'has' if lagging == 1 else 'have'} no newest token although it is "
                f"{span((now - since).total_seconds())} old. A kubelet mounts it in {span(120)}: look at its node."
            )
        old = len(each.readings) - each.this_relay
        if each.sidecar_image and old:
            yield (
                f"{mailer}: {pods(old)} {'runs' if old == 1 else 'run'} another relay than the one that is injected "
                "now. Restart the workload when you like: kubectl rollout restart."
            )
        if each.dead:
            yield (
                f"{mailer}: {each.dead} dead letter{'' if each.dead == 1 else 's'} in the spool. "
                f"{DOCS}/spool.md says how to look at them."
            )


def _first_line(message: str) -> str:
    """The message of a condition; of a long one the first line, and where the rest is."""
    first, more, _ = message.partition("\n")
    return f"{first}. kubectl describe shows the causes and the commands." if more else first


def _cause(mailer: Mailer) -> str:
    """The reason to read about: why there is no token, rather than that it is not refreshed."""
    issued = mailer.condition("TokenIssued")
    return issued.reason if issued.status == "False" and issued.reason else mailer.ready.reason
