"""A workload as the API server or a manifest has it, and the settings of its containers."""

import base64
import binascii
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from o365mailer_cli.scan.setting import Place, Setting, Source
from o365mailer_cli.scan.text import settings_in
from o365mailer_contract.names import CONTAINER, INJECT_ANNOTATION, SMTP_PORT

Object = Mapping[str, Any]
"""A Kubernetes object as decoded JSON. Nothing in it is trusted to have the right type."""

KINDS: Final = {
    "Deployment": "deployment",
    "StatefulSet": "statefulset",
    "DaemonSet": "daemonset",
    "CronJob": "cronjob",
    "Job": "job",
    "ReplicaSet": "replicaset",
    "ReplicationController": "replicationcontroller",
    "Rollout": "rollout",
    "Pod": "pod",
}
"""The kinds that have containers, and what kubectl calls them."""
_LARGEST_UNPACKED: Final = 2**20
_EXPANSION: Final = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


@dataclass(frozen=True)
class Workload:
    """An object with containers that no other of these objects has made."""

    kind: str
    namespace: str
    name: str
    containers: tuple[Object, ...]
    """Init containers first. O365 Mailer's own is not among them."""
    volumes: tuple[Object, ...]
    mailer: str = ""
    """The mailer whose relay its pods get already; empty if none."""
    owner: str = ""
    """`Alertmanager/main` if another controller made it and undoes changes."""
    manager: str = ""
    """`Helm`, `Argo CD`, `Flux`, or what the label app.kubernetes.io/managed-by says."""
    host_network: bool = False
    """Its pods use the node's network, so they cannot have a relay."""
    takes_smtp_port: bool = False
    """A container declares port 25, which the relay needs unless an annotation says otherwise."""

    @property
    def resource(self) -> str:
        """What kubectl calls it: `deployment/grafana`."""
        return f"{KINDS[self.kind]}/{self.name}"


def read_workload(found: Object) -> Workload | None:
    """The workload in an object; None for other objects, for one that another workload made, and for finished ones."""
    kind, metadata = text_at(found, "kind"), mapping_at(found, "metadata")
    if kind not in KINDS:
        return None
    owner = next((one for one in items_at(metadata, "ownerReferences") if one.get("controller") in {True, "true"}), {})
    if text_at(owner, "kind") in KINDS or _is_finished(found):
        return None
    pointer, template = _template(kind, found)
    spec = mapping_at(template, "spec")
    annotations = mapping_at(mapping_at(template, "metadata"), "annotations")
    own = mapping_at(metadata, "annotations")
    containers = [
        {**one, "_pointer": f"{pointer}/{member}/{index}"}
        for member in ("initContainers", "containers")
        for index, one in enumerate(items_at(spec, member))
        if text_at(one, "name") != CONTAINER
    ]
    return Workload(
        kind,
        text_at(metadata, "namespace"),
        text_at(metadata, "name"),
        tuple(containers),
        tuple(items_at(spec, "volumes")),
        text_at(annotations, INJECT_ANNOTATION) or text_at(own, INJECT_ANNOTATION),
        f"{text_at(owner, 'kind')}/{text_at(owner, 'name')}" if owner else "",
        manager_of(metadata),
        spec.get("hostNetwork") in {True, "true"},
        any(str(port.get("containerPort")) == str(SMTP_PORT) for one in containers for port in items_at(one, "ports")),
    )


def manager_of(metadata: Object) -> str:
    """What undoes a change of the object: `Argo CD` and `Flux` by their own marks, then what managed-by says.

    Sources: Argo CD, "Resource Tracking"; Flux, "Kustomization" and "HelmRelease" (their labels on each object).
    """
    labels, annotations = mapping_at(metadata, "labels"), mapping_at(metadata, "annotations")
    if "argocd.argoproj.io/tracking-id" in annotations or "argocd.argoproj.io/instance" in labels:
        return "Argo CD"
    if any(f"{one}.toolkit.fluxcd.io/name" in labels for one in ("kustomize", "helm")):
        return "Flux"
    return text_at(labels, "app.kubernetes.io/managed-by")


def _template(kind: str, found: Object) -> tuple[str, Object]:
    if kind == "Pod":
        return "/spec", found
    spec = mapping_at(found, "spec")
    if kind == "CronJob":
        job = mapping_at(mapping_at(spec, "jobTemplate"), "spec")
        return "/spec/jobTemplate/spec/template/spec", mapping_at(job, "template")
    return "/spec/template/spec", mapping_at(spec, "template")


def _is_finished(found: Object) -> bool:
    status = mapping_at(found, "status")
    if text_at(found, "kind") == "Pod":
        return status.get("phase") in {"Succeeded", "Failed"}
    ended = {"Complete", "Failed"}
    return text_at(found, "kind") == "Job" and any(
        one.get("type") in ended and one.get("status") == "True" for one in items_at(status, "conditions")
    )


