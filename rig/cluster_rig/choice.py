"""Which cluster is used: the one that `O365MAILER_TEST_KUBECONFIG` names, else our own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from cluster_rig import given
from cluster_rig.clients import Client
from cluster_rig.errors import RefusedError
from cluster_rig.node import NodeCluster


class Cluster(Protocol):
    """What the tests and `make cluster` need of any cluster; as a context manager it ends at the end."""

    kubectl: Client
    helm: Client

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of the cluster's administrator."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def up(self, *, bound: bool = False) -> None:
        """Starts it or finds it running; bound, it ends with the calling process."""

    def down(self) -> None:
        """Ends the cluster and removes every trace of it."""

    def is_running(self) -> bool:
        """Whether `up` would find the cluster running."""

    def load(self, *archives: Path) -> None:
        """Makes images known to it, from archives in docker's format."""


def choose(name: str, environ: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster to use, not started yet; `name` is used for one of our making.

    Raises:
        RefusedError: the environment names a kubeconfig that is not there.
    """
    named = environ.get(given.VARIABLE)
    if not named:
        return NodeCluster(name=name)
    if not Path(named).is_file():
        raise RefusedError(f"{given.VARIABLE}={named} is not a file: give the path of one kubeconfig, or unset it")
    return given.GivenCluster(kubeconfig=Path(named).absolute(), environ=environ)
