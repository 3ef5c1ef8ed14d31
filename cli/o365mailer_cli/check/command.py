"""`o365mailer check`: its flags, and how it prints what the parts find out."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from o365mailer_cli.check.asked import Asked
from o365mailer_cli.check.cluster import cluster_groups
from o365mailer_cli.errors import WrongInput
from o365mailer_cli.finding import Finding, Group, Status, exit_status, worst
from o365mailer_cli.flags import cluster_flags, name, output_flag
from o365mailer_cli.kubeconfig import Access, connect
from o365mailer_cli.output import Output

DESCRIPTION: Final = (
    "Look for what is wrong with mail: the API server, the installation, the mailers, and the pods with a relay. Each "
    "✗ has its cause, its remedy and a link. Exit status 1 if there is one."
)
CHECKS: Final[Sequence[Callable[[Asked], Sequence[Group]]]] = (cluster_groups,)
"""What is asked, in the order in which it is printed."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("mailer", nargs="?", type=name, metavar="MAILER", help="only this mailer and its pods")
    output_flag(parser)
    cluster_flags(parser, all_namespaces=True)


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Look, and print. Returns 1 if something has failed."""
    cluster = connect(Access.of(given), environment)
    output = Output.of(given)
    namespace = None if given.all_namespaces else cluster.namespace
    if given.mailer and namespace is None:
        raise WrongInput("A mailer's name goes with -n, not with -A: two namespaces may have one of that name.")
    asked = Asked(cluster, namespace, given.mailer)
    groups: list[Group] = []
    with output.progress("asking the cluster"):
        for check in CHECKS:
            groups += check(asked)
    findings = [finding for group in groups for finding in group.findings]
    show(output, groups, findings)
    return exit_status(findings)


def show(output: Output, groups: Sequence[Group], findings: Sequence[Finding]) -> None:
    """Print the groups, and how many findings there are of each status."""
    shown = [group for group in groups if group.findings]
    if output.json:
        output.document({"status": worst(findings).value, "groups": [group.document() for group in shown]})
        return
    output.groups(shown)
    counts = [f"{sum(each.status is status for each in findings)} {status.mark}" for status in Status]
    output.line()
    output.line(", ".join(counts))
