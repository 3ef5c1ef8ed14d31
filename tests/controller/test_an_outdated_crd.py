"""With a CRD that prunes what restricts, the controller serves no mailer, says why, and goes on after the upgrade.

On an API server of its own, because the CRD is the whole cluster's.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_rig.control_plane import ControlPlane
from support.controller_process import ALLOW_LOOPBACK, ControllerProcess, Namespace
from support.emulator_client import EmulatorClient
from support.served_crd import CRD
from support.waiting import eventually

from o365mailer_operator.controller.served_schema import needed_members

TELLS = "It lacks spec.recipients.redirectTo. The API server removes these members from every mailer, and says nothing."
STAGING = "staging@contoso.com"
MAILERS = "/apis/o365mailer.dev/v1alpha1/o365mailers"


def older(crd: Any) -> Any:
    """The CRD before it had `recipients.redirectTo`."""
    changed = copy.deepcopy(crd)
    [version] = changed["spec"]["versions"]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["recipients"]["properties"][
        "redirectTo"
    ]
    return changed


@pytest.mark.promise("outdated-crd-refused")
@pytest.mark.timeout(240)
def test_it_does_not_lead_until_the_crd_is_upgraded_and_ends_when_an_older_one_is_applied(
    tmp_path: Path, emulator: EmulatorClient
) -> None:
    crd = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    with ControlPlane(directory=tmp_path / "plane") as plane:
        namespace = Namespace(name="default", kubectl=plane.kubectl, emulator=emulator)
        plane.kubectl.apply(older(crd))
        eventually(lambda: plane.kubectl.process("get", "--raw", MAILERS).returncode == 0)
        namespace.credentials()
        namespace.apply_mailer()
        with ControllerProcess(kubeconfig=plane.kubeconfig, arguments=ALLOW_LOOPBACK) as process:
            line = process.hear(lambda: process.logged("the CRD is outdated"), "the refusal")
            assert TELLS in line["error"]
            assert "kubectl apply --server-side -f crds/o365mailers.yaml" in line["error"]
            status, told = process.http("/readyz")
            assert (status, TELLS in told) == (503, True)
            assert process.http("/livez")[0] == 200
            assert process.metric("o365mailer_leading") == 0
            assert namespace.find("lease", "o365mailer-controller") is None
            assert namespace.find("o365mailer", "noreply")["status"] == {"observedGeneration": -1}  # the CRD's default
            assert namespace.files() is None
            assert emulator.counters()["tokensIssued"] == 0

            plane.kubectl.apply(crd)
            process.hear(lambda: process.logged("the CRD is up to date"), "the upgrade")
            process.wait_until_leading()
            namespace.await_ready()
            namespace.apply_mailer(recipients={"redirectTo": STAGING})
            eventually(lambda: namespace.settings()["recipients"].get("redirectTo") == STAGING)

            plane.kubectl.apply(older(crd))
            assert process.ended() == 1
            lost = process.logged("lost what it takes to go on")
            assert lost
            assert TELLS in lost["error"]
        assert namespace.settings()["recipients"].get("redirectTo") == STAGING


def test_the_members_that_count_are_those_of_the_crd() -> None:
    crd = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    [version] = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    spec = set(paths(schema["spec"], "spec"))
    assert needed_members() == spec | {f"status.{member}" for member in schema["status"]["properties"]}


def paths(schema: Any, path: str) -> list[str]:
    """The paths of all members below a member."""
    found = []
    for name, member in schema.get("items", schema).get("properties", {}).items():
        found += [f"{path}.{name}", *paths(member, f"{path}.{name}")]
    return found
