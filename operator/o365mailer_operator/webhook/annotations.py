"""A pod's annotations, read strictly: a typo is refused with its fix, or gets a warning, and is never ignored.

The user would notice an ignored annotation weeks later, when a mail does not go out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from o365mailer_contract import names
from o365mailer_contract.quantities import InvalidQuantity
from o365mailer_operator.webhook.resources import amount
from o365mailer_operator.webhook.verdict import Reason, Refused

MAILER_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", re.ASCII)
"""A DNS label (RFC 1123) of at most 40 characters, as the CRD requires: then `o365mailer.<mailer>` and its label are
short enough for every object that carries them."""

CLAIM_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
"""A DNS subdomain (RFC 1123) of at most LONGEST_CLAIM characters, as the API server requires of a claim's name."""
LONGEST_CLAIM: Final = 253

DEFAULT_PORTS: Final = (names.SMTP_PORT, names.SUBMISSION_PORT)
LONGEST_PORTS: Final = 1000
"""Characters of the annotation that lists them."""
SHOWN: Final = 60
"""Characters of a wrong value that a message repeats."""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The annotations of one pod, each checked by itself."""

    mailer: str
    ports: tuple[int, ...] | None
    """None: the default ports, without 587 if the pod uses it."""
    health_port: int
    spool: str | None
    """`ephemeral`, `none` or the name of a claim; None: the installation's."""
    resources: Mapping[tuple[str, str], str]
    """`("limits", "memory")` → `"128Mi"`, for each annotation that the pod has."""


def read_annotations(annotations: Mapping[str, str], *, namespace: str) -> Annotations:
    """The annotations of a pod in this namespace.

    Raises Refused.
    """
    mailer = check_mailer(annotations[names.INJECT_ANNOTATION], namespace=namespace)
    return Annotations(
        mailer=mailer,
        ports=_ports(annotations.get(names.PORTS_ANNOTATION)),
        health_port=_health_port(annotations.get(names.HEALTH_PORT_ANNOTATION)),
        spool=_spool(annotations.get(names.SPOOL_ANNOTATION)),
        resources={
            place: _quantity(key, annotations[key])
            for key, place in names.RESOURCE_ANNOTATIONS.items()
            if key in annotations
        },
    )


def check_mailer(value: str, *, namespace: str) -> str:
    """The mailer that the annotation names.

    Raises Refused.
    """
    if not value:
        raise Refused(
            Reason.MAILER_EMPTY,
            f"annotation {names.INJECT_ANNOTATION} is empty: write the name of an {names.KIND} in namespace "
            f"{namespace}, or remove the annotation",
        )
    if value.startswith("cluster/"):
        raise Refused(
            Reason.CLUSTER_MAILER_UNAVAILABLE,
            f"annotation {names.INJECT_ANNOTATION} is {shown(value)}: mailers shared by the whole cluster are not "
            f"available in this version; create an {names.KIND} in namespace {namespace} and write its name",
        )
    if not MAILER_NAME.fullmatch(value):
        raise Refused(
            Reason.MAILER_NAME_INVALID,
            f"annotation {names.INJECT_ANNOTATION} is {shown(value)}, which cannot be a mailer's name: write the name "
            f"of an {names.KIND} in namespace {namespace}, at most 40 of a-z, 0-9 and '-', beginning and ending with "
            "a letter or digit",
        )
    return value


def shown(value: str) -> str:
    """A user's value for a message: quoted, and shortened if it is long."""
    return repr(value if len(value) <= SHOWN else value[:SHOWN] + "…")


def unknown_keys(annotations: Mapping[str, str] | None) -> list[str]:
    """The annotations of our group that this version does not know, sorted.

    A workload with one is refused, because a person reads the refusal. A pod with one gets a warning: it may be an
    annotation of a newer version, and a rollback of the operator must not keep pods from starting.
    """
    known = names.USER_ANNOTATIONS | {names.STATUS_ANNOTATION}
    return sorted(key for key in annotations or () if key.startswith(f"{names.GROUP}/") and key not in known)


def _ports(value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    ports = tuple(_port(part.strip()) for part in value[: LONGEST_PORTS + 1].split(","))
    wrong = len(value) > LONGEST_PORTS or None in ports or len(set(ports)) < len(ports)
    if wrong:
        raise Refused(
            Reason.PORTS_INVALID,
            f"annotation {names.PORTS_ANNOTATION} is {shown(value)}: write different port numbers from 1 to 65535, "
            'separated by commas, such as "25,587" or "2525"',
        )
    return tuple(port for port in ports if port is not None)


def _health_port(value: str | None) -> int:
    if value is None:
        return names.HEALTH_PORT
    port = _port(value)
    if port is None:
        raise Refused(
            Reason.HEALTH_PORT_INVALID,
            f"annotation {names.HEALTH_PORT_ANNOTATION} is {shown(value)}: write one port number from 1 to 65535, "
            f'such as "{names.HEALTH_PORT}"',
        )
    return port


def _spool(value: str | None) -> str | None:
    if value is None or (len(value) <= LONGEST_CLAIM and CLAIM_NAME.fullmatch(value)):
        return value
    raise Refused(
        Reason.SPOOL_INVALID,
        f"annotation {names.SPOOL_ANNOTATION} is {shown(value)}: write {names.SPOOL_EPHEMERAL} for a spool that ends "
        "with the pod, the name of a PersistentVolumeClaim in this namespace for one that outlives it, or "
        f"{names.SPOOL_NONE}",
    )


def _port(text: str) -> int | None:
    if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) and 1 <= int(text) <= 65535:
        return int(text)
    return None


def _quantity(key: str, value: str) -> str:
    try:
        amount(value)
    except InvalidQuantity:
        raise Refused(
            Reason.QUANTITY_INVALID,
            f"annotation {key} is {shown(value)}: write a Kubernetes quantity, such as "
            + ('"100m"' if "/cpu-" in key else '"128Mi"'),
        ) from None
    return value