@dataclass(frozen=True)
class Data:
    """What a ConfigMap or a Secret holds, by key. The texts of a Secret are secret."""

    values: Mapping[str, str]
    manager: str = ""
    """As a workload's."""

    @classmethod
    def of_config_map(cls, found: Object) -> "Data":
        """The texts of a ConfigMap. Binary data is left out."""
        texts = {key: value for key, value in mapping_at(found, "data").items() if isinstance(value, str)}
        return cls(texts, manager_of(mapping_at(found, "metadata")))

    @classmethod
    def of_secret(cls, found: Object) -> "Data":
        """The texts of a Secret, decoded; those of `*.gz` also unpacked, up to 1 MiB. What is no text is left out."""
        texts = {key: value for key, value in mapping_at(found, "stringData").items() if isinstance(value, str)}
        for key, value in mapping_at(found, "data").items():
            if isinstance(value, str):
                texts.setdefault(key, _decoded(value, packed=key.endswith(".gz")))
        return cls(texts)


def _decoded(value: str, *, packed: bool) -> str:
    try:
        content = base64.b64decode(value, validate=False)
        if packed:
            content = zlib.decompressobj(wbits=31).decompress(content, _LARGEST_UNPACKED)
    except (binascii.Error, ValueError, zlib.error):
        return ""
    return "" if b"\0" in content else content.decode(errors="replace")


@dataclass(frozen=True)
class Stored:
    """The ConfigMaps and Secrets that were read, by namespace and name."""

    config_maps: Mapping[tuple[str, str], Data]
    secrets: Mapping[tuple[str, str], Data]
    """Empty unless the user allowed to read them."""
    _read: dict[tuple[str, str, str, str], tuple[Setting, ...]] = field(default_factory=dict, repr=False)
    """The settings of each file that was read already: many workloads may mount one ConfigMap."""

    def settings(self, kind: str, namespace: str, name: str, key: str) -> tuple[Setting, ...]:
        """The settings in one file of a ConfigMap or Secret."""
        file = (kind, namespace, name, key)
        if file not in self._read:
            data = self.get(kind, namespace, name)
            text = data.values.get(key, "") if data else ""
            place = Place(Source.FILE, object=f"{kind}/{name}", file=key)
            self._read[file] = tuple(settings_in(text, place))
        return self._read[file]

    def get(self, kind: str, namespace: str, name: str) -> Data | None:
        """What the object holds; None if it was not read."""
        return (self.secrets if kind == "Secret" else self.config_maps).get((namespace, name))


def settings_of(workload: Workload, container: Object, stored: Stored) -> list[Setting]:
    """All settings that a container's template names: variables, arguments, and the files that it mounts."""
    name = text_at(container, "name")
    reader = _Reader(workload, Place(Source.ENV, name), stored)
    variables = {one.name: one for one in (*reader.env_from(container), *reader.env(container))}
    return [*variables.values(), *reader.arguments(container, variables), *reader.files(container)]


