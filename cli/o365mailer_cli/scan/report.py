"""What a scan found, as findings and as JSON. No value of a setting is in either."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_cli.finding import Finding, Status
from o365mailer_cli.scan.hosts import HostKind
from o365mailer_cli.scan.inventory import Inventory
from o365mailer_cli.scan.login import Evidence, Login, logins, unread_hosts
from o365mailer_cli.scan.move import Edit, Move, choose, move_config_map, move_file, move_workload
from o365mailer_cli.scan.role import shown_name
from o365mailer_cli.scan.setting import Place, Setting, Source
from o365mailer_cli.scan.text import settings_in
from o365mailer_cli.scan.workload import Workload, config_maps_of, settings_of, text_at, unread_secrets
from o365mailer_contract.names import DOCS

PASSWORD: Final = "scan.office365-password"
PERSONAL: Final = "scan.outlook.com"
OTHER: Final = "scan.other-relay"
OAUTH: Final = "scan.oauth"
DIRECT_SEND: Final = "scan.direct-send"
UNREAD: Final = "scan.unread"
MIGRATE: Final = f"{DOCS}/migrate.md"


@dataclass(frozen=True)
class Found:
    """One login, where it is, and how it is moved."""

    login: Login
    subject: str
    """`namespace/deployment/grafana`, `namespace/configmap/x`, or a file's path."""
    container: str
    move: Move
    mailer: str = ""
    """The mailer for it, if one was found."""

    @property
    def finding(self) -> Finding:
        """It as check's and scan's common type."""
        name, status, text = _judged(self.login)
        return Finding(
            name=name,
            status=status,
            title=text,
            subject=f"{self.subject} ({self.container})" if self.container else self.subject,
            cause=_cause(self.login) if status is not Status.OK else "",
            remedy="\n".join([*self.move.lines, *self.move.notes]) if name == PASSWORD else _remedy(name),
            link="" if status is Status.OK else f"{MIGRATE}#{_ANCHORS[name]}",
        )

    def document(self, *, addresses: bool) -> dict[str, Any]:
        """It as JSON: the finding's keys and what a script needs. The mailbox only with `addresses`."""
        login = self.login
        document = self.finding.document() | {
            "container": self.container,
            "app": login.recipe.app if login.recipe else "",
            "host": login.endpoint.name,
            "port": login.port_number,
            "confidence": login.evidence.value,
            "place": _place(login.host.place, shown_name(login.host)),
            "mailer": self.mailer,
            "lines": list(self.move.lines),
            "notes": list(self.move.notes),
            "edits": [_edit(one) for one in self.move.edits],
        }
        if addresses:
            document["mailbox"] = login.mailbox
        return document


_ANCHORS: Final = {PASSWORD: "one-app-at-a-time", PERSONAL: "what-scan-finds", OTHER: "from-another-mail-server"}


def found_in(inventory: Inventory) -> Iterator[Found]:
    """Every login of the inventory: of workloads, of ConfigMaps that no template names, and of other files."""
    for workload in inventory.workloads:
        yield from _of_workload(workload, inventory)
    named = {(one.namespace, name) for one in inventory.workloads for name in config_maps_of(one)}
    for (namespace, name), data in inventory.config_maps.items():
        if (namespace, name) in named:
            continue
        for key, value in data.values.items():
            place = Place(Source.FILE, object=f"ConfigMap/{name}", file=key)
            for login in logins(list(settings_in(value, place))):
                if login.endpoint.kind is HostKind.OTHER:
                    continue  # data of any kind is in such ConfigMaps
                choice = choose(inventory.mailers, namespace, login.mailbox)
                move = move_config_map(login, namespace, name, choice, data.manager)
                yield Found(login, f"{namespace}/configmap/{name}".lstrip("/"), "", move, choice.name)
    for path, text in inventory.texts:
        for login in logins(list(settings_in(text, Place(Source.FILE, file=path)))):
            choice = choose(inventory.mailers, "", login.mailbox)
            yield Found(login, path, "", move_file(login, choice), choice.name)


def _of_workload(workload: Workload, inventory: Inventory) -> Iterator[Found]:
    subject = f"{workload.namespace}/{workload.resource}".lstrip("/")
    for container in workload.containers:
        settings = settings_of(workload, container, inventory.stored)
        for login in logins(settings, image=text_at(container, "image")):
            choice = choose(inventory.mailers, workload.namespace, login.mailbox)
            move = move_workload(login, workload, choice)
            yield Found(login, subject, text_at(container, "name"), move, workload.mailer or choice.name)


