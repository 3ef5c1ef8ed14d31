"""The Kubernetes releases that the rig builds, one for each minor version that the product supports.

`O365MAILER_TEST_KUBERNETES` chooses one for the tests and for `make cluster`; the newest is the default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cluster_rig.errors import RefusedError

VARIABLE = "O365MAILER_TEST_KUBERNETES"


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release of Kubernetes and the containerd of its node."""

    version: str
    """Such as `1.37.2`."""
    containerd: str | None = None
    """The version that is built for it; None is the machine's own."""

    @property
    def minor(self) -> str:
        """Such as `1.37`."""
        return self.version.rpartition(".")[0]

    @property
    def libraries(self) -> str:
        """The version of Kubernetes' libraries (k8s.io/api and others), such as `v0.37.2`."""
        return f"v0.{self.version.partition('.')[2]}"


CONTAINERD = "2.4.2"
"""A kubelet from 1.36 on refuses containerd 1 (Debian 12 has 1.6)."""

RELEASES = (
    Release(version="1.32.9"),
    Release(version="1.33.13"),
    Release(version="1.34.4"),
    Release(version="1.35.4"),
    Release(version="1.36.3", containerd=CONTAINERD),
    Release(version="1.37.2", containerd=CONTAINERD),
)
OLDEST, NEWEST = RELEASES[0], RELEASES[-1]


def chosen(environ: Mapping[str, str] = os.environ) -> Release:
    """The release that the environment names by version or by minor version, else the newest.

    Raises:
        RefusedError: there is no such release here.
    """
    name = environ.get(VARIABLE)
    return named(name) if name else NEWEST


def named(name: str) -> Release:
    """The release of that version or minor version.

    Raises:
        RefusedError: there is no such release here.
    """
    for release in RELEASES:
        if name in {release.version, release.minor}:
            return release
    known = ", ".join(release.minor for release in RELEASES)
    raise RefusedError(f"the rig builds no Kubernetes {name}: set {VARIABLE} to one of {known}")
