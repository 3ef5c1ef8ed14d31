"""Which settings of a container are a login to a mail server, and whether it is one with a password."""

import bisect
import enum
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from o365mailer_cli.scan.apps import Recipe, recipe_for
from o365mailer_cli.scan.hosts import MICROSOFT, Endpoint, HostKind, microsoft_hosts_in, names_microsoft, whole_host
from o365mailer_cli.scan.role import Role, core, is_about_mail, is_about_receiving, is_mail_word, is_mailish, role_of
from o365mailer_cli.scan.setting import Place, Setting, Source, words_of
from o365mailer_cli.scan.text import SAME_LINE

_AMBIGUOUS: Final = frozenset(
    {"outlook.office365.com", "outlook.office.com", "outlook.office365.us", "partner.outlook.cn"}
)
"""Hosts of every protocol of Exchange Online: only a mail setting, or a port of submission, says that it is SMTP."""
_SUBMISSION_PORTS: Final = frozenset({25, 587})
_OAUTH: Final = re.compile(r"oauth|xoauth2|refresh_?token|auth_?token_?url", re.IGNORECASE)
MOST_LOGINS: Final = 50
MOST_OTHERS: Final = 200
_SAME_BLOCK: Final = 200
"""Lines of a file around a host in which its other settings are looked for."""
_MOST_SIBLINGS: Final = 4000
_ADDRESS: Final = re.compile(r"[^\s:@\"'/\\,;]{1,64}@[A-Za-z0-9.-]{1,253}")
"""Nothing but an address: `curl --user` has the password in the same value."""
_FALSE: Final = frozenset({"", "false", "False", "0", None})
_NEAR: Final = 25
"""Lines around a host in a script in which a login counts as its own."""
_LOGIN_NEAR: Final = re.compile(r"passw|passwd|\bpass\b|\blogin\b|auth[-_ ]?(?:user|pass)|credential", re.IGNORECASE)


class Evidence(enum.Enum):
    """How much says that the app logs in with a password."""

    PASSWORD = "certain"
    """A password is set for this host."""
    USER = "likely"
    """A user is set, and the password was not seen."""
    HOST = "possible"
    """Only the host was seen; the login may be in a place that was not read."""
    OAUTH = "oauth"
    """The app has OAuth settings of its own and no password."""
    NONE = "none"
    """The host takes mail without a login, and none is set."""


@dataclass(frozen=True)
class Login:
    """One mail server that a container's configuration names, and the settings that belong to it."""

    endpoint: Endpoint
    host: Setting
    evidence: Evidence
    port: Setting | None = None
    user: Setting | None = None
    password: Setting | None = None
    tls: tuple[Setting, ...] = ()
    recipe: Recipe | None = None
    mailbox: str | None = field(default=None, repr=False)
    """The user that it logs in as, if it is an address and was seen. Shown only on request."""

    @property
    def credentials(self) -> tuple[Setting, ...]:
        """The settings of user and password, without those that stand in the host's own line."""
        found = [one for one in (self.user, self.password) if one is not None]
        return tuple(one for one in found if one.value != SAME_LINE)

    @property
    def is_part(self) -> bool:
        """The host is a part of its setting's value (JSON, Java's options, a list), so the value cannot be replaced."""
        return bool(self.host.name) and _is_part(self.host)

    @property
    def port_number(self) -> int | None:
        """The port, of the host's setting or of its own."""
        own = (self.port.value or "").strip() if self.port else ""
        return self.endpoint.port or (int(own) if own.isascii() and own.isdigit() and len(own) < 6 else None)


def logins(settings: Sequence[Setting], *, image: str = "") -> list[Login]:
    """The mail servers that one container's settings name, in their order. Local relays are left out.

    At most `MOST_LOGINS`, and of the servers that are not Microsoft's the first `MOST_OTHERS` are looked at: a hostile
    file may name thousands, and each is compared with all settings around it.
    """
    container = _Container(settings, image)
    found: dict[tuple[object, ...], Login] = {}
    others = 0
    for setting in settings:
        for endpoint in container.endpoints(setting):
            line = (
                (setting.name, setting.path, setting.place)
                if setting.name
                else (setting.place.object, setting.place.file)
            )
            key = (endpoint.name, endpoint.port, *line)
            others += endpoint.kind is HostKind.OTHER
            if key in found or (endpoint.kind is HostKind.OTHER and others > MOST_OTHERS):
                continue
            login = container.login(setting, endpoint)
            if login is not None:
                found[key] = login
            if len(found) >= MOST_LOGINS:
                return list(found.values())
    return list(found.values())


