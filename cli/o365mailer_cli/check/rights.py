"""Findings about what could not be looked at. Pure.

A missing right is no fault of the cluster's, so the finding is unknown. It names the ClusterRole to ask for, and the
command that an administrator gives it with.
"""

from typing import Final

from o365mailer_cli.errors import ClusterError, Forbidden
from o365mailer_cli.finding import Finding, Status
from o365mailer_contract.names import DOCS

VIEWER: Final = "o365mailer-viewer"
"""The chart's ClusterRole for people who look."""
EDIT: Final = "edit"
"""Kubernetes' own ClusterRole for people who may create pods in a namespace."""
RIGHTS: Final = f"{DOCS}/command.md#rights"


def unread(
    name: str, what: str, error: ClusterError, *, namespace: str = "", role: str = VIEWER, subject: str = ""
) -> Finding:
    """The finding on something that could not be read. `what`: such as `the nodes`. Without a namespace, the right is
    needed in the whole cluster."""
    if not isinstance(error, Forbidden):
        return Finding(
            name=name,
            status=Status.UNKNOWN,
            subject=subject,
            title=f"{what} could not be read",
            cause=str(error),
            remedy="Try again.",
            link=f"{DOCS}/command.md#the-cluster",
        )
    place = f"in namespace {namespace}" if namespace else "in the whole cluster"
    bind = f"rolebinding -n {namespace}" if namespace else "clusterrolebinding"
    return Finding(
        name=name,
        status=Status.UNKNOWN,
        subject=subject,
        title=f"you may not read {what}",
        cause=str(error).partition(f" {DOCS}")[0],
        remedy=(
            f"Ask for the ClusterRole {role} {place}. An administrator gives it with: "
            f"kubectl create {bind} NAME --clusterrole={role} --user=YOU"
        ),
        link=RIGHTS,
    )
