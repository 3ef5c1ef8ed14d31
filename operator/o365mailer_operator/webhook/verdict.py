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
    """Why a pod or a workload is refused: a closed list, also in metrics, logs and docs/injection.md."""

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
    """kubectl shows them to the user. Each begins with WARNING_PREFIX and fits into WARNING_LIMIT (see `fitted`)."""


@dataclass(frozen=True, kw_only=True)
class Untouched:
    """The request is allowed as it is."""

    why: str


Verdict: TypeAlias = Patch | Denial | Untouched


class Refused(Exception):
    """A user's mistake. `inject` turns it into a Denial."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.denial = Denial(reason=reason, message=message)


def fitted(text: str, name: str) -> str:
    """The text with the name in place of `{}`. If the warning would be too long, the name is shortened."""
    room = WARNING_LIMIT - len(WARNING_PREFIX) - len(text) + len("{}")
    return text.replace("{}", name if len(name) <= room else name[: room - 1] + "…")
