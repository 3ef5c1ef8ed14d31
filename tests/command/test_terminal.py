"""On a terminal the command has colour, and tells on standard error what it waits for; elsewhere it does neither."""

import os
import pty
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cluster_rig import programs
from cluster_rig.control_plane import ControlPlane

from command.team import Team, command, write_kubeconfig

COMMAND = [sys.executable, "-m", "o365mailer_cli.main"]


def on_terminal(arguments: list[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """The exit status of the command on a terminal of its own, and all that the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "300", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    told, end = b"", time.monotonic() + 30
    while time.monotonic() < end and select.select([ours], [], [], 30)[0]:
        try:
            told += os.read(ours, 65536)
        except OSError:  # the last process that had the terminal is gone
            break
    os.close(ours)
    return process.wait(30), told.decode()


def test_colour_and_progress_are_for_a_terminal(cluster: ControlPlane, team: Team) -> None:
    team.mailer()
    arguments = ["status", "-n", team.namespace, "--kubeconfig", str(cluster.kubeconfig)]

    status, told = on_terminal(arguments, {})
    _, plain = on_terminal(arguments, {"NO_COLOR": "1"})
    piped = command(*arguments)

    assert status == 0
    assert "asking the cluster" in told
    assert "\x1b[32mTrue" in told
    assert "\x1b[?25h" in told  # the cursor is back
    assert "\x1b[32m" not in plain
    assert "\x1b" not in piped.out + piped.err
    assert "asking the cluster" not in piped.out + piped.err


def test_kubectl_finds_it_as_a_plugin(cluster: ControlPlane, team: Team) -> None:
    team.mailer()
    kubectl = programs.path_of(next(each for each in programs.CLIENTS if each.name == "kubectl"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(cluster.kubeconfig)}

    told = subprocess.run(
        [kubectl, "o365mailer", "status", "-n", team.namespace], env=environment, capture_output=True, text=True
    )

    assert told.returncode == 0, told.stderr
    assert "noreply@contoso.com" in told.stdout


class Proxy(BaseHTTPRequestHandler):
    """An HTTP proxy: CONNECT alone."""

    asked: list[str] = []  # noqa: RUF012 - one proxy a test

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_CONNECT(self) -> None:
        """Pass bytes both ways until one side ends."""
        self.asked.append(self.path)
        host, _, port = self.path.rpartition(":")
        self.close_connection = True
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            pairs = {self.connection: upstream, upstream: self.connection}
            while ready := select.select(list(pairs), [], [], 20)[0]:
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    pairs[one].sendall(data)


def test_it_goes_through_the_kubeconfigs_proxy(cluster: ControlPlane, team: Team, tmp_path: Path) -> None:
    team.mailer()
    team.kubectl("create", "serviceaccount", "jane", "-n", team.namespace)
    account = f"--serviceaccount={team.namespace}:jane"
    team.kubectl("create", "rolebinding", "jane", "--clusterrole=o365mailer-viewer", account, "-n", team.namespace)
    token = team.kubectl("create", "token", "jane", "-n", team.namespace).strip()
    Proxy.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        file = write_kubeconfig(
            *(tmp_path / "config", cluster, {"token": token}),
            namespace=team.namespace,
            **{"proxy-url": f"http://127.0.0.1:{proxy.server_port}"},
        )
        told = command("status", "--kubeconfig", str(file))
        proxy.shutdown()

    assert told.status == 0, told.err
    assert Proxy.asked
