"""Command lines whose flags are environment variables too, which the chart sets. A flag wins over its variable.

An empty variable counts as one that is not set.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

Value = TypeVar("Value")


class Reader:
    """Takes flags as texts; each is then read by a function, whose ValueError becomes the usage error.

    A usage error ends the process with status 2 and a line that names the flag and its variable.
    """

    def __init__(self, program: str, description: str, environment: Mapping[str, str]) -> None:
        self._parser = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
        self._environment = environment
        self._variables: dict[str, str] = {}
        self._texts: dict[str, str] = {}

    def flag(self, name: str, variable: str, meaning: str, *, default: str = "", repeated: bool = False) -> None:
        """Declare a flag. One that may be `repeated` adds to the list, separated by commas, of its variable."""
        self._variables[name] = variable
        self._texts[name] = self._environment.get(variable) or default
        notes = [variable, *(["can be repeated"] if repeated else []), *([f"default {default}"] if default else [])]
        self._parser.add_argument(
            f"--{name}",
            dest=name,
            action="append" if repeated else "store",
            metavar="VALUE",
            help=f"{meaning} ({'; '.join(notes)})".replace("%", "%%"),
        )

    def parse(self, arguments: Sequence[str] | None) -> None:
        """Take the arguments; None stands for the process's own."""
        for name, given in vars(self._parser.parse_args(arguments)).items():
            if isinstance(given, list):
                self._texts[name] = ",".join([self._texts[name], *given])
            elif given is not None:
                self._texts[name] = given

    def value(self, name: str, read: Callable[[str], Value]) -> Value:
        """What `read` makes of a flag's text."""
        try:
            return read(self._texts[name])
        except (ValueError, msgspec.MsgspecError) as error:
            self._parser.error(f"--{name} ({self._variables[name]}): {error}")


def text(given: str) -> str:
    """Raises ValueError where there is none."""
    if not given:
        raise ValueError("must be set")
    return given


def listed(given: str) -> tuple[str, ...]:
    """The parts between commas."""
    return tuple(part.strip() for part in given.split(",") if part.strip())


def address(given: str) -> tuple[str, int]:
    """`[::]:9025` → `("::", 9025)`. Raises ValueError."""
    host, colon, port = given.rpartition(":")
    bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not colon or bare or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{given!r} is not HOST:PORT, such as [::]:9025 or 127.0.0.1:0")
    return host.strip("[]"), int(port)


def one_of(choices: Sequence[str]) -> Callable[[str], str]:
    """Reads one of these words; raises ValueError for any other."""

    def read(given: str) -> str:
        if given not in choices:
            raise ValueError(f"{given!r} is not one of {', '.join(filter(None, choices))}")
        return given

    return read
