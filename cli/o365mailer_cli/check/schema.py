"""Findings on the CustomResourceDefinition: whether the API server keeps every member that this version reads. Pure.

The controller refuses to work with an outdated CRD, in the same words (`operator/`'s token/schema.py says why).
"""

from collections.abc import Iterator
from typing import Final

from o365mailer_cli.cluster import Manifest
from o365mailer_cli.errors import Absent, ClusterError
from o365mailer_cli.finding import Finding, Status
from o365mailer_contract.names import API_VERSION, DOCS, KIND, RELEASE
from o365mailer_operator.token.schema import OUTDATED, REMEDY, pruned, served_members, spec_members

INSTALL: Final = f"{DOCS}/install.md"
OUTDATED_CRD: Final = f"{DOCS}/troubleshooting.md#the-crd-is-outdated"
STATUS_MEMBERS: Final = (
    *("observedGeneration", "conditions", "secretName", "tokenExpiry", "tokenRevision", "lastRefresh", "nextRefresh"),
    *("failedAttempts", "lastAttempt", "lastAttemptTime", "lastFailureTime", "reasonTransitionTime", "login"),
)
"""What the controller writes into the status."""


def needed_members() -> frozenset[str]:
    """The members that this version reads or writes, such as `spec.recipients.redirectTo`."""
    return spec_members() | {f"status.{member}" for member in STATUS_MEMBERS}


def schema_finding(document: Manifest | ClusterError) -> Iterator[Finding]:
    """What is to be said of the served schema. `document` is what OPENAPI serves."""
    name = "crd.schema"
    if isinstance(document, Absent):
        yield Finding(
            name="crd.installed",
            status=Status.FAILED,
            title=f"the cluster has no {KIND} resources",
            cause=f"The API server does not serve {API_VERSION}: O365 Mailer is not installed, or its "
            "CustomResourceDefinition was deleted.",
            remedy="Install O365 Mailer with its chart, or apply crds/o365mailers.yaml of the installed version.",
            link=INSTALL,
        )
        return
    if isinstance(document, ClusterError):
        yield Finding(
            name=name,
            status=Status.UNKNOWN,
            title="the served schema could not be read",
            cause=str(document),
            remedy="Try again.",
            link=INSTALL,
        )
        return
    yield Finding(name="crd.installed", status=Status.OK, title=f"{API_VERSION} is served")
    served = served_members(document)
    missing = sorted(needed_members() - served)
    unknown = sorted(served - needed_members())
    if missing:
        yield Finding(
            name=name,
            status=Status.FAILED,
            title=OUTDATED,
            cause=f"{pruned(missing)} A controller of this version serves no mailer until then.",
            remedy=REMEDY,
            link=OUTDATED_CRD,
        )
    elif unknown:
        yield Finding(
            name=name,
            status=Status.WARNING,
            title=f"the CustomResourceDefinition is newer than version {RELEASE}",
            cause=f"It has {', '.join(unknown[:5])}{' and others' if len(unknown) > 5 else ''}, which this command "
            "does not know. A controller of this version would ignore it.",
            remedy="Use the command, the controller and the CRD of one version.",
            link=INSTALL,
        )
    else:
        yield Finding(name=name, status=Status.OK, title="the CustomResourceDefinition has every member")