def unread_findings(inventory: Inventory, *, secrets_read: bool) -> Iterator[Finding]:
    """What the scan could not look into: Secrets that it may not read, kinds that it may not list."""
    for text in inventory.unread:
        yield Finding(name=UNREAD, status=Status.UNKNOWN, title=text)
    for workload in inventory.workloads:
        subject = f"{workload.namespace}/{workload.resource}".lstrip("/")
        for container in workload.containers:
            for setting in unread_hosts(settings_of(workload, container, inventory.stored)):
                yield _unread_host(setting, f"{subject} ({setting.place.container})", secrets_read=secrets_read)
    if secrets_read:
        return
    unread = {(one.namespace, name) for one in inventory.workloads for name in unread_secrets(one, inventory.stored)}
    if unread:
        count = sum(1 for one in inventory.workloads if unread_secrets(one, inventory.stored))
        takes = "takes" if count == 1 else "take"
        yield Finding(
            name=UNREAD,
            status=Status.UNKNOWN,
            title=f"{number(count, 'workload')} also {takes} settings from {number(len(unread), 'Secret')}, not read",
            cause="A whole configuration file can be in a Secret, as Alertmanager's and Superset's are.",
            remedy="--read-secrets reads them. You need the right to get Secrets; no value is shown.",
            link=f"{MIGRATE}#secrets",
        )


def _unread_host(setting: Setting, subject: str, *, secrets_read: bool) -> Finding:
    place = setting.place
    known = f"{place.object.replace('/', ' ')}, key {place.file}" if place.object else "another place"
    return Finding(
        name=UNREAD,
        status=Status.UNKNOWN,
        title=f"{setting.name} names a mail server, and its value was not read",
        subject=subject,
        cause=f"The value is in {known}.",
        remedy="--read-secrets reads it."
        if place.in_secret and not secrets_read
        else "See whether it is Office 365's.",
        link=f"{MIGRATE}#secrets",
    )


def _judged(login: Login) -> tuple[str, Status, str]:
    """Name, status and headline of a login's finding."""
    port = f":{login.port_number}" if login.port_number else ""
    app = f"{login.recipe.app} " if login.recipe else ""
    host, kind = f"{login.endpoint.name}{port}", login.endpoint.kind
    if login.evidence is Evidence.OAUTH:
        return OAUTH, Status.OK, f"{app}logs in to {host} with OAuth of its own"
    if kind is HostKind.DIRECT_SEND and login.evidence is not Evidence.PASSWORD:
        return DIRECT_SEND, Status.OK, f"{app}sends to {host} without a login (direct send)"
    if kind is HostKind.OTHER:
        return OTHER, Status.WARNING, f"{app}logs in to another mail server with a password: {host}"
    if kind in {HostKind.PERSONAL, HostKind.DIRECT_SEND}:
        return (
            PERSONAL,
            Status.WARNING,
            f"{app}logs in to {host} with a password, which is no submission host of a tenant",
        )
    if login.evidence is Evidence.PASSWORD:
        return PASSWORD, Status.FAILED, f"{app}logs in to {host} with a password"
    if login.evidence is Evidence.USER:
        return PASSWORD, Status.FAILED, f"{app}logs in to {host}; the password was not seen"
    return PASSWORD, Status.WARNING, f"{app}may log in to {host} with a password; no login was seen"


def _remedy(name: str) -> str:
    return {
        PERSONAL: "Use a mailbox of your tenant and smtp.office365.com; a mailer cannot send as a personal mailbox.",
        OTHER: "If that server relays to Office 365, move the server, or let this app use a relay of its own.",
    }.get(name, "")


def _cause(login: Login) -> str:
    """Where the login stands: names, never values."""
    texts = [_where(login.host, None)]
    for setting in login.credentials:
        label = "password" if setting is login.password else "user"
        texts.append(f"{label}: {_where(setting, login.host.place)}")
    return "; ".join(texts) + "."


def _where(setting: Setting, known: Place | None) -> str:
    """Name and place of a setting; without the file if it is that of the known place."""
    place, name = setting.place, shown_name(setting)
    if place.source is Source.ARGUMENT:
        return f"{name or 'a host'} in the container's arguments"
    if place.source is Source.FILE:
        line = f"line {place.line}"
        if place.object and (known is None or (place.object, place.file) != (known.object, known.file)):
            line += f" of {place.file} in {place.object.replace('/', ' ')}"
        return f"{name} in {line}" if name else line
    return name + (f" from {place.object.replace('/', ' ')}, key {place.file}" if place.object else "")


def _place(place: Place, name: str) -> dict[str, Any]:
    return {"source": place.source.value, "name": name, "object": place.object, "file": place.file, "line": place.line}


def _edit(edit: Edit) -> dict[str, Any]:
    return {
        "action": edit.action.value,
        "value": edit.value,
        **_place(edit.place, edit.name),
        "pointer": edit.place.pointer,
    }


def number(count: int, thing: str) -> str:
    """`1 Secret`, `2 Secrets`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
