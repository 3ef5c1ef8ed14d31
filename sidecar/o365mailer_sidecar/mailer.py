"""The mailer: settings, token and authorities, as the controller or `o365mailer run` writes them to a directory.

All files are read through one descriptor of what `..data` points to, so that a swap in the middle of a reading cannot
mix two versions (kubelet swaps the link: Kubernetes, pkg/volume/util/atomic_writer.go). If what is there now cannot be
used, what was good stays in use: settings for ever, a token until it expires. The exception is a restriction that this
version does not know: without it the relay would send more than is allowed.
"""

import os
import ssl
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from o365mailer_contract.names import CA_FILE, DATA_LINK, SETTINGS_FILE, TOKEN_FILE
from o365mailer_contract.settings import InvalidSettings, Settings, UnknownRestriction, decode
from o365mailer_sidecar.errors import NotReady


def authorities(pem: str | None) -> ssl.SSLContext:
    """A client's context that checks certificate and host name, TLS 1.2 at least (Microsoft: Exchange requires it).

    It trusts only the authorities in `pem`; None: the system's. Raises ValueError, whose text continues a file's name.
    """
    if pem is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError, TypeError):  # TypeError: it is not even text
        raise ValueError("holds no certificate in PEM form") from None
    return context


class Authorities:
    """`authorities` with its last result: the system's take 20 ms to read."""

    def __init__(self) -> None:
        self.last: tuple[str | None, ssl.SSLContext] | None = None

    def __call__(self, pem: str | None) -> ssl.SSLContext:
        """The context for these authorities."""
        if not self.last or self.last[0] != pem:
            self.last = pem, authorities(pem)
        return self.last[1]


# --- The directory --------------------------------------------------------------------------------------------------

FILE_LIMIT: Final = 2**20
"""The most bytes of one file; a Secret has no more."""

WATCHED: Final = (TOKEN_FILE, SETTINGS_FILE, CA_FILE)
"""The files that are looked at before every message."""

LOOK_HOLDS: Final = 0.001
"""Seconds for which the result of a look is used again if the mailer was usable: messages that arrive together share
it."""

NEVER: Final = float("-inf")

EXPIRY_MARGIN: Final = timedelta(seconds=2)
"""A token this close to its end is not offered: it might expire on the way to Exchange."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and when it expires if that is known. Never printed."""

    value: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"Token(expires_at={self.expires_at})"

    def usable(self, now: datetime) -> bool:
        """Whether it may still be offered."""
        # The margin is added to `now`: subtracted from datetime.min, which a file may hold, it would overflow.
        return self.expires_at is None or now + EXPIRY_MARGIN < self.expires_at


@dataclass(frozen=True, slots=True)
class Mailer:
    """Everything needed to submit: one consistent reading."""

    settings: Settings
    token: Token
    ca: str | None
    """Authorities as PEM; None: the system's."""


