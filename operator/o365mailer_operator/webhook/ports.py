"""The ports of the sidecar in this pod, and the kernel setting that lets it bind those below 1024.

All containers of a pod share one network, so a port that another container declares is taken. The webhook cannot see an
undeclared port; the sidecar's log names it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from o365mailer_contract import names
from o365mailer_operator.webhook.annotations import DEFAULT_PORTS, Annotations, shown
from o365mailer_operator.webhook.pod import PodSpec
from o365mailer_operator.webhook.verdict import Reason, Refused

SYSCTL: Final = "net.ipv4.ip_unprivileged_port_start"
"""All versions of Pod Security allow it, `restricted` included, and kubelet counts it as safe since 1.22
(kubernetes.io, "Using sysctls"). It applies to IPv4 and IPv6 of the pod's own network."""
PRIVILEGED_BELOW: Final = 1024
"""Linux's default of that setting. Container runtimes differ (0 since containerd 2.0), so the setting is written if a
port is lower. Otherwise it is left out, for nodes that accept no sysctls (virtual nodes)."""
FLOOR: Final = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
"""A number that Linux reads as decimal: one that begins with 0 is octal (proc_get_long, kernel/sysctl.c)."""


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where the sidecar listens."""

    ports: tuple[int, ...]
    health_port: int
    sysctl: str | None
    """The value to write; None if the pod has its own or no port needs it."""
    notes: tuple[str, ...]
    """Differences from the default, for the status annotation."""

    def addresses(self) -> tuple[str, ...]:
        """`127.0.0.1:25`, `[::1]:25` and so on: loopback only, in both families."""
        return tuple(address for port in self.ports for address in (f"127.0.0.1:{port}", f"[::1]:{port}"))


def choose_ports(spec: PodSpec, annotations: Annotations) -> Listening:
    """The ports in this pod.

    Raises Refused.
    """
    taken = dict(_declared(spec))
    health = annotations.health_port
    ports, notes = _smtp_ports(annotations, taken)
    if health in taken or health in ports:
        owner = f"container {taken[health]}" if health in taken else "the mail port"
        raise Refused(
            Reason.HEALTH_PORT_TAKEN,
            f"port {health}, where the sidecar serves its health and metrics, is taken by {owner}: set "
            f"annotation {names.HEALTH_PORT_ANNOTATION} to a free port",
        )
    return Listening(
        ports=ports,
        health_port=health,
        sysctl=_sysctl(spec, ports, health),
        notes=notes,
    )


def _declared(spec: PodSpec) -> Iterator[tuple[int, str]]:
    for container in spec.every_container():
        for port in container.ports or ():
            if port.protocol in (None, "TCP"):
                yield port.container_port, container.name


def _smtp_ports(annotations: Annotations, taken: dict[int, str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    wanted = annotations.ports or DEFAULT_PORTS
    notes: tuple[str, ...] = ()
    if annotations.ports is None and names.SUBMISSION_PORT in taken:
        wanted = (names.SMTP_PORT,)
        notes = (f"port {names.SUBMISSION_PORT} is left to container {taken[names.SUBMISSION_PORT]}",)
    for port in wanted:
        if port in taken:
            raise Refused(
                Reason.PORT_TAKEN,
                f"port {port}, where the sidecar takes mail, is declared by container {taken[port]}: set annotation "
                f'{names.PORTS_ANNOTATION} to free ports, such as "2525", and send mail there, or change the '
                "container's port",
            )
    return wanted, notes


def _sysctl(spec: PodSpec, ports: tuple[int, ...], health: int) -> str | None:
    """0 if the pod has no value of its own: any other would take ports from the app's containers."""
    own = _own_floor(spec)
    if own is None:
        return "0" if min(*ports, health) < PRIVILEGED_BELOW else None
    if not (FLOOR.fullmatch(own) and int(own) <= 65535):
        other = ", which Linux does not read as decimal" if own.startswith("0") else ""
        raise Refused(
            Reason.SYSCTL_TOO_HIGH,
            f"the pod sets sysctl {SYSCTL} to {shown(own)}{other}: write a number from 0 to 65535, or remove it",
        )
    below = [port for port in ports if port < int(own)]
    named = [names.PORTS_ANNOTATION] if below else []
    if health < int(own):
        below.append(health)
        named.append(names.HEALTH_PORT_ANNOTATION)
    if below:
        raise Refused(
            Reason.SYSCTL_TOO_HIGH,
            f"the pod sets sysctl {SYSCTL} to {own!r}, which forbids the sidecar port {min(below)}: set it to "
            f"{min(below)} or less, remove it, or set annotation {' and '.join(named)} to ports from "
            f"{int(own)} up",
        )
    return None


def _own_floor(spec: PodSpec) -> str | None:
    present = (spec.security_context.sysctls if spec.security_context else None) or ()
    # kubelet accepts both ways of writing the name, and uses the last entry
    return next((each.value for each in reversed(present) if each.name.replace("/", ".") == SYSCTL), None)