@dataclass(frozen=True)
class _Reader:
    workload: Workload
    place: Place
    stored: Stored

    def _value(self, kind: str, name: str, key: str) -> str | None:
        data = self.stored.get(kind, self.workload.namespace, name)
        return None if data is None else data.values.get(key, "")

    def env(self, container: Object) -> Iterator[Setting]:
        for one in items_at(container, "env"):
            name, source = text_at(one, "name"), mapping_at(one, "valueFrom")
            place, value = self.place, one.get("value")
            for kind, member in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                if reference := mapping_at(source, member):
                    owner, key = text_at(reference, "name"), text_at(reference, "key")
                    place = replace(self.place, object=f"{kind}/{owner}", file=key)
                    value = self._value(kind, owner, key)
            if (
                name
                and (value is None or isinstance(value, str))
                and not ("fieldRef" in source or "resourceFieldRef" in source)
            ):
                yield Setting(name, value if place.object or value is not None else "", place)

    def env_from(self, container: Object) -> Iterator[Setting]:
        for one in items_at(container, "envFrom"):
            for kind, member in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                owner = text_at(mapping_at(one, member), "name")
                data = self.stored.get(kind, self.workload.namespace, owner) if owner else None
                for key, value in (data.values if data else {}).items():
                    place = replace(self.place, source=Source.ENV_FROM, object=f"{kind}/{owner}", file=key)
                    yield Setting(text_at(one, "prefix") + key, value, place)

    def arguments(self, container: Object, variables: Mapping[str, Setting]) -> Iterator[Setting]:
        """The flags of command and args, with $(VARIABLE) expanded. A flag's value may be the next argument."""
        words = [
            (f"{text_at(container, '_pointer')}/{member}/{index}", word)
            for member in ("command", "args")
            for index, word in enumerate(list_at(container, member))
            if isinstance(word, str)
        ]
        skip = False
        for at, (pointer, word) in enumerate(words):
            if skip:
                skip = False
                continue
            place = replace(self.place, source=Source.ARGUMENT, pointer=pointer)
            following = words[at + 1] if at + 1 < len(words) else ("", "")
            flag = re.fullmatch(r"--?([A-Za-z][\w.-]{0,80})", word)
            if (
                flag
                and following[1]
                and not following[1].startswith("-")
                and not re.search(r"\s", following[1][:200].strip())
            ):
                skip = True
                yield Setting(flag[1], _expanded(following[1], variables), replace(place, pointer=following[0]))
                continue
            whole = re.fullmatch(r"--?([A-Za-z][\w.-]{0,80})=(\S*)", word)
            if whole:
                flag_text = word.partition("=")[0] + "="
                yield Setting(whole[1], _expanded(whole[2], variables), replace(place, flag=flag_text))
                continue
            for one in settings_in(word, replace(place, file="", alone=False)):
                yield replace(one, place=replace(one.place, line=0) if "\n" not in word.strip() else one.place)

    def files(self, container: Object) -> Iterator[Setting]:
        """The settings in the ConfigMaps and Secrets that the container mounts."""
        volumes = {text_at(one, "name"): one for one in self.workload.volumes}
        read: set[tuple[str, str, str]] = set()
        for mount in items_at(container, "volumeMounts"):
            volume = volumes.get(text_at(mount, "name"), {})
            for source in (volume, *items_at(mapping_at(volume, "projected"), "sources")):
                for kind, owner, keys in _sources(source):
                    data = self.stored.get(kind, self.workload.namespace, owner)
                    for key in data.values if data else ():
                        if (keys is None or key in keys) and (kind, owner, key) not in read:
                            read.add((kind, owner, key))
                            yield from self.stored.settings(kind, self.workload.namespace, owner, key)


def _sources(source: Object) -> Iterator[tuple[str, str, frozenset[str] | None]]:
    """The ConfigMap or Secret of a volume (or of a part of a projected one): kind, name, and its keys, None for all."""
    for kind, member, called in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
        part = mapping_at(source, member)
        owner = text_at(part, called) or text_at(part, "name")
        if owner:
            keys = frozenset(text_at(one, "key") for one in items_at(part, "items"))
            yield kind, owner, keys or None


def unread_secrets(workload: Workload, stored: Stored) -> frozenset[str]:
    """The names of the Secrets that the template mounts or takes variables from, and that were not read."""
    named = _named(workload, "Secret", reference="secretRef", key_reference="secretKeyRef")
    return frozenset(one for one in named if (workload.namespace, one) not in stored.secrets)


def config_maps_of(workload: Workload) -> frozenset[str]:
    """The names of the ConfigMaps that the template names."""
    return _named(workload, "ConfigMap", reference="configMapRef", key_reference="configMapKeyRef")


def _named(workload: Workload, kind: str, *, reference: str, key_reference: str) -> frozenset[str]:
    """The names of a kind in `envFrom`, in `env`, and in volumes."""
    named = set()
    for container in workload.containers:
        named |= {text_at(mapping_at(one, reference), "name") for one in items_at(container, "envFrom")}
        named |= {
            text_at(mapping_at(mapping_at(one, "valueFrom"), key_reference), "name")
            for one in items_at(container, "env")
        }
    for volume in workload.volumes:
        for source in (volume, *items_at(mapping_at(volume, "projected"), "sources")):
            named |= {owner for owner_kind, owner, _ in _sources(source) if owner_kind == kind}
    return frozenset(named - {""})


def _expanded(text: str, variables: Mapping[str, Setting]) -> str | None:
    """The text with $(NAME) replaced, as the kubelet does; None if a variable of it is in an unread Secret."""
    for name in _EXPANSION.findall(text):
        if name in variables and variables[name].value is None:
            return None
    return _EXPANSION.sub(lambda found: variables[found[1]].value or "" if found[1] in variables else found[0], text)


def mapping_at(found: Any, member: str) -> Object:
    """The object at `member`; an empty one for anything else."""
    value = found.get(member) if isinstance(found, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def items_at(found: Any, member: str) -> list[Object]:
    """The objects of the list at `member`; an empty list for anything else."""
    return [one for one in list_at(found, member) if isinstance(one, Mapping)]


def list_at(found: Any, member: str) -> list[Any]:
    """The list at `member`; an empty one for anything else."""
    value = found.get(member) if isinstance(found, Mapping) else None
    return value if isinstance(value, list) else []


def text_at(found: Any, member: str) -> str:
    """The text at `member`; an empty one for anything else."""
    value = found.get(member) if isinstance(found, Mapping) else None
    return value if isinstance(value, str) else ""
