"""Where `run` and `check -f` find the Secrets and ConfigMaps that a mailer names: files, or the environment."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from o365mailer_operator.token.credential import ServiceAccount
from o365mailer_operator.token.errors import (
    CONFIG_MAP_UNREADABLE,
    SECRET_UNREADABLE,
    SERVICE_ACCOUNT_UNREADABLE,
    ConfigMapError,
    CredentialError,
    ServiceAccountError,
    TokenError,
)
from o365mailer_operator.token.grant import config_maps_needed, secrets_needed
from o365mailer_operator.token.spec import Spec

SECRET: Final = "O365MAILER_SECRET_"
CONFIG_MAP: Final = "O365MAILER_CONFIGMAP_"
LARGEST_OBJECT: Final = 2**20
"""Bytes. A Kubernetes Secret or ConfigMap may have no more."""

Content = Mapping[str, bytes]
"""The keys of a Secret or ConfigMap, with their values."""


class ObjectSource(Protocol):
    """Reads the objects that a mailer names (token.credential.Source), and says where a missing one belongs."""

    def secret(self, name: str) -> Content | None:
        """The Secret; None if there is no such Secret. Raises CredentialError."""

    def config_map(self, name: str) -> Content | None:
        """The ConfigMap; None if there is no such ConfigMap. Raises ConfigMapError."""

    def service_account(self, name: str) -> ServiceAccount | None:
        """None if there is no such ServiceAccount. Raises ServiceAccountError, always where there is no cluster."""

    def place(self, error: TokenError) -> str:
        """Where the missing or wrong key has to be, for messages; empty if the error's own text says it."""


class ObjectFiles:
    """A directory for each Secret or ConfigMap, a file for each key, as Kubernetes mounts them: DIR/name/key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def secret(self, name: str) -> Content | None:
        """Raises CredentialError."""
        try:
            return self._read(name)
        except _Unreadable as error:
            raise CredentialError(SECRET_UNREADABLE, str(error), secret=name) from None

    def config_map(self, name: str) -> Content | None:
        """Raises ConfigMapError."""
        try:
            return self._read(name)
        except _Unreadable as error:
            raise ConfigMapError(CONFIG_MAP_UNREADABLE, str(error), config_map=name) from None

    def service_account(self, name: str) -> ServiceAccount | None:
        """Raises ServiceAccountError."""
        raise without_cluster(name)

    def place(self, error: TokenError) -> str:
        """The path of the key's file."""
        name, key = _named(error)
        return f"the file {self.directory / name / key}" if key else ""

    def _read(self, name: str) -> Content | None:
        folder = self.directory / name
        try:
            if not folder.is_dir():
                return None
            # Names that begin with `..` are the kubelet's own (the link that it replaces, and its targets).
            files = [path for path in sorted(folder.iterdir()) if not path.name.startswith("..") and path.is_file()]
            return {path.name: _limited(path) for path in files}
        except OSError as error:
            raise _Unreadable(
                f"{error.filename} cannot be read: {error.strerror}. Let the user who runs this read it."
            ) from None


class ObjectVariables:
    """Environment variables, one for each key: O365MAILER_SECRET_<NAME>_<KEY>, O365MAILER_CONFIGMAP_<NAME>_<KEY>."""

    def __init__(self, environment: Mapping[str, str], spec: Spec) -> None:
        self.environment = environment
        # The keys to look for in each, because a variable's name cannot be split into name and key.
        self.secrets, self.config_maps = secrets_needed(spec), config_maps_needed(spec)

    def secret(self, name: str) -> Content | None:
        """The keys whose variables are set."""
        return self._found(SECRET, name, self.secrets)

    def config_map(self, name: str) -> Content | None:
        """The keys whose variables are set."""
        return self._found(CONFIG_MAP, name, self.config_maps)

    def service_account(self, name: str) -> ServiceAccount | None:
        """Raises ServiceAccountError."""
        raise without_cluster(name)

    def place(self, error: TokenError) -> str:
        """The name of the key's variable."""
        name, key = _named(error)
        prefix = CONFIG_MAP if isinstance(error, ConfigMapError) else SECRET
        return f"the environment variable {variable_of(prefix, name, key)}" if key else ""

    def _found(self, prefix: str, name: str, needed: Mapping[str, frozenset[str]]) -> Content | None:
        variables = {key: variable_of(prefix, name, key) for key in needed.get(name, frozenset())}
        found = {key: self.environment[variable] for key, variable in variables.items() if variable in self.environment}
        return {key: value.encode(errors="surrogateescape") for key, value in found.items()} or None


def source_of(spec: Spec, *, directory: Path | None, environment: Mapping[str, str]) -> ObjectSource:
    """The files of a directory; without one, the environment."""
    return ObjectFiles(directory) if directory else ObjectVariables(environment, spec)


def without_cluster(name: str) -> ServiceAccountError:
    """There are ServiceAccounts in a cluster alone."""
    return ServiceAccountError(
        SERVICE_ACCOUNT_UNREADABLE,
        f"spec.credential.workloadIdentity names the ServiceAccount {name}, and only a Kubernetes API server gives "
        "tokens of a ServiceAccount. Apply the mailer in a cluster, or give it a clientSecret or a certificate here.",
        service_account=name,
    )


def variable_of(prefix: str, name: str, key: str) -> str:
    """SECRET, `noreply-app`, `client-secret` → `O365MAILER_SECRET_NOREPLY_APP_CLIENT_SECRET`."""
    return prefix + re.sub(r"[^A-Z0-9]", "_", f"{name}_{key}".upper())


class _Unreadable(Exception):
    """Why a file cannot be read, and what to do."""


def _named(error: TokenError) -> tuple[str, str]:
    """The name and the key of what cannot be used; an empty key if the error is about none."""
    if isinstance(error, CredentialError):
        return error.secret, error.key or ""
    return (error.config_map, error.key or "") if isinstance(error, ConfigMapError) else ("", "")


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST_OBJECT + 1)
    if len(content) > LARGEST_OBJECT:
        raise _Unreadable(f"{path} is larger than 1 MiB; that is no Secret and no ConfigMap.")
    return content
