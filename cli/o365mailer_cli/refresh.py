"""The verb `refresh`: asks the controller for a new token now, and waits for what comes of it."""

import argparse
import datetime
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_cli.cluster import MAILERS, Cluster
from o365mailer_cli.flags import cluster_flags, duration, name, output_flag
from o365mailer_cli.kubeconfig import Access, connect
from o365mailer_cli.mailers import TOKEN_ISSUED, Mailer, read_mailers, reason_link
from o365mailer_cli.output import Output
from o365mailer_cli.wording import until
from o365mailer_contract.names import DOCS, REFRESH_ANNOTATION

DESCRIPTION: Final = (
    "Ask the controller for a new token now, despite every pause, and wait until it has one or says why not. Pods get "
    "it from their kubelet within two minutes."
)
WAIT: Final = "60s"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("mailer", type=name, metavar="MAILER", help="whose token to refresh")
    parser.add_argument(
        "--timeout", type=duration, default=WAIT, metavar="DURATION", help=f"how long to wait (default {WAIT})"
    )
    output_flag(parser)
    cluster_flags(parser)


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Ask, wait, and print. Returns 1 if there is no new token."""
    cluster = connect(Access.of(given), environment)
    output = Output.of(given)
    (mailer,) = read_mailers(cluster, namespace=cluster.namespace, name=given.mailer)
    with output.progress(f"asking the controller for a new token of {mailer}"):
        result = refresh(cluster, mailer, seconds=given.timeout)
    if output.json:
        output.document(result.document())
    else:
        _show(output, result)
    return int(not result.refreshed)


@dataclass(frozen=True)
class Result:
    """What came of it."""

    mailer: Mailer
    """Afterwards."""
    refreshed: bool
    reason: str = ""
    """Of a failure: a condition's reason, or `NoAnswer`."""
    message: str = ""
    link: str = ""

    def document(self) -> dict[str, Any]:
        """It as JSON."""
        return {
            "namespace": self.mailer.namespace,
            "name": self.mailer.name,
            "refreshed": self.refreshed,
            "reason": self.reason,
            "message": self.message,
            "link": self.link,
            "tokenExpiry": self.mailer.status.get("tokenExpiry"),
            "tokenRevision": self.mailer.revision,
        }


def refresh(cluster: Cluster, mailer: Mailer, *, seconds: float) -> Result:
    """Ask for a token of this mailer, and wait. Raises ClusterError."""
    if mailer.suspended:
        message = "spec.suspend is true, so the token is not refreshed. Set it to false to go on."
        return Result(mailer, False, "Suspended", message, reason_link("Suspended"))
    asked = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    change = {"metadata": {"annotations": {REFRESH_ANNOTATION: asked}}}
    latest = Mailer(cluster.patch(MAILERS, change, name=mailer.name, namespace=mailer.namespace))
    for changed in _changes(cluster, mailer, seconds):
        latest = changed
        if latest.revision > mailer.revision and latest.last_refresh != mailer.last_refresh:
            return Result(latest, True)
        if _tried(latest) != _tried(mailer) and latest.condition(TOKEN_ISSUED).status == "False":
            return _failure(latest)
    if latest.condition(TOKEN_ISSUED).status == "False":
        again = (
            f" The controller has written nothing new within {seconds:g} s: nothing has changed, or it does not run."
        )
        return _failure(latest, again)
    message = (
        f"The controller has not answered within {seconds:g} s. Does it run, and does it watch this namespace? "
        "Look at the Deployment o365mailer-controller and at its log."
    )
    return Result(latest, False, "NoAnswer", message, f"{DOCS}/troubleshooting.md")


def _changes(cluster: Cluster, mailer: Mailer, seconds: float) -> Iterator[Mailer]:
    """The mailer after each of its changes, for some seconds. Ends early if it is deleted."""
    end = time.monotonic() + seconds
    for found in cluster.watch(MAILERS, name=mailer.name, namespace=mailer.namespace, seconds=seconds):
        if found is None:
            return
        yield Mailer(found)
        if time.monotonic() > end:
            return


def _tried(mailer: Mailer) -> tuple[Any, ...]:
    """What changes with each attempt of the controller, or with what keeps it from one."""
    return mailer.status.get("lastAttemptTime"), mailer.status.get("failedAttempts"), mailer.condition(TOKEN_ISSUED)


def _failure(mailer: Mailer, again: str = "") -> Result:
    issued = mailer.condition(TOKEN_ISSUED)
    return Result(mailer, False, issued.reason, f"{issued.message}{again}", reason_link(issued.reason))


def _show(output: Output, result: Result) -> None:
    mailer = result.mailer
    if result.refreshed:
        expires = until(mailer.token_expiry, datetime.datetime.now(datetime.UTC))
        output.line(
            f"✓ {mailer} has a new token: it expires {expires}, revision {mailer.revision}. "
            "Pods have it within two minutes: o365mailer status shows which.",
            style="green",
        )
        return
    output.line(f"✗ {mailer} has no new token ({result.reason})", style="bold red")
    output.line(f"    {result.message}")
    output.line(f"    see: {result.link}")
