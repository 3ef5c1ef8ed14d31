"""The verb `status`: its flags."""

import argparse
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from o365mailer_cli.flags import cluster_flags, name, output_flag
from o365mailer_cli.kubeconfig import Access, connect, namespace_of
from o365mailer_cli.output import Output
from o365mailer_cli.status.report import Status, read_status
from o365mailer_cli.status.table import show

DESCRIPTION: Final = (
    "Show the mailers, and for each the pods with a relay: how many have the newest token and the relay that is "
    "injected now, and how much mail waits in them. Exit status 1 if a mailer is not ready."
)
WATCH_EVERY: Final = 2.0
"""Seconds between two looks of `--watch`."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "mailer", nargs="?", type=name, metavar="MAILER", help="only this mailer, with each of its pods"
    )
    parser.add_argument("-w", "--watch", action="store_true", help="look again every two seconds, until Ctrl-C")
    output_flag(parser)
    cluster_flags(parser, all_namespaces=True)


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Look, and print. Returns 1 if a mailer is not ready."""
    cluster = connect(Access.of(given), environment)
    output = Output.of(given)
    namespace = namespace_of(given, cluster)
    look = functools.partial(read_status, cluster, namespace=namespace, name=given.mailer)
    if given.watch:
        _watch(output, look, detailed=bool(given.mailer))
    with output.progress("asking the cluster"):
        status = look()
    show(output, status, detailed=bool(given.mailer))
    return int(any(each.mailer.failed for each in status.mailers))


def _watch(output: Output, look: Callable[[], Status], *, detailed: bool) -> None:
    """Look until Ctrl-C. On a terminal the screen is drawn anew; elsewhere what has changed is printed again."""
    before: dict[str, Any] | None = None
    while True:
        status = look()
        terminal = output.out.isatty() and not output.json
        if terminal:
            output.console.clear()
        if terminal or status.document() != before:
            show(output, status, detailed=detailed)
            output.out.flush()
        before = status.document()
        time.sleep(WATCH_EVERY)