def unread_hosts(settings: Iterable[Setting]) -> Iterator[Setting]:
    """The settings that name a mail server, and whose value is in a Secret that was not read."""
    for setting in settings:
        if setting.value is None and role_of(setting) is Role.HOST and is_about_mail(setting):
            yield setting


class _Container:
    """All settings of one container, with the roles that their names give them."""

    def __init__(self, settings: Sequence[Setting], image: str) -> None:
        self._settings = settings
        self._image = image
        self._roles = [(role, one) for one in settings if one.value != "" and (role := role_of(one)) is not None]
        self._siblings: dict[tuple[str, ...], list[tuple[Role, Setting]]] = {}
        for role, one in self._roles:
            self._siblings.setdefault(_where(one.place), []).append((role, one))
        self._submission = {
            (_where(one.place), one.path)
            for role, one in self._roles
            if role is Role.PORT and one.value in {"587", "25"}
        }
        self._oauth = [one for one in settings if one.value not in _FALSE and _is_oauth(one)]

    def endpoints(self, setting: Setting) -> Iterator[Endpoint]:
        """The mail servers that the value names. One that is not Microsoft's counts only in a host's setting."""
        if not setting.value or not (role_of(setting) is Role.HOST or names_microsoft(setting.value)):
            return
        if is_about_receiving(setting):
            return
        whole = whole_host(setting.value) if setting.name else None
        if whole is not None:
            if whole.kind is not HostKind.LOCAL and self._is_mail_host(setting, whole):
                yield whole
            return
        if role_of(setting) in {Role.PASSWORD, Role.USER}:
            return
        for endpoint in microsoft_hosts_in(setting.value):
            if endpoint.name not in _AMBIGUOUS or endpoint.port in _SUBMISSION_PORTS:
                yield endpoint

    def _is_mail_host(self, setting: Setting, endpoint: Endpoint) -> bool:
        if endpoint.kind is HostKind.OTHER:
            named = role_of(setting) is Role.HOST and is_about_mail(setting)
            return named and (endpoint.scheme is not None or "." in endpoint.name or endpoint.port is not None)
        if endpoint.name not in _AMBIGUOUS or endpoint.port in _SUBMISSION_PORTS:
            return True
        return is_about_mail(setting) or (_where(setting.place), setting.path) in self._submission

    def login(self, host: Setting, endpoint: Endpoint) -> Login | None:
        """The login of which `host` is the host; None for a relay that takes mail without one."""
        own = [(role, one) for role, one in self._near(host) if one is not host and _belongs(host, one, role)]
        recipe = recipe_for(host.name, (host.place.file, *host.path), image=self._image, file=_file(host.place))
        password = _first(own, Role.PASSWORD) or self._elsewhere(host, Role.PASSWORD, endpoint)
        user = self._named(host, recipe) or _first(own, Role.USER) or self._elsewhere(host, Role.USER, endpoint)
        evidence = self._evidence(host, endpoint, user, password)
        if endpoint.kind is HostKind.OTHER and evidence is not Evidence.PASSWORD:
            return None
        name = (endpoint.user or (user.value if user else None) or "").replace("%40", "@")
        return Login(
            endpoint,
            host,
            evidence,
            _first(own, Role.PORT),
            user,
            password,
            self._tls(host, own, recipe),
            recipe,
            name if _ADDRESS.fullmatch(name) else None,
        )

    def _named(self, host: Setting, recipe: Recipe | None) -> Setting | None:
        """The user's setting that the recipe names, if its name alone does not say so (Nextcloud's SMTP_NAME)."""
        for one in self._settings if recipe else ():
            if recipe and one.name == recipe.user and _where(one.place) == _where(host.place):
                return one
        return None

    def _tls(self, host: Setting, own: Sequence[tuple[Role, Setting]], recipe: Recipe | None) -> tuple[Setting, ...]:
        """The settings that require TLS or a login: by their names, or because the app's recipe lists them."""
        listed = [
            one
            for one in (self._settings if recipe else ())
            if recipe and _where(one.place) == _where(host.place) and recipe.off(one.name, one.path) is not None
        ]
        return tuple(dict.fromkeys([*(one for role, one in own if role is Role.TLS), *listed]))

    def _evidence(self, host: Setting, endpoint: Endpoint, user: Setting | None, password: Setting | None) -> Evidence:
        if endpoint.password or password is not None:
            return Evidence.PASSWORD
        if endpoint.kind is HostKind.DIRECT_SEND:
            return Evidence.NONE
        if self._has_oauth(host):
            return Evidence.OAUTH
        pointer = host.place.pointer
        near = (one for one in self._settings if pointer and one.place.pointer == pointer)
        if (pointer or not host.name or _is_part(host)) and any(
            _LOGIN_NEAR.search(f"{one.name} {one.value}") for one in (host, *near)
        ):
            return Evidence.PASSWORD
        return Evidence.USER if user is not None or endpoint.user else Evidence.HOST

    def _near(self, host: Setting) -> Iterable[tuple[Role, Setting]]:
        """The settings of the same file or environment; of a file only those within `_SAME_BLOCK` lines."""
        siblings = self._siblings.get(_where(host.place), [])
        if host.place.source is not Source.FILE:
            return siblings
        line = host.place.line
        first = bisect.bisect_left(siblings, line - _SAME_BLOCK, key=lambda one: one[1].place.line)
        last = bisect.bisect_right(siblings, line + _SAME_BLOCK, key=lambda one: one[1].place.line)
        return siblings[first : min(last, first + _MOST_SIBLINGS)]

    def _has_oauth(self, host: Setting) -> bool:
        """Whether the file, or the container's environment, has OAuth settings for mail."""
        return any(
            _where(one.place) == _where(host.place)
            and (
                host.place.source is Source.FILE or is_about_mail(one) or one.path[: len(host.path)] == host.path != ()
            )
            for one in self._oauth
        )

    def _elsewhere(self, host: Setting, wanted: Role, endpoint: Endpoint) -> Setting | None:
        """The mail user or password of another source of the container, such as a variable next to a file."""
        if endpoint.kind not in MICROSOFT or endpoint.kind is HostKind.DIRECT_SEND:
            return None
        for role, one in self._roles:
            if role is wanted and is_about_mail(one) and _may_share(host, one):
                return one
        return None


