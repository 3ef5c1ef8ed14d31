"""What the installation decides for every injected container."""

from dataclasses import dataclass
from typing import Literal, get_args

from o365mailer_operator.webhook.resources import DEFAULTS, Amounts

PullPolicy = Literal["Always", "IfNotPresent", "Never"]
DefaultSpool = Literal["", "ephemeral"]
PULL_POLICIES: tuple[PullPolicy, ...] = get_args(PullPolicy)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the injection."""

    image: str
    """The sidecar's image, by digest where the installation pins it."""
    image_pull_policy: PullPolicy = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    """Appended to the pod's own; each must exist in the pod's namespace."""
    resources: Amounts = DEFAULTS
    log_level: str | None = None
    """The sidecar's; None: the mailer's `logLevel`."""
    spool: DefaultSpool = ""
    """The spool of pods without a spool annotation: none, or an emptyDir. A claim belongs to one namespace."""
    openshift: bool = False
    """The platform chooses the uid (SecurityContextConstraints `restricted-v2` refuses any other)."""
