"""Where `o365mailer run` finds the Secrets that a mailer names: files, or the environment."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from o365mailer_operator.token.errors import SECRET_UNREADABLE, CredentialError

PREFIX: Final = "O365MAILER_SECRET_"
LARGEST_SECRET: Final = 2**20
"""Bytes. A Kubernetes Secret may have no more."""


class SecretSource(Protocol):
    """Reads Secrets by name (token.credential.Source)."""

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        """The Secret's keys and values; None if there is no such Secret."""

    def place(self, name: str, key: str) -> str:
        """Where the key has to be, for messages."""


class SecretFiles:
    """A directory for each Secret, a file for each key, as Kubernetes mounts them: DIR/name/key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        """Raises CredentialError."""
        folder = self.directory / name
        try:
            if not folder.is_dir():
                return None
            # Names that begin with `..` are the kubelet's own (the link that it replaces, and its targets).
            files = [path for path in sorted(folder.iterdir()) if not path.name.startswith("..") and path.is_file()]
            return {path.name: _limited(path, secret=name) for path in files}
        except OSError as error:
            raise CredentialError(
                SECRET_UNREADABLE,
                f"{error.filename} cannot be read: {error.strerror}. Let the user who runs this read it.",
                secret=name,
            ) from None

    def place(self, name: str, key: str) -> str:
        """The path of the key's file."""
        return f"the file {self.directory / name / key}"


class SecretVariables:
    """Environment variables, one for each key: O365MAILER_SECRET_<NAME>_<KEY>."""

    def __init__(self, environment: Mapping[str, str], needed: Mapping[str, frozenset[str]]) -> None:
        self.environment = environment
        self.needed = needed
        """The keys to look for in each Secret, because a variable's name cannot be split into Secret and key."""

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        """The keys whose variables are set."""
        variables = {key: variable_of(name, key) for key in self.needed.get(name, frozenset())}
        found = {key: self.environment[variable] for key, variable in variables.items() if variable in self.environment}
        return {key: value.encode(errors="surrogateescape") for key, value in found.items()} or None

    def place(self, name: str, key: str) -> str:
        """The name of the key's variable."""
        return f"the environment variable {variable_of(name, key)}"


def variable_of(name: str, key: str) -> str:
    """`noreply-app`, `client-secret` → `O365MAILER_SECRET_NOREPLY_APP_CLIENT_SECRET`."""
    return PREFIX + re.sub(r"[^A-Z0-9]", "_", f"{name}_{key}".upper())


def _limited(path: Path, *, secret: str) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST_SECRET + 1)
    if len(content) > LARGEST_SECRET:
        raise CredentialError(SECRET_UNREADABLE, f"{path} is larger than 1 MiB; that is no Secret.", secret=secret)
    return content