def _is_oauth(setting: Setting) -> bool:
    return bool(_OAUTH.search(setting.name) or _OAUTH.fullmatch(setting.value or ""))


def _may_share(host: Setting, login: Setting) -> bool:
    """Whether a login may be the host's though it is no sibling: it is in another source, or inherited in a file.

    In a file that is no Kubernetes object (Helm values), many apps may stand next to each other, each below a name.
    """
    if _where(host.place) != _where(login.place) or not host.name or not host.place.alone:
        return True
    return host.place.source is Source.FILE and (bool(host.place.object) or host.path[:1] == login.path[:1] != ())


def _is_part(host: Setting) -> bool:
    return host.value is not None and whole_host(host.value) is None


def _file(place: Place) -> str:
    return place.file.rpartition("/")[2] or "file" if place.source is Source.FILE else ""


def _belongs(host: Setting, other: Setting, role: Role) -> bool:
    """Whether the other setting is of the same mail server: a sibling in the file, or a variable of the same family."""
    if _where(host.place) != _where(other.place):
        return False
    if not host.name:
        return abs(host.place.line - other.place.line) <= _NEAR and is_mailish(other)
    family = core(host)
    same = core(other)[: len(family)] == family if role is Role.TLS else core(other) == family
    if host.path and other.path[: len(host.path)] == host.path:
        return same
    alike = is_mailish(host) == is_mailish(other) or is_mail_word(words_of(host.place.file))
    return host.path == other.path and same and alike


def _where(place: Place) -> tuple[str, ...]:
    """What two settings must have in common to be siblings: all variables of a container are."""
    if place.source is Source.FILE:
        return (place.object, place.file)
    return ("", place.container)


def _first(own: Sequence[tuple[Role, Setting]], wanted: Role) -> Setting | None:
    return next((one for role, one in own if role is wanted), None)
