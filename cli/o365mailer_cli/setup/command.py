"""The verb `setup`."""

import argparse
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from o365mailer_cli.errors import ClusterError, Refused, WrongFile, WrongInput
from o365mailer_cli.flags import FILE, cluster_flags, name, output_flag
from o365mailer_cli.output import Output
from o365mailer_cli.setup import az, powershell
from o365mailer_cli.setup.plan import Method, Plan, Shell, plan_for
from o365mailer_operator.token.errors import InvalidSpec
from o365mailer_operator.token.spec import decode_spec

if TYPE_CHECKING:
    from o365mailer_cli.cluster import Cluster

DESCRIPTION: Final = (
    "Print the script that sets up Entra and Exchange for a mailer, or the one that takes it back. "
    "Nothing is run and nothing is asked of Microsoft: a mail administrator reads the script and runs it."
)
NAMESPACE_PATTERN: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
"""A DNS label (RFC 1123)."""
WRITERS: Final = {Shell.POWERSHELL: powershell, Shell.AZ: az}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("mailer", nargs="?", type=name, metavar="MAILER", help="a mailer of the cluster")
    parser.add_argument(
        "-f", "--file", metavar="FILE", help="a mailer in a file instead, YAML or JSON; - for standard input"
    ).complete = FILE  # type: ignore[attr-defined]  # shtab's own attribute
    parser.add_argument(
        "--method",
        type=Method,
        choices=list(Method),
        default=Method.RBAC,
        help="rbac: a role for this mailbox alone (default); classic: an Entra permission and full access to it",
    )
    parser.add_argument(
        "--shell",
        type=Shell,
        choices=list(Shell),
        default=Shell.POWERSHELL,
        help="powershell: Microsoft Graph and Exchange Online modules (default); az: sh with the Azure CLI and pwsh",
    )
    parser.add_argument("--undo", action="store_true", help="print the script that takes the setup back")
    output_flag(parser)
    cluster_flags(parser)


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print the script. Returns 0."""
    if bool(given.mailer) == bool(given.file):
        raise WrongInput("name either a mailer of the cluster or, with -f, a file: o365mailer setup -f mailer.yaml.")
    plan = _of_file(given) if given.file else _of_cluster(given, environment)
    writer = WRITERS[given.shell]
    try:
        text = writer.undo_script(plan) if given.undo else writer.script(plan)
    except ValueError as error:
        raise WrongInput(f"spec.mailbox of {plan.mailer}: {error}") from None
    output = Output.of(given)
    if output.json:
        output.document(
            {
                "mailer": plan.mailer,
                "method": plan.method.value,
                "shell": given.shell.value,
                "undo": given.undo,
                "script": text,
            }
        )
    else:
        output.out.write(text)
    return 0


def _of_file(given: argparse.Namespace) -> Plan:
    from o365mailer_cli.mailer_file import read_mailer

    document = read_mailer(given.file)
    namespace = document.namespace or given.namespace
    if namespace and not re.fullmatch(NAMESPACE_PATTERN, namespace):
        raise WrongFile(f"{given.file}: metadata.namespace: {namespace!r} is not the name of a namespace.")
    if document.spec.credential.workload_identity and not namespace:
        raise WrongFile(
            f"{given.file}: metadata.namespace is missing. With workloadIdentity it is part of the subject that Entra "
            "trusts. Add it, or give -n NAMESPACE."
        )
    return plan_for(document.name, namespace, document.spec, given.method)


def _of_cluster(given: argparse.Namespace, environment: Mapping[str, str]) -> Plan:
    from o365mailer_cli.cluster import MAILERS
    from o365mailer_cli.kubeconfig import Access, connect

    cluster = connect(Access.of(given), environment)
    found = cluster.get(MAILERS, name=given.mailer, namespace=cluster.namespace)
    try:
        spec = decode_spec(found.get("spec"))
    except InvalidSpec as error:
        raise Refused(f"{cluster.namespace}/{given.mailer}: {error}") from None
    issuer = _issuer(cluster) if spec.credential.workload_identity else ""
    return plan_for(given.mailer, cluster.namespace, spec, given.method, issuer=issuer)


def _issuer(cluster: "Cluster") -> str:
    """The issuer of the cluster's ServiceAccounts; empty if the user may not read it."""
    try:
        return str(json.loads(cluster.text("/.well-known/openid-configuration"))["issuer"])
    except (ClusterError, ValueError, KeyError, TypeError):
        return ""
