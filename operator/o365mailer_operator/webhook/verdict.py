"""What the webhook can answer: a patch, a denial with its fix, or nothing to do."""

import enum
from dataclasses import dataclass
from typing import Final, TypeAlias

from o365mailer_operator.webhook.patch import Operation

DOCUMENTATION: Final = "docs/injection.md"
WARNING_PREFIX: Final = "o365mailer: "
WARNING_LIMIT: Final = 256
"""Characters of one warning; the API server may cut a longer one (kubernetes.io, "Dynamic Admission Control")."""


class Reason(enum.StrEnum):
    """Why a pod or a workload is refused. Closed: metrics, logs and docs/injection.md use the same words."""

    MAILER_EMPTY = "MailerEmpty"
    MAILER_NAME_INVALID = "MailerNameInvalid"
    CLUSTER_MAILER_UNAVAILABLE = "ClusterMailerUnavailable"
    ANNOTATION_UNKNOWN = "AnnotationUnknown"
    PORTS_INVALID = "PortsInvalid"
    PORT_TAKEN = "PortTaken"
    HEALTH_PORT_INVALID = "HealthPortInvalid"
    HEALTH_PORT_TAKEN = "HealthPortTaken"
    SPOOL_INVALID = "SpoolInvalid"
    QUANTITY_INVALID = "QuantityInvalid"
    REQUEST_ABOVE_LIMIT = "RequestAboveLimit"
    QOS_WOULD_CHANGE = "QoSWouldChange"
    HOST_NETWORK = "HostNetwork"
    WINDOWS = "Windows"
    SYSCTL_TOO_HIGH = "SysctlTooHigh"
    VOLUME_NAME_TAKEN = "VolumeNameTaken"
    CONTAINER_NAME_TAKEN = "ContainerNameTaken"
    LABEL_DIFFERS = "LabelDiffers"
    CONFLICTING_ANNOTATION = "ConflictingAnnotation"


@dataclass(frozen=True, kw_only=True)
class Denial:
    """The request is refused; the message says what is wrong, where, and how to fix it."""

    reason: Reason
    message: str


@dataclass(frozen=True, kw_only=True)
class Patch:
    """The request is allowed with these operations (RFC 6902)."""

    operations: tuple[Operation, ...]
    mailer: str | None
    warnings: tuple[str, ...] = ()
    """Shown by kubectl to the sender of the request, each with WARNING_PREFIX; kept whole by `fitted`."""


@dataclass(frozen=True, kw_only=True)
class Untouched:
    """The request is allowed as it is."""

    why: str


Verdict: TypeAlias = Patch | Denial | Untouched


class Refused(Exception):
    """A user's mistake, found somewhere inside the decision; the decision's edge turns it into a Denial."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.denial = Denial(reason=reason, message=message)


def fitted(text: str, name: str) -> str:
    """The text, with the name where it has `{}`. Where the warning would be too long, the name is shortened."""
    room = WARNING_LIMIT - len(WARNING_PREFIX) - len(text) + len("{}")
    return text.replace("{}", name if len(name) <= room else name[: room - 1] + "…")
