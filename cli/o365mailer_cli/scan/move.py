"""What moves an app to its relay: the settings to change, and the lines that change them."""

import enum
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_cli.scan.login import Login
from o365mailer_cli.scan.role import shown_name
from o365mailer_cli.scan.setting import Place, Setting, Source
from o365mailer_cli.scan.workload import KINDS, Workload
from o365mailer_contract.names import INJECT_ANNOTATION, PORTS_ANNOTATION, SMTP_PORT

RELAY: Final = "127.0.0.1"
OTHER_PORT: Final = 2525
"""For a relay whose pod has port 25 already."""
UNKNOWN_MAILER: Final = "MAILER"
"""Stands for a mailer that is still to be made. It is no legal name, so the webhook refuses a line that keeps it."""

_OPPOSITES: Final = {"true": "false", "yes": "no", "on": "off", "1": "0", "enabled": "disabled", "always": "never"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_OFF: Final = frozenset({"", *_OPPOSITES.values(), "none", "null", "nostarttls", "plain", "~"})
_ANNOTATED: Final = frozenset(
    {"Deployment", "StatefulSet", "DaemonSet", "CronJob", "ReplicaSet", "ReplicationController"}
)
"""The kinds whose annotation the webhook copies into the pod template, and that `kubectl set env` changes."""
_RESTARTED: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
"""The kinds that `kubectl rollout restart` accepts. A CronJob's next pod reads the ConfigMap anyway."""
_IGNORED: Final = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Namespaces that the webhook leaves alone (docs/injection.md)."""
_PATCHED: Final = frozenset({"Rollout"})
MANAGERS: Final = {
    "Helm": "change its values too, or the next upgrade undoes it.",
    "Argo CD": "change it in its repository too, or the next sync undoes it.",
    "Flux": "change it in its repository too, or the next reconciliation undoes it.",
}
READERS: Final = {"argocd-notifications-cm": "deployment/argocd-notifications-controller"}
"""ConfigMaps that their app reads through the API, so that no pod template names them."""


class Action(enum.Enum):
    """What happens to a setting."""

    SET = "set"
    ADD = "add"
    """Set one that the configuration does not have yet, because the app's default requires TLS."""
    REMOVE = "remove"
    REPLACE = "replace"
    """Replace the host, and its login, within a value that says more (JSON, Java's options, a list)."""


@dataclass(frozen=True)
class Edit:
    """One setting to change. The value is ours, never the user's."""

    action: Action
    name: str
    place: Place
    value: str = ""

    def __str__(self) -> str:
        if self.action is Action.REMOVE:
            return f"remove {self.name}"
        if self.action is Action.REPLACE:
            where = "" if self.name == self.place.file else f"in {self.name}: "
            return f"{where}host {RELAY}, port {self.value}, without TLS and login"
        sign = ": " if self.place.file.endswith((".yaml", ".yml", ".json")) else " = "
        return f"{'add ' * (self.action is Action.ADD)}{self.name}{sign}{self.value or repr('')}"


@dataclass(frozen=True)
class Mailer:
    """An O365Mailer that an app could use."""

    namespace: str
    name: str
    mailbox: str


@dataclass(frozen=True)
class Choice:
    """The mailer for a login."""

    name: str
    certain: bool
    """Its mailbox is the login's."""


@dataclass(frozen=True)
class Move:
    """How a login is moved: the edits, the commands that make them, and what else to know."""

    edits: tuple[Edit, ...]
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()


def choose(mailers: Iterable[Mailer], namespace: str, mailbox: str | None) -> Choice:
    """The mailer of the namespace with this mailbox, or its only one if the mailbox is not known."""
    here = [one for one in mailers if one.namespace == namespace]
    if mailbox is not None:
        same = [one.name for one in here if one.mailbox.lower() == mailbox.lower()]
        return Choice(same[0], True) if same else Choice(UNKNOWN_MAILER, False)
    return Choice(here[0].name, False) if len(here) == 1 else Choice(UNKNOWN_MAILER, False)


def edits_for(login: Login, port: int = SMTP_PORT) -> tuple[Edit, ...]:
    """The settings to change: host and port to the relay's, no TLS, no user and password."""
    made = [_host_edit(login, port)]
    if login.port is not None and login.port.value != str(port):
        made.append(_set(login.port, str(port)))
    recipe = login.recipe
    for tls in login.tls:
        off = recipe.off(tls.name, tls.path) if recipe else None
        if not _is_off(tls, off):
            made.append(_set(tls, _opposite(tls.value) if off is None else off))
    if recipe:
        present = [one.name for one in login.tls]
        made += [Edit(Action.ADD, name, login.host.place, value) for name, value in recipe.missing(present).items()]
    made += [_without(setting) for setting in login.credentials]
    return tuple(dict.fromkeys(made))


def _host_edit(login: Login, port: int) -> Edit:
    if login.is_part:
        return Edit(Action.REPLACE, shown_name(login.host) or "the line", login.host.place, str(port))
    return _set(login.host, relay_value(login, port))


def relay_value(login: Login, port: int = SMTP_PORT) -> str:
    """What the host's setting becomes, in the form that it has: a URL, host:port, [host]:port, or the host alone."""
    value = (login.host.value or "").strip()
    if login.endpoint.scheme is not None:
        return f"smtp://{RELAY}:{port}"
    if not login.host.name:
        return f"{RELAY}:{port}"
    joined = login.endpoint.port is not None or bool(login.host.value is None and login.recipe and login.recipe.joined)
    host = f"[{RELAY}]" if value.startswith("[") else RELAY
    return f"{host}:{port}" if joined else host


def move_workload(login: Login, workload: Workload, choice: Choice) -> Move:
    """How one workload's login is moved with kubectl."""
    edits = edits_for(login, OTHER_PORT if workload.takes_smtp_port and not workload.mailer else SMTP_PORT)
    if obstacles := tuple(_obstacles(workload)):
        return Move(edits, (), obstacles)
    files = [one for one in edits if _is_in_object(one)]
    others = [one for one in edits if not _is_in_object(one)]
    inject = _inject_line(workload, choice)
    lines = [*_file_lines(workload.namespace, files), *inject, *_template_lines(workload, others)]
    if files and not inject and workload.kind in _RESTARTED:
        lines.append(f"{_kubectl(workload.namespace)} rollout restart {shlex.quote(workload.resource)}")
    return Move(edits, _in_one_line(lines), _in_one_line(_notes(workload, choice, login)))


def move_config_map(login: Login, namespace: str, name: str, choice: Choice, manager: str = "") -> Move:
    """How a login is moved that stands in a ConfigMap which no pod template names."""
    edits = edits_for(login)
    reader = READERS.get(name)
    lines = list(_file_lines(namespace, edits))
    if reader:
        lines.append(f"{_kubectl(namespace)} annotate {reader} {_injected(choice)}")
        return Move(edits, _in_one_line(lines), _in_one_line([*_mailer_notes(choice), *_managed("ConfigMap", manager)]))
    note = (
        f"No pod template names this ConfigMap. Annotate the workload that reads it: {INJECT_ANNOTATION}={choice.name}"
    )
    return Move(
        edits, _in_one_line(lines), _in_one_line([note, *_mailer_notes(choice), *_managed("ConfigMap", manager)])
    )


def move_file(login: Login, choice: Choice) -> Move:
    """How a login is moved that stands in a file which is no Kubernetes object, such as Helm values."""
    edits = edits_for(login)
    lines = (
        _listed(edits),
        f"{INJECT_ANNOTATION}: {choice.name}   # in the annotations of the pod template (podAnnotations)",
    )
    return Move(edits, _in_one_line(lines), _in_one_line(_mailer_notes(choice)))


def _is_in_object(edit: Edit) -> bool:
    """Whether the change is made in a ConfigMap or Secret, and not in the pod template."""
    return edit.place.source is Source.FILE or (edit.action is Action.REPLACE and bool(edit.place.object))


def _set(setting: Setting, value: str) -> Edit:
    return Edit(Action.SET, shown_name(setting) or "the host", setting.place, value)


def _without(setting: Setting) -> Edit:
    """A variable of a whole ConfigMap or Secret cannot be removed in the template, only set to nothing."""
    if setting.place.source is Source.ENV_FROM:
        return Edit(Action.SET, setting.name, setting.place, "")
    return Edit(Action.REMOVE, setting.name, setting.place)


def _is_off(setting: Setting, off: str | None) -> bool:
    value = (setting.value or "").lower()
    return setting.value is not None and (value in _OFF or (off is not None and value == off.lower()))


def _opposite(value: str | None) -> str:
    known = _OPPOSITES.get((value or "").lower(), "none")
    if value and value.isupper() and not value.isdigit():
        return known.upper()
    return known.capitalize() if value and value[0].isupper() else known


def _injected(choice: Choice) -> str:
    return shlex.quote(f"{INJECT_ANNOTATION}={choice.name}")


def _in_one_line(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines without control characters: a name in a file may have a line break, and users paste these lines."""
    return tuple(_CONTROL.sub("?", line) for line in lines)


def _kubectl(namespace: str) -> str:
    return f"kubectl -n {shlex.quote(namespace)}" if namespace else "kubectl"


def _inject_line(workload: Workload, choice: Choice) -> list[str]:
    if workload.mailer:
        return []
    kubectl = _kubectl(workload.namespace)
    if workload.kind in _ANNOTATED and not workload.takes_smtp_port:
        return [f"{kubectl} annotate {shlex.quote(workload.resource)} {_injected(choice)}"]
    annotations = {INJECT_ANNOTATION: choice.name}
    if workload.takes_smtp_port:
        annotations[PORTS_ANNOTATION] = str(OTHER_PORT)  # has no effect on the workload itself
    if workload.kind in _ANNOTATED | _PATCHED:
        patch: dict[str, Any] = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        if workload.kind == "CronJob":
            patch = {"spec": {"jobTemplate": patch}}
        return [f"{kubectl} patch {shlex.quote(workload.resource)} --type merge -p {shlex.quote(json.dumps(patch))}"]
    listed = ", ".join(f"{name}: {value}" for name, value in annotations.items())
    return [f"# in the manifest of {workload.resource}: annotate the pod template with {listed}"]


def _template_lines(workload: Workload, edits: Sequence[Edit]) -> list[str]:
    """The commands that change variables and arguments of the pod template."""
    kubectl = _kubectl(workload.namespace)
    parts = [one for one in edits if one.action is Action.REPLACE]
    variables = [one for one in edits if one.place.source in {Source.ENV, Source.ENV_FROM} and one not in parts]
    arguments = [one for one in edits if one.place.source is Source.ARGUMENT and one not in parts]
    lines = []
    if variables and workload.kind in _ANNOTATED:
        changes = " ".join(
            shlex.quote(_variable(one)) for one in sorted(variables, key=lambda one: one.action is Action.REMOVE)
        )
        container = shlex.quote(variables[0].place.container)
        lines.append(f"{kubectl} set env {shlex.quote(workload.resource)} -c {container} {changes}")
    elif variables:
        lines.append(f"# in the manifest of {workload.resource}: {_listed(variables)}")
    if arguments and workload.kind in _ANNOTATED | _PATCHED and all(one.place.alone for one in arguments):
        patch = json.dumps(_argument_patch(arguments))
        lines.append(f"{kubectl} patch {shlex.quote(workload.resource)} --type json -p {shlex.quote(patch)}")
    elif arguments:
        lines.append(_by_hand(workload, f"arguments: {_listed(arguments)}"))
    if parts:
        lines.append(_by_hand(workload, _listed(parts)))
    return lines


def _by_hand(workload: Workload, what: str) -> str:
    if workload.kind in _ANNOTATED | _PATCHED:
        return f"{_kubectl(workload.namespace)} edit {shlex.quote(workload.resource)}   # {what}"
    return f"# in the manifest of {workload.resource}: {what}"


def _variable(edit: Edit) -> str:
    return f"{edit.name}-" if edit.action is Action.REMOVE else f"{edit.name}={edit.value}"


def _argument_patch(edits: Sequence[Edit]) -> list[dict[str, str]]:
    """JSON Patch (RFC 6902) for arguments: first the changed ones, then the removed ones from the last to the first."""
    changed = [
        {"op": "replace", "path": one.place.pointer, "value": f"{one.place.flag}{one.value}"}
        for one in edits
        if one.action is not Action.REMOVE
    ]
    removed = [pointer for one in edits if one.action is Action.REMOVE for pointer in _arguments_of(one.place)]
    removed.sort(key=lambda pointer: (pointer.rpartition("/")[0], int(pointer.rpartition("/")[2])), reverse=True)
    return [*changed, *({"op": "remove", "path": pointer} for pointer in removed)]


def _arguments_of(place: Place) -> Iterable[str]:
    """The pointers of a flag: one argument, or the flag and its value."""
    parent, _, index = place.pointer.rpartition("/")
    return [place.pointer] if place.flag else [f"{parent}/{int(index) - 1}", place.pointer]


def _file_lines(namespace: str, edits: Sequence[Edit]) -> list[str]:
    """One line for each ConfigMap or Secret to edit, with what to change in it."""
    objects = dict.fromkeys(one.place.object for one in edits)
    return [
        f"{_kubectl(namespace)} edit {_resource(each)}   # "
        + ("base64, " if each.startswith("Secret/") else "")
        + _listed([one for one in edits if one.place.object == each])
        for each in objects
    ]


def _resource(found: str) -> str:
    kind, _, name = found.partition("/")
    return shlex.quote(f"{kind.lower()}/{name}")


def _listed(edits: Sequence[Edit]) -> str:
    """The edits in words: `grafana.ini line 4: host = 127.0.0.1:25; line 6: remove password`."""
    texts, file = [], None
    for one in sorted(edits, key=lambda edit: (edit.place.file, edit.place.line)):
        where = f"{one.place.file} " if one.place.file and one.place.file != file else ""
        where += f"line {one.place.line}" if one.place.line else ""
        file = one.place.file
        texts.append(f"{where.strip()}: {one}" if where else str(one))
    return "; ".join(texts)


def _obstacles(workload: Workload) -> Iterable[str]:
    """Why its pods cannot have a relay as they are."""
    if workload.host_network:
        yield "Its pods use the node's network, so they cannot have a relay: remove hostNetwork first."
    if workload.namespace in _IGNORED:
        yield f"No pod in {workload.namespace} gets a relay: run it in another namespace first."


def _notes(workload: Workload, choice: Choice, login: Login) -> Iterable[str]:
    if not workload.mailer:
        yield from _mailer_notes(choice)
    if workload.owner:
        yield f"{workload.owner} made this {workload.kind} and may undo the change: make it there."
    else:
        yield from _managed(workload.kind, workload.manager)
    if workload.takes_smtp_port and not workload.mailer:
        port = "" if login.port or login.endpoint.port else f" Set the app's port to {OTHER_PORT}."
        yield f"A container has port 25, so the relay gets {OTHER_PORT}.{port}"
    if workload.kind in {"ReplicaSet", "ReplicationController"}:
        yield "It has no rollout: delete its pods afterwards."
    if workload.kind not in _ANNOTATED | _PATCHED:
        yield f"A {workload.kind} cannot be changed while it exists: change its manifest and create it again."
    if login.tls and login.recipe is None:
        yield "Check how your app spells 'no TLS'."


def _managed(kind: str, manager: str) -> Iterable[str]:
    if manager in MANAGERS:
        yield f"{manager} manages this {kind}: {MANAGERS[manager]}"


def _mailer_notes(choice: Choice) -> Iterable[str]:
    if choice.name == UNKNOWN_MAILER:
        yield f"No O365Mailer was found with this mailbox: create one, and write its name for {UNKNOWN_MAILER}."
    elif not choice.certain:
        yield f"The mailbox was not seen. {choice.name} is the namespace's only O365Mailer: check that it fits."


assert set(KINDS) >= _ANNOTATED | _PATCHED  # noqa: S101 - one table must not forget what the other has
