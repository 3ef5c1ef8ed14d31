"""The user's kubeconfig: files, contexts, credential plugins; in a pod, its ServiceAccount.

The loading is the `kubernetes` client's, so that everything that kubectl reads works here. What it raises or only logs
becomes one line that names the file.
"""

import argparse
import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from kubernetes import config
from kubernetes.client import Configuration
from kubernetes.config import ConfigException
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger
from yaml import YAMLError

from o365mailer_cli.cluster import Cluster, one_line
from o365mailer_cli.errors import WrongInput, WrongKubeconfig

IN_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
BROKEN: Final = (ConfigException, YAMLError, ValueError, AttributeError, TypeError, KeyError)
"""What the client's loader raises for a file that is no kubeconfig."""


class _Loader(KubeConfigLoader):
    """The client's loader, which keeps the context's user to itself."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)  # type: ignore[no-untyped-call]

    @property
    def user(self) -> Mapping[str, Any]:
        """The user of the context, as it stands in the kubeconfig."""
        found = self._user.value if self._user is not None else None
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True, kw_only=True)
class Access:
    """Which cluster, as whom, and how long to wait: the common flags."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    timeout: float = 10.0

    @classmethod
    def of(cls, given: argparse.Namespace) -> "Access":
        """What the flags of `flags.cluster_flags` say."""
        return cls(
            kubeconfig=given.kubeconfig, context=given.context, namespace=given.namespace, timeout=given.request_timeout
        )


def connect(wanted: Access, environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster of the kubeconfig; in a pod without one, the pod's own. Nothing is asked of it yet.

    Raises WrongKubeconfig.
    """
    configuration = Configuration()
    files = wanted.kubeconfig or environment.get("KUBECONFIG") or config.KUBE_CONFIG_DEFAULT_LOCATION
    paths = [Path(part).expanduser() for part in files.split(os.pathsep) if part]
    present = [path for path in paths if path.exists()]
    if not present and not wanted.kubeconfig and "KUBERNETES_SERVICE_HOST" in environment:
        return _in_pod(configuration, wanted)
    if not present:
        named = ", ".join(map(str, paths)) or "it"
        raise WrongKubeconfig(
            f"There is no kubeconfig: {named} does not exist. Name it with --kubeconfig or in KUBECONFIG."
        )
    loader = _loader(present, wanted.context)
    current = loader.current_context
    with _plugin_errors(current["context"].get("user", ""), present):
        loader.load_and_set(configuration)
    if not str(configuration.host).startswith(("https://", "http://")):
        raise WrongKubeconfig(f"The server {configuration.host} of the context {current['name']} is not a URL.")
    namespace = wanted.namespace or current["context"].get("namespace") or "default"
    identity = f"context {current['name']}, user {current['context'].get('user', '(none)')}"
    headers = _impersonation(loader.user)
    if headers:
        identity += f" as {headers[0][1]}"
    return Cluster(configuration, namespace=namespace, identity=identity, timeout=wanted.timeout, impersonation=headers)


def namespace_of(given: argparse.Namespace, cluster: Cluster) -> str | None:
    """Where a verb with a MAILER looks: a namespace, or None for `-A`. Raises WrongInput for a mailer with `-A`."""
    if not given.all_namespaces:
        return cluster.namespace
    if given.mailer:
        raise WrongInput("A mailer's name goes with -n, not with -A: two namespaces may have one of that name.")
    return None


def _impersonation(user: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Headers for `as`, `as-uid`, `as-groups` and `as-user-extra` of a kubeconfig's user, the user's name first.

    The `kubernetes` client does not read them, and would act with the rights of the user who impersonates
    (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation).
    """
    more = [("Impersonate-Uid", user.get("as-uid"))]
    more += [("Impersonate-Group", group) for group in user.get("as-groups") or ()]
    for key, values in (user.get("as-user-extra") or {}).items():
        more += [(f"Impersonate-Extra-{quote(str(key).lower(), safe='')}", value) for value in values]
    given = [(name, str(value)) for name, value in more if value]
    if user.get("as"):
        return [("Impersonate-User", str(user["as"])), *given]
    if given:
        raise WrongKubeconfig("The kubeconfig's user has as-groups, as-uid or as-user-extra, and no as: name a user.")
    return []


def _in_pod(configuration: Configuration, wanted: Access) -> Cluster:
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        raise WrongKubeconfig(
            f"There is no kubeconfig, and the pod's ServiceAccount cannot be used: {error}. Give the pod "
            "automountServiceAccountToken, or set KUBECONFIG."
        ) from None
    namespace = wanted.namespace or (IN_POD.read_text() if IN_POD.exists() else "default")
    return Cluster(configuration, namespace=namespace, identity="the pod's ServiceAccount", timeout=wanted.timeout)


def _loader(paths: Sequence[Path], context: str | None) -> Any:
    """The client's loader of these files, with its context chosen. Untyped in the client."""
    names = ", ".join(map(str, paths))
    try:
        merged = KubeConfigMerger(os.pathsep.join(map(str, paths))).config  # type: ignore[no-untyped-call]
    except OSError as error:
        raise WrongKubeconfig(f"The kubeconfig {names} cannot be read: {error.strerror}.") from None
    except (YAMLError, ConfigException) as error:
        raise WrongKubeconfig(f"{names} is not a kubeconfig: {one_line(error)}.") from None
    except BROKEN:
        raise WrongKubeconfig(
            f"{names} is not a kubeconfig: it has to be a YAML mapping with clusters, users and contexts."
        ) from None
    return _chosen(merged, context, names=names)


def _chosen(merged: Any, context: str | None, *, names: str) -> Any:
    contexts = [str(each.value.get("name")) for each in merged.value["contexts"]]
    chosen = context or merged.value.get("current-context")
    if not chosen:
        raise WrongKubeconfig(
            f"The kubeconfig {names} has no current context. Name one of {_some(contexts)}: --context."
        )
    if chosen not in contexts:
        raise WrongKubeconfig(
            f"The kubeconfig {names} has no context {chosen}; it has {_some(contexts)}. Name one of them: --context."
        )
    try:
        return _Loader(config_dict=merged, active_context=chosen)
    except BROKEN as error:
        raise WrongKubeconfig(f"The kubeconfig {names} cannot be used: {one_line(error)}.") from None


def _some(contexts: Sequence[str]) -> str:
    shown = ", ".join(contexts[:10]) or "none"
    return shown if len(contexts) <= 10 else f"{shown} and {len(contexts) - 10} more"


@contextlib.contextmanager
def _plugin_errors(user: str, paths: Sequence[Path]) -> Iterator[None]:
    """Make an error of what the client only logs: a credential plugin that fails leaves it without a login."""
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    listener, root = Listener(logging.ERROR), logging.getLogger()
    root.addHandler(listener)
    names = ", ".join(map(str, paths))
    try:
        yield
    except BROKEN as error:
        raise WrongKubeconfig(f"The kubeconfig {names} cannot be used: {one_line(error)}.") from None
    except OSError as error:
        raise WrongKubeconfig(f"A file that the kubeconfig {names} names cannot be read: {error}.") from None
    finally:
        root.removeHandler(listener)
    if told:
        raise WrongKubeconfig(
            f"The credential plugin of the user {user} in the kubeconfig {names} failed: {one_line(told[0])}. Install "
            "it or log in with it, then try kubectl get pods."
        )
