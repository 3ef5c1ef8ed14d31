"""The verb `explain`: its flags."""

import argparse
from collections.abc import Mapping
from typing import Final

from o365mailer_cli.explain.explanation import explain
from o365mailer_cli.explain.target import find
from o365mailer_cli.finding import exit_status, worst
from o365mailer_cli.flags import cluster_flags, name, output_flag
from o365mailer_cli.kubeconfig import Access, connect
from o365mailer_cli.output import Output

DESCRIPTION: Final = (
    "Explain why a pod or the pods of a workload have a relay or none, what was done to them, and what to do. Exit "
    "status 1 if a relay is wanted and missing, or does not work."
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "object", type=name, metavar="POD|WORKLOAD", help="such as deployment/web, pod/web-abc, cronjob/report, or web"
    )
    output_flag(parser)
    cluster_flags(parser)


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Look, and print. Returns 1 if something has failed."""
    cluster = connect(Access.of(given), environment)
    output = Output.of(given)
    with output.progress("asking the cluster"):
        target = find(cluster, given.object)
        groups = explain(cluster, target)
    findings = [finding for group in groups for finding in group.findings]
    if output.json:
        head = {"namespace": target.namespace, "object": str(target), "status": worst(findings).value}
        output.document(head | {"groups": [group.document() for group in groups]})
    else:
        output.groups(groups)
    return exit_status(findings)
