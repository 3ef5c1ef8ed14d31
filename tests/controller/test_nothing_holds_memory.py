"""A user who may create Secrets and mailers in one namespace cannot stop the controller by their size or number."""

import json
import re
from pathlib import Path

import pytest
import yaml
from cluster_rig.control_plane import ControlPlane
from support.controller_process import ControllerProcess, Namespace
from support.waiting import eventually

from controller.conftest import arguments_for

VALUES = Path(__file__).parents[2] / "charts" / "o365mailer" / "values.yaml"
MAILERS = 64
REFS = ("large-a", "large-b")


@pytest.mark.promise("load-does-not-block")
def test_a_start_beside_many_mailers_of_the_largest_secrets_stays_below_the_charts_limit(
    own_namespace: Namespace, cluster: ControlPlane, tmp_path: Path
) -> None:
    """Each mailer names three Secrets and a ConfigMap of nearly 1 MiB, and none shares a tenant with another."""
    space = own_namespace.name
    content = {"ca.crt": "x" * 1_000_000, "secret": "y" * 20_000}
    secrets = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": content}
        for name in (*REFS, "large-c")
    ]
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large-d"}, "data": content}
    refs = [{"name": name, "key": "secret"} for name in REFS]
    mailers = [
        own_namespace.manifest(
            f"m{number}",
            tenantId=f"t{number}.example",
            credential={"clientSecret": {"secretRefs": refs}},
            authority={"url": own_namespace.emulator.authority, "ca": {"secretRef": {"name": "large-c"}}},
            submission={"host": "127.0.0.1", "port": 25, "ca": {"configMapRef": {"name": "large-d"}}},
        )
        for number in range(MAILERS)
    ]
    for kind, objects in (("secrets", [*secrets, config_map]), ("mailers", mailers)):
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        cluster.kubectl("create", "-n", space, "-f", path)  # `apply` would keep each Secret twice, which is too much
    with ControllerProcess(kubeconfig=cluster.kubeconfig, arguments=arguments_for(space)) as controller:
        eventually(
            lambda: all(
                controller.metric(f'o365mailer_ready{{mailer="m{number}",namespace="{space}"}}') == 0
                for number in range(MAILERS)
            ),
            within=50,
            what="a look at each mailer",
        )
        assert peak(controller) < limit()


def peak(controller: ControllerProcess) -> int:
    """The most memory that the process has had, in bytes."""
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{controller.process.pid}/status").read_text())
    return int(kibibytes) << 10


def limit() -> int:
    """The chart's memory limit of the controller, in bytes."""
    text = yaml.safe_load(VALUES.read_text())["controller"]["resources"]["limits"]["memory"]
    assert text.endswith("Mi"), text
    return int(text.removesuffix("Mi")) << 20
