"""`o365mailer check`: its flags, and how it prints what the parts find out."""

import argparse
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from o365mailer_cli.check.asked import Asked
from o365mailer_cli.check.cluster import cluster_groups
from o365mailer_cli.check.cluster_login import cluster_logins
from o365mailer_cli.check.document import FileAsked, applicant_of
from o365mailer_cli.check.login import FLAGS, LoginOptions, login_groups
from o365mailer_cli.concurrently import together
from o365mailer_cli.errors import ClusterError, WrongInput
from o365mailer_cli.finding import Finding, Group, Status, exit_status, worst
from o365mailer_cli.flags import ENV_HTTPS_PROXY, FILE, FOLDER, cluster_flags, folder, name, output_flag
from o365mailer_cli.kubeconfig import Access, connect, namespace_of
from o365mailer_cli.output import Output
from o365mailer_operator.token.endpoints import AllowedHosts

DESCRIPTION: Final = (
    "Look for what is wrong with mail: the API server, the installation, the mailers, the pods with a relay, and the "
    "login at Office 365. Each ✗ has its cause, its remedy and a link. Exit status 1 if there is one."
)
CHECKS: Final[Sequence[Callable[[Asked], Sequence[Group]]]] = (cluster_groups, cluster_logins)
"""What is asked, in the order in which it is printed."""
LONGEST: Final = 120.0
"""Seconds for all of it. Each part has shorter limits of its own."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    about = parser.add_mutually_exclusive_group().add_argument
    about("mailer", nargs="?", type=name, metavar="MAILER", help="only this mailer and its pods, and try its login")
    about(
        "-f",
        "--file",
        metavar="FILE",
        help="try the login of the O365Mailer in this file, without a cluster; - is stdin",
    ).complete = FILE  # type: ignore[attr-defined]  # shtab's own attribute
    group = parser.add_argument_group("the login")
    group.add_argument(
        "--login", action="store_true", help="try the login of every mailer, not only of one that is named"
    )
    group.add_argument(
        "--secrets-dir",
        type=folder,
        metavar="DIR",
        help="with -f: a file for each key, DIR/<secret>/<key> (default: variables O365MAILER_SECRET_<SECRET>_<KEY>)",
    ).complete = FOLDER  # type: ignore[attr-defined]  # shtab's own attribute
    group.add_argument(
        "--https-proxy", metavar="URL", help=f"the proxy on the way to Entra (default: the variable {ENV_HTTPS_PROXY})"
    )
    for wanted, gets in (("authority", "tokens: it gets the client secret"), ("submission", "mail: it gets the token")):
        group.add_argument(
            f"--allow-{wanted}-host",
            action="append",
            default=[],
            metavar="HOST[:PORT]",
            help=f"a host that a mailer of the cluster may name for {gets}. Microsoft's need no flag; may be repeated",
        )
    output_flag(parser)
    cluster_flags(parser, all_namespaces=True)


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Look, and print. Returns 1 if something has failed."""
    output = Output.of(given)
    login = LoginOptions(
        https_proxy=given.https_proxy or environment.get(ENV_HTTPS_PROXY) or None,
        environment_proxy=bool(environment.get("HTTPS_PROXY") or environment.get("https_proxy")),
        allowed_hosts=AllowedHosts.in_addition(
            authority=given.allow_authority_host, submission=given.allow_submission_host, remedies=FLAGS
        ),
    )
    groups = (
        _of_file(given, environment, login, output) if given.file else _of_cluster(given, environment, login, output)
    )
    findings = [finding for group in groups for finding in group.findings]
    show(output, groups, findings)
    return exit_status(findings)


def _of_file(
    given: argparse.Namespace, environment: Mapping[str, str], login: LoginOptions, output: Output
) -> Sequence[Group]:
    for flag, value in (("-n", given.namespace), ("-A", given.all_namespaces), ("--context", given.context)):
        if value:
            raise WrongInput(
                f"-f checks a file from this machine, so {flag} has no meaning with it. Leave one of them out."
            )
    applicant = applicant_of(FileAsked(given.file, given.secrets_dir), environment)
    with output.progress("asking Entra and Exchange"):
        return login_groups([applicant], login)


def _of_cluster(
    given: argparse.Namespace, environment: Mapping[str, str], login: LoginOptions, output: Output
) -> Sequence[Group]:
    if given.secrets_dir:
        raise WrongInput("--secrets-dir goes with -f. In a cluster, the Secrets are read from the mailer's namespace.")
    cluster = connect(Access.of(given), environment)
    namespace = namespace_of(given, cluster)
    asked = Asked(cluster, namespace, given.mailer, login if given.mailer or given.login else None)
    groups: list[Group] = []
    with output.progress("asking the cluster, Entra and Exchange" if asked.login else "asking the cluster"):
        for answer in together([functools.partial(check, asked) for check in CHECKS], seconds=LONGEST):
            if isinstance(answer, ClusterError):
                raise answer
            groups += answer
    return groups


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
