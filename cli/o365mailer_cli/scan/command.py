"""The verb `scan`."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Final

from o365mailer_cli.errors import WrongInput
from o365mailer_cli.finding import Finding, Group, Status, exit_status
from o365mailer_cli.flags import FILE, cluster_flags, output_flag
from o365mailer_cli.output import Output
from o365mailer_cli.scan.files import read_files
from o365mailer_cli.scan.inventory import Inventory
from o365mailer_cli.scan.report import Found, found_in, number, unread_findings

DESCRIPTION: Final = (
    "Find the workloads that log in to Office 365 with a password, and print what moves each to a relay. "
    "No value of a Secret is read without --read-secrets, and none is ever printed."
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "-f",
        "--file",
        action="append",
        metavar="FILE",
        help="scan a manifest, Helm values or a folder instead of a cluster; - for standard input; may be repeated",
    ).complete = FILE  # type: ignore[attr-defined]  # shtab's own attribute
    parser.add_argument(
        "--read-secrets",
        action="store_true",
        help="also read the Secrets that pod templates name; needs the right to get them",
    )
    parser.add_argument(
        "--with-addresses", action="store_true", help="show the mailbox that each app logs in as, where it was seen"
    )
    output_flag(parser)
    cluster_flags(parser, all_namespaces=True)


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Scan, print, and return the exit status: 1 if a login with a password was found."""
    output = Output.of(given)
    inventory = _read(given, environment, output)
    found = sorted(found_in(inventory), key=lambda one: one.subject)
    unread = list(unread_findings(inventory, secrets_read=given.read_secrets))
    findings = [*(one.finding for one in found), *unread]
    if output.json:
        documents = [one.document(addresses=given.with_addresses) for one in found]
        output.document(
            {
                "workloads": len(inventory.workloads),
                "files": len(inventory.texts),
                "findings": [*documents, *(one.document() for one in unread)],
            }
        )
    else:
        _print(output, inventory, found, unread, addresses=given.with_addresses)
    return exit_status(findings)


def _read(given: argparse.Namespace, environment: Mapping[str, str], output: Output) -> Inventory:
    if given.file:
        wrong = [flag for flag in ("kubeconfig", "context", "namespace", "all_namespaces") if getattr(given, flag)]
        if wrong:
            raise WrongInput(f"--{wrong[0].replace('_', '-')}: -f scans files, not a cluster. Leave one of them out.")
        return read_files(given.file, secrets=given.read_secrets)
    from o365mailer_cli.kubeconfig import Access, connect
    from o365mailer_cli.scan.cluster_reader import read_cluster

    cluster = connect(Access.of(given), environment)
    namespace = None if given.all_namespaces else cluster.namespace
    with output.progress("reading") as progress:
        inventory = read_cluster(cluster, namespace=namespace, secrets=given.read_secrets, told=progress.update)
    inventory.namespace = namespace or ""
    return inventory


def _print(
    output: Output, inventory: Inventory, found: Sequence[Found], unread: Sequence[Finding], *, addresses: bool
) -> None:
    findings = [one.finding for one in found]
    groups = [
        Group("Logs in with a password", [one for one in findings if one.status is Status.FAILED]),
        Group("To look at", [*(one for one in findings if one.status is Status.WARNING), *unread]),
        Group("Needs nothing", [one for one in findings if one.status is Status.OK]),
    ]
    output.groups(group for group in groups if group.findings)
    if any(group.findings for group in groups):
        output.line()
    seen = [(one.subject, one.login.mailbox) for one in found if one.login.mailbox]
    if addresses and seen:
        output.table(("WORKLOAD", "MAILBOX"), seen)
        output.line()
    where = number(len(inventory.workloads), "workload")
    if inventory.namespace:
        where += f" of the namespace {inventory.namespace} (-A scans all)"
    if inventory.texts:
        where += f" and {number(len(inventory.texts), 'other file')}"
    logins = number(len(groups[0].findings), "login")
    output.line(f"Scanned {where}: {logins} to Office 365 with a password.")
