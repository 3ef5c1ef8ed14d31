"""Findings on the controller: whether one replica works, and whether it has its rights. Pure."""

import datetime
from collections.abc import Iterator, Mapping

from o365mailer_cli.check.rights import unread
from o365mailer_cli.cluster import Manifest
from o365mailer_cli.errors import ClusterError, Forbidden
from o365mailer_cli.finding import Finding, Status
from o365mailer_cli.mailers import instant
from o365mailer_cli.wording import span
from o365mailer_contract.names import DOCS, PLURAL, grant_command

LEASE = "o365mailer-controller"
CLOCKS = 60.0
"""Seconds by which this machine's clock and the controller's may differ."""
SHOWN = 5
"""Of a list, at most."""
INSTALL = "Install the chart's roles again with helm upgrade, and add the namespace to watchNamespaces if you set that."
AWAY = f"{DOCS}/troubleshooting.md#o365mailercontrolleraway"


def leading(lease: Manifest | ClusterError | None, now: datetime.datetime, *, namespace: str) -> Finding:
    """Whether a replica holds the Lease and renews it."""
    name = "controller.leading"
    if isinstance(lease, ClusterError):
        return unread(name, f"the Lease {LEASE}", lease, namespace=namespace)
    if lease is None:
        return Finding(
            name=name,
            status=Status.FAILED,
            title="no controller has ever worked",
            cause=f"Namespace {namespace} has no Lease {LEASE}: it does not run, or may not write there.",
            remedy=f"kubectl logs deployment/o365mailer-controller -n {namespace}",
            link=AWAY,
        )
    spec = lease.get("spec") or {}
    holder = str(spec.get("holderIdentity") or "").partition("_")[0]
    renewed = instant(spec.get("renewTime"))
    age = (now - renewed).total_seconds() if renewed else float("inf")
    if not holder or age > CLOCKS + float(spec.get("leaseDurationSeconds") or 15):
        since = f"since {span(age)}" if renewed else ""
        return Finding(
            name=name,
            status=Status.FAILED,
            title=f"no controller works {since}".rstrip(),
            subject=f"{namespace}/{LEASE}",
            cause=f"The Lease is not renewed{' by ' + holder if holder else ''}: the controller is gone, or it does "
            "not reach the API server. No token is refreshed.",
            remedy=f"kubectl logs deployment/o365mailer-controller -n {namespace}",
            link=AWAY,
        )
    return Finding(name=name, status=Status.OK, title=f"{holder} leads")


def rights(allowed: Mapping[str, bool | ClusterError], account: str) -> Iterator[Finding]:
    """Whether the controller's ServiceAccount may do what it has to.

    `allowed`: such as `update secrets in namespace shop`, and whether it may.
    """
    name = "controller.rights"
    unknown = [(right, answer) for right, answer in allowed.items() if isinstance(answer, ClusterError)]
    missing = sorted(right for right, answer in allowed.items() if answer is False)
    if missing:
        # Where the controller serves the mailers and lacks Secrets alone, the namespace's administrator may grant them.
        unserved = {_namespace(right) for right in missing if f" {PLURAL}/status " in right}
        ungranted = sorted({_namespace(right) for right in missing if " secrets " in right} - unserved)
        others = [right for right in missing if " secrets " not in right or _namespace(right) in unserved]
        remedy = [INSTALL] if others else []
        remedy += [grant_command(namespace=each, operator=account.split(":")[2]) for each in ungranted[:SHOWN]]
        yield Finding(
            name=name,
            status=Status.FAILED,
            title=f"the controller lacks {len(missing)} right{'' if len(missing) == 1 else 's'}",
            subject=account,
            cause=f"It may not {'; '.join(missing[:SHOWN])}{' and more' if len(missing) > SHOWN else ''}.",
            remedy="\n".join(remedy),
            link=f"{DOCS}/troubleshooting.md#secretunreadable",
        )
    elif unknown:
        _, error = unknown[0]
        yield _unasked(name, error)
    elif allowed:
        yield Finding(name=name, status=Status.OK, title="the controller has its rights")


def _namespace(right: str) -> str:
    return right.rpartition(" ")[2]


def _unasked(name: str, error: ClusterError) -> Finding:
    if not isinstance(error, Forbidden):
        return unread(name, "the controller's rights", error)
    return Finding(
        name=name,
        status=Status.UNKNOWN,
        title="you may not ask for the controller's rights",
        cause=str(error).partition(f" {DOCS}")[0],
        remedy="Only an administrator may ask for another account's rights (create subjectaccessreviews): let one run "
        "this check. A missing right shows as the reason SecretUnreadable or SecretWriteRefused of a mailer too.",
        link=f"{DOCS}/command.md#rights",
    )
