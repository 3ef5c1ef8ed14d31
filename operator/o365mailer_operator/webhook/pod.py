"""The parts of Kubernetes objects that a decision needs, typed. Every other field is ignored and stays untouched.

Kubernetes mostly leaves out an empty array or map, and sometimes writes null. Both are None here, because a patch
depends on whether the array exists.
"""

from collections.abc import Iterator
from typing import Final

from o365mailer_contract.settings import Part

WINDOWS: Final = "windows"
OS_LABELS: Final = ("kubernetes.io/os", "beta.kubernetes.io/os")
"""Labels of a node; kubelet still writes both (kubernetes.io, "Well-Known Labels, Annotations and Taints")."""

WINDOWS_BUILD: Final = "node.kubernetes.io/windows-build"
"""A label that only Windows nodes have."""


class OwnerReference(Part, frozen=True):
    """An owner of the object; one of them may control it."""

    controller: bool | None = None


class Metadata(Part, frozen=True):
    """ObjectMeta."""

    name: str | None = None
    """Absent at the admission of a workload's pod, which has generate_name only."""
    generate_name: str | None = None
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None

    @property
    def controlled(self) -> bool:
        """Whether a controller manages the object, as a Deployment does its ReplicaSets, and a CronJob its Jobs."""
        return any(owner.controller for owner in self.owner_references or ())

    def annotation(self, key: str) -> str | None:
        """The annotation's value; None if absent."""
        return (self.annotations or {}).get(key)


class ContainerPort(Part, frozen=True):
    container_port: int
    protocol: str | None = None


class ResourceRequirements(Part, frozen=True):
    """Of a container or of the pod as a whole. Quantities are texts, or bare numbers in JSON."""

    requests: dict[str, str | int | float] | None = None
    limits: dict[str, str | int | float] | None = None


class WindowsOptions(Part, frozen=True):
    host_process: bool | None = None


class ContainerSecurityContext(Part, frozen=True):
    windows_options: WindowsOptions | None = None


class Container(Part, frozen=True):
    """A container or an init container."""

    name: str
    ports: list[ContainerPort] | None = None
    resources: ResourceRequirements | None = None
    security_context: ContainerSecurityContext | None = None

    def limits(self, resource: str) -> bool:
        """Whether it has a limit of this resource."""
        return bool(self.resources and resource in (self.resources.limits or {}))


class Volume(Part, frozen=True):
    """Only its name matters here."""

    name: str


class PullSecret(Part, frozen=True):
    """A reference by name. Kubernetes leaves out an empty name."""

    name: str = ""


class Sysctl(Part, frozen=True):
    """A kernel parameter of the pod's namespaces."""

    name: str
    value: str


class AppArmorProfile(Part, frozen=True):
    """`type` is RuntimeDefault, Localhost (a profile of the node's) or Unconfined."""

    type: str = ""


class PodSecurityContext(Part, frozen=True):
    """The security settings that containers inherit."""

    run_as_user: int | None = None
    fs_group: int | None = None
    app_armor_profile: AppArmorProfile | None = None
    sysctls: list[Sysctl] | None = None
    windows_options: WindowsOptions | None = None


class OperatingSystem(Part, frozen=True):
    """`spec.os`."""

    name: str | None = None


class Requirement(Part, frozen=True):
    """One condition on a node's labels."""

    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class NodeSelectorTerm(Part, frozen=True):
    """Conditions on a node, all of which must hold."""

    match_expressions: list[Requirement] | None = None


class NodeSelector(Part, frozen=True):
    """Terms, one of which must hold."""

    node_selector_terms: list[NodeSelectorTerm] | None = None


class NodeAffinity(Part, frozen=True):
    """The nodes that a pod may run on. Preferences do not matter here."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class Affinity(Part, frozen=True):
    """`spec.affinity`."""

    node_affinity: NodeAffinity | None = None


class PodSpec(Part, frozen=True):
    """What a pod runs."""

    containers: list[Container] | None = None
    """None: the API server refuses the pod after our answer."""
    init_containers: list[Container] | None = None
    volumes: list[Volume] | None = None
    image_pull_secrets: list[PullSecret] | None = None
    security_context: PodSecurityContext | None = None
    host_network: bool | None = None
    os: OperatingSystem | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    termination_grace_period_seconds: int | None = None
    restart_policy: str | None = None
    resources: ResourceRequirements | None = None
    """Pod-level resources: a budget that all containers share."""

    def every_container(self) -> Iterator[Container]:
        """Init containers first, then containers: all that share the pod's network and its QoS class."""
        yield from self.init_containers or ()
        yield from self.containers or ()

    def windows(self) -> bool:
        """Whether the pod can run on Windows nodes only."""
        return (
            (self.os is not None and self.os.name == WINDOWS)
            or WINDOWS_BUILD in (self.node_selector or {})
            or any((self.node_selector or {}).get(key) == WINDOWS for key in OS_LABELS)
            or self._requires_windows_node()
            or any(each.windows_options is not None and each.windows_options.host_process for each in self._security())
        )

    def _requires_windows_node(self) -> bool:
        """The terms are alternatives: each of them must ask for Windows and nothing else."""
        node = self.affinity.node_affinity if self.affinity else None
        required = node.required_during_scheduling_ignored_during_execution if node else None
        terms = (required.node_selector_terms if required else None) or ()
        return bool(terms) and all(
            any(
                (each.key in OS_LABELS and each.operator == "In" and set(each.values or ()) == {WINDOWS})
                or (each.key == WINDOWS_BUILD and each.operator in ("In", "Exists"))
                for each in term.match_expressions or ()
            )
            for term in terms
        )

    def _security(self) -> Iterator[PodSecurityContext | ContainerSecurityContext]:
        if self.security_context is not None:
            yield self.security_context
        yield from (each.security_context for each in self.every_container() if each.security_context is not None)


class Pod(Part, frozen=True):
    """A pod, or a workload's pod template."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