class MailerDirectory:
    """The current mailer, re-read when a file has changed; `report` gets each change as an event with its fields.

    With a `monotonic` clock (seconds) the result of a look is used for `LOOK_HOLDS`. If there was no usable mailer, the
    next message looks again at once: the mailer that it needs may be there by now.
    """

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], datetime],
        report: Callable[..., None],
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self.path, self.now, self.report, self.monotonic = path, now, report, monotonic
        self.looked_at = NEVER
        self.link = f"{path}/{DATA_LINK}"
        self.swapped = False
        """Whether there was such a link last time."""
        self.linked, self.plain = ([f"{place}/{name}" for name in WATCHED] for place in (self.link, path))
        self.settings: Settings | None = None
        self.ca: str | None = None
        self.token: Token | None = None
        self.current: Mailer | None = None
        """Of these three; None while settings or token are missing."""
        self.problems: dict[str, str] = {}
        self.forbidden = ""
        self.seen: object = None

    def mailer(self) -> Mailer:
        """What to submit with now. Raises NotReady, whose text says what is missing."""
        self.refresh()
        now = self.now()
        if self.token and not self.token.usable(now):
            self.look()  # a newer one may have come since the last look
        if self.forbidden:
            raise NotReady(self.forbidden)
        if not self.settings:
            raise NotReady(self.problem() or "no settings")
        if not self.token:
            raise NotReady(self.problems.get(TOKEN_FILE) or self.problem())
        if not self.token.usable(now):
            raise NotReady(f"the token expired at {self.token.expires_at:%Y-%m-%dT%H:%M:%SZ} and no newer one has come")
        return self.current or Mailer(self.settings, self.token, self.ca)

    def problem(self) -> str:
        """What is wrong with the directory now, even if older files are in use; empty if nothing is."""
        return "; ".join(dict.fromkeys(self.problems.values()))

    def refresh(self) -> None:
        """Look, unless the last look is recent enough."""
        if not self.monotonic or self.monotonic() - self.looked_at >= LOOK_HOLDS:
            self.look()

    def look(self) -> None:
        """Read again if anything has changed since the last look. It costs a few `stat` calls."""
        moment = self.monotonic() if self.monotonic else NEVER  # before it: a look may take longer than `LOOK_HOLDS`
        seen = self._signature()
        if seen != self.seen:
            self.seen = seen
            before = self.settings, self.token, self.problem()
            self._read()
            self.current = Mailer(self.settings, self.token, self.ca) if self.settings and self.token else None
            self._tell(*before)
        self.looked_at = NEVER if self.problems else moment

    def _signature(self) -> object:
        """What changes whenever a file does: kubelet's swap, or a write in place."""
        if self.swapped and _any_there(seen := [self._stat(path) for path in self.linked]):
            return seen  # three system calls; the link itself matters only while its target is missing
        self.swapped = os.path.lexists(self.link)
        seen = [self._stat(path) for path in (self.linked if self.swapped else self.plain)]
        return seen if _any_there(seen) else [*seen, self._stat(self.link if self.swapped else str(self.path))]

    @staticmethod
    def _stat(path: str) -> tuple[int, ...] | int | None:
        try:
            found = os.stat(path)  # noqa: PTH116  # pathlib doubles the cost, and this runs for every message
        except OSError as error:
            return error.errno
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def _read(self) -> None:
        self.problems = {}
        try:
            place = self.link if os.path.lexists(self.link) else self.path
            directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._read_settings(directory)
                self._read_token(directory)
            finally:
                os.close(directory)
        except OSError as error:
            self.problems[""] = f"the mailer directory {self.path} cannot be opened: {error.strerror}"

    def _read_settings(self, directory: int) -> None:
        try:
            settings = decode(read_file(directory, SETTINGS_FILE))
            ca = self._read_ca(directory)
        except UnknownRestriction as error:
            self.forbidden = self.problems[SETTINGS_FILE] = f"{SETTINGS_FILE} {error}"
        except InvalidSettings as error:
            self.problems[SETTINGS_FILE] = f"{SETTINGS_FILE} cannot be used: {error}"
        except NotReady as error:
            self.problems[SETTINGS_FILE] = str(error)
        else:
            self.settings, self.ca, self.forbidden = settings, ca, ""

    def _read_ca(self, directory: int) -> str | None:
        if not exists(directory, CA_FILE):
            return None
        pem = read_file(directory, CA_FILE).decode("ascii", "replace")
        try:
            authorities(pem)
        except ValueError as error:
            raise NotReady(f"{CA_FILE} {error}") from None
        return pem

    def _read_token(self, directory: int) -> None:
        try:
            value = read_file(directory, TOKEN_FILE).decode("ascii", "replace").strip()
        except NotReady as error:
            self.problems[TOKEN_FILE] = str(error)
            return
        if not value:
            self.problems[TOKEN_FILE] = f"{TOKEN_FILE} is empty"
        elif not all("!" <= letter <= "~" for letter in value):
            self.problems[TOKEN_FILE] = f"{TOKEN_FILE} holds characters that no bearer token has"
        elif not self.token or value != self.token.value or SETTINGS_FILE not in self.problems:
            known = self.settings if SETTINGS_FILE not in self.problems else None
            self.token = Token(value, known.expires_at if known else None)

    def _tell(self, settings: Settings | None, token: Token | None, problem: str) -> None:
        now = self.problem()
        if now and now != problem:
            self.report("mailer_directory_problem", level="warning", problem=now)
        if (self.settings, self.token) != (settings, token) and self.settings:
            self.report(
                "mailer_read",
                revision=self.settings.revision,
                token_changed=(token.value if token else None) != (self.token.value if self.token else None),
                expires_at=self.token.expires_at.isoformat() if self.token and self.token.expires_at else None,
            )


def _any_there(seen: Sequence[object]) -> bool:
    return any(isinstance(one, tuple) for one in seen)


def exists(directory: int, name: str) -> bool:
    """Whether there is such a name, even as a link to nothing."""
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        return True
    return False


def read_file(directory: int, name: str) -> bytes:
    """A regular file's content. Raises NotReady, which names the file and the remedy."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        why = "is a symbolic link to nothing" if exists(directory, name) else "is not there yet"
        raise NotReady(f"{name} {why}") from None
    except OSError as error:
        raise NotReady(f"{name} cannot be read by user {os.geteuid()}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotReady(f"{name} is not a file")
        content = file.read(FILE_LIMIT + 1)
    if len(content) > FILE_LIMIT:
        raise NotReady(f"{name} is larger than {FILE_LIMIT} bytes")
    return content
