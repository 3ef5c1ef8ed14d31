"""Our CRD on the API server that suites share. Other suites install it by the chart, so it goes with its user."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cluster_rig.control_plane import ControlPlane

CRD: Final = Path(__file__).parents[2] / "crds" / "o365mailers.yaml"


@contextlib.contextmanager
def served_crd(plane: ControlPlane) -> Iterator[None]:
    """The API server serves O365Mailers while the context lasts."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", CRD)
    plane.kubectl("wait", "--for=condition=Established", "crd/o365mailers.o365mailer.dev")
    # Established comes before the watch cache, without which a list from it is 429; kubectl tries that again.
    plane.kubectl("get", "--raw", "/apis/o365mailer.dev/v1alpha1/o365mailers?resourceVersion=0")
    try:
        yield
    finally:
        plane.kubectl("delete", "-f", CRD, "--ignore-not-found", "--timeout=30s")
