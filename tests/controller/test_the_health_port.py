"""The controller's health port, which any pod of the cluster can reach."""

import contextlib
import socket
from pathlib import Path

import pytest
from cluster_rig.control_plane import ControlPlane
from support.controller_process import ControllerProcess, Namespace

from controller.conftest import arguments_for
from o365mailer_operator.connections import MEMORY

FIELDS = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 8000) for number in range(31))


@pytest.mark.promise("load-does-not-block")
def test_the_controller_works_beside_a_thousand_connections_that_hang(
    own_namespace: Namespace, cluster: ControlPlane, tmp_path: Path
) -> None:
    """Each holds a quarter of a megabyte and never ends its request."""
    arguments = arguments_for(own_namespace.name)
    with (
        ControllerProcess(kubeconfig=cluster.kubeconfig, arguments=arguments) as controller,
        contextlib.ExitStack() as stack,
    ):
        controller.wait_until_leading()
        before = peak(controller)
        host, port = controller.health.removeprefix("http://").split(":")
        for _ in range(1000):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"GET /livez HTTP/1.1\r\n" + FIELDS)
        assert controller.http("/livez") == (200, "ok\n")
        assert controller.metric('o365mailer_controller_connections_closed_total{why="memory"}')
        assert peak(controller) - before < 2 * MEMORY
        own_namespace.apply_mailer()
        own_namespace.await_ready()


def peak(controller: ControllerProcess) -> int:
    """The most memory that the process has had, in bytes."""
    status = Path(f"/proc/{controller.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10
