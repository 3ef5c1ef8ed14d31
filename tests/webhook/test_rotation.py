"""Leaf and authority renewed again and again while pods are created, and no request fails."""

import base64
import datetime
import time

import pytest
from cluster_rig.control_plane import ControlPlane
from cryptography import x509
from webhook.examples import pod
from webhook.installation import Installation, pause_until

from o365mailer_contract import names

CREATIONS = 600
RATE = 10.0
"""Creations a second."""
KUBELET_DELAY = 2.0
AUTHORITY = {"lifetime": datetime.timedelta(seconds=24), "publication": 2.0, "pause": 0.25}


def signer(installation: Installation) -> int:
    """The serial of the authority that signs."""
    path = f"/api/v1/namespaces/{installation.namespace}/secrets/{names.CA_SECRET}"
    data = installation.api.request("GET", path).document["data"]
    return x509.load_pem_x509_certificate(base64.b64decode(data[names.CA_SECRET_SIGNER])).serial_number


@pytest.mark.promise("webhook-certificates-renewed")
@pytest.mark.timeout(180)
def test_no_creation_fails_while_leaf_and_authority_are_renewed(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    installation = Installation(
        plane=control_plane,
        directory=tmp_path_factory.mktemp("rotation"),
        arguments=("--leaf-lifetime=6s",),
        authority=AUTHORITY,
        delay=KUBELET_DELAY,
    )
    failures: list[str] = []
    signers: set[int] = set()
    with installation:
        began = time.monotonic()
        leaves_before = len(installation.webhook.logged("leaf signed"))
        for number in range(CREATIONS):
            pause_until(began + number / RATE)
            answer = installation.api.create_pod("default", pod())
            if answer.status != 201 or not answer.document["spec"].get("initContainers"):
                failures.append(f"{time.monotonic() - began:.1f} s: {answer.status} {answer.message}")
            if number % 10 == 0:
                signers.add(signer(installation))
        leaves = {line["serial"] for line in installation.webhook.logged("leaf signed")[leaves_before:]}
    assert failures == []
    assert len(leaves) >= 3, "the leaf changed twice or more"
    assert len(signers) >= 3, "the authority changed twice or more"
