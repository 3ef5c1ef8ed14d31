"""A setting: a name and a value that an app reads, and where it stands."""

import enum
import functools
import re
from dataclasses import dataclass, field
from typing import Final

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SPLIT: Final = re.compile(r"[^A-Za-z0-9]+")


class Source(enum.Enum):
    """Where a setting is changed."""

    ENV = "env"
    """A variable in the pod template."""
    ENV_FROM = "envFrom"
    """A variable that the template takes from all keys of a ConfigMap or Secret."""
    ARGUMENT = "argument"
    """The container's command or arguments."""
    FILE = "file"
    """A line of a file: of a ConfigMap or Secret, or on disk."""


@dataclass(frozen=True)
class Place:
    """Where a setting stands. Nothing of it is secret."""

    source: Source
    container: str = ""
    object: str = ""
    """`ConfigMap/grafana` or `Secret/grafana`, if the value is in one."""
    file: str = ""
    """The key of the ConfigMap or Secret, or the path on disk."""
    line: int = 0
    """From 1; 0 if there is none."""
    pointer: str = ""
    """A JSON pointer into the workload, for an argument."""
    flag: str = ""
    """`--smtp-host=` if an argument has the flag and its value; empty if the value is an argument of its own."""
    alone: bool = True
    """An argument whose text is the flag and its value, and nothing else (no script)."""

    @property
    def in_secret(self) -> bool:
        """Whether the value is a Secret's."""
        return self.object.startswith("Secret/")


@dataclass(frozen=True)
class Setting:
    """One name and its value. The value is never shown, because it may be a secret."""

    name: str
    """As written: `GF_SMTP_HOST`, `smtp_smarthost`, `--smtp-host`. Empty for a host in a text without a name."""
    value: str | None = field(repr=False)
    """None: it is in a Secret that was not read."""
    place: Place
    path: tuple[str, ...] = ()
    """The names above it in a file: sections and parents, outermost first."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the name: (`gf`, `smtp`, `host`)."""
        return words_of(self.name)

    @property
    def all_words(self) -> frozenset[str]:
        """The words of the name and of the three names above it."""
        return frozenset(word for part in (*self.path[-3:], self.name) for word in words_of(part))


@functools.lru_cache(maxsize=8192)
def words_of(name: str) -> tuple[str, ...]:
    """A name's words in lower case: `smtpAuthUser` and `SMTP_AUTH_USER` are the same."""
    return tuple(word.lower() for part in _SPLIT.split(name) for word in _CAMEL.split(part) if word)
