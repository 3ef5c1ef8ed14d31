"""What a user gets wrong with a cluster ends the command with one line and the documented exit status."""

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cluster_rig.control_plane import ControlPlane

from command.team import Ask, Team, Told, command, write_kubeconfig

COMMAND = [sys.executable, "-m", "o365mailer_cli.main"]


def kubeconfig(path: Path, *, server: str = "https://127.0.0.1:1", user: Any = None, **cluster: Any) -> Path:
    """A kubeconfig with the context x."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "jane", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "jane"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(document))
    return path


def status(file: Path, *arguments: str) -> Told:
    """`status` with this kubeconfig; it must fail with one line."""
    told = command("status", "--kubeconfig", str(file), "--request-timeout", "2s", *arguments)
    assert told.out == ""
    assert told.err.startswith("o365mailer: ")
    assert told.err.count("\n") == 1
    assert told.status == 2
    return told


@contextlib.contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """An HTTP server that answers each GET so; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            answer(self)

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield listening.server_port
    finally:
        listening.shutdown()
        listening.server_close()


@pytest.mark.promise("command-explains-bad-input")
def test_no_kubeconfig(tmp_path: Path) -> None:
    told = command("status", environment={"KUBECONFIG": str(tmp_path / "none")})

    assert told.status == 2
    assert told.err == (
        f"o365mailer: There is no kubeconfig: {tmp_path}/none does not exist. "
        "Name it with --kubeconfig or in KUBECONFIG.\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "not YAML": ("a: [", "is not a kubeconfig: while parsing a flow node expected the node content"),
        "no mapping": ("hello", "is not a kubeconfig: it has to be a YAML mapping with clusters, users and contexts."),
        "empty": ("", "is not a kubeconfig: Invalid kube-config."),
        "no context": ('{"clusters": [], "contexts": [], "users": []}', "has no current context."),
    }.values(),
)
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)

    assert message in status(file).err


def test_a_directory_in_place_of_a_kubeconfig(tmp_path: Path) -> None:
    assert status(tmp_path).err == f"o365mailer: The kubeconfig {tmp_path} cannot be read: Is a directory.\n"


@pytest.mark.promise("command-explains-bad-input")
def test_an_unknown_context_names_those_that_there_are(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config")

    assert status(file, "--context", "y").err == (
        f"o365mailer: The kubeconfig {file} has no context y; it has x. Name one of them: --context.\n"
    )


def test_a_certificate_file_that_is_missing(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", user={"client-certificate": "/nonexistent/x.crt"})

    assert "cannot be used: File does not exist: /nonexistent/x.crt." in status(file).err


def test_an_authority_that_is_no_certificate(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", **{"certificate-authority-data": "AAAA"})

    assert "The kubeconfig's certificate-authority is no certificate: " in status(file).err


def test_a_client_certificate_that_is_none(tmp_path: Path) -> None:
    user = {"client-certificate-data": "AAAA", "client-key-data": "AAAA"}
    file = kubeconfig(tmp_path / "config", user=user)

    assert "The kubeconfig's client certificate and key cannot be used: " in status(file).err


@pytest.mark.promise("command-explains-bad-input")
def test_a_credential_plugin_that_is_missing(tmp_path: Path) -> None:
    plugin = {"command": "no-such-plugin", "apiVersion": "client.authentication.k8s.io/v1"}
    file = kubeconfig(tmp_path / "config", user={"exec": plugin})

    assert status(file).err == (
        f"o365mailer: The credential plugin of the user jane in the kubeconfig {file} failed: [Errno 2] No such file "
        "or directory: 'no-such-plugin'. Install it or log in with it, then try kubectl get pods.\n"
    )


def test_a_credential_plugin_works(cluster: ControlPlane, team: Team, tmp_path: Path) -> None:
    """The positive control: what a plugin prints is used."""
    team.kubectl("create", "serviceaccount", "robot", "-n", team.namespace)
    team.kubectl(
        *("create", "rolebinding", "robot", "--clusterrole=o365mailer-viewer", "-n", team.namespace),
        f"--serviceaccount={team.namespace}:robot",
    )
    token = team.kubectl("create", "token", "robot", "-n", team.namespace).strip()
    version = "client.authentication.k8s.io/v1"
    told = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": token}}
    (tmp_path / "told").write_text(json.dumps(told))
    plugin = {"command": "cat", "args": [str(tmp_path / "told")], "apiVersion": version, "interactiveMode": "Never"}
    file = write_kubeconfig(tmp_path / "config", cluster, {"exec": plugin}, namespace=team.namespace)

    assert command("status", "--kubeconfig", str(file)).status == 0


@pytest.mark.promise("command-explains-bad-input")
def test_an_api_server_that_is_away(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config")

    assert status(file).err == (
        "o365mailer: https://127.0.0.1:1 cannot be reached: Connection refused. Is the cluster running, and the "
        "address right?\n"
    )


def test_a_server_without_a_name(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", server="https://nowhere.invalid")

    assert "https://nowhere.invalid cannot be reached: " in status(file).err


@pytest.mark.promise("command-explains-bad-input")
def test_a_slow_api_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = kubeconfig(tmp_path / "config", server=f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        told = status(file)

    assert "does not answer within 2 s." in told.err
    assert time.monotonic() - begun < 20


def test_an_api_server_that_answers_byte_by_byte(tmp_path: Path) -> None:
    """Each byte begins the HTTP pool's own timeout anew."""

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.2)

    with server(drip) as port:
        told = status(kubeconfig(tmp_path / "config", server=f"http://127.0.0.1:{port}"))

    assert "does not answer within 2 s." in told.err


@pytest.mark.promise("command-explains-bad-input")
def test_an_api_server_that_is_not_trusted(cluster: ControlPlane, tmp_path: Path) -> None:
    other = trustme.CA().cert_pem.bytes()
    (tmp_path / "ca.crt").write_bytes(other)
    document = json.loads(cluster.kubeconfig.read_text())
    del document["clusters"][0]["cluster"]["certificate-authority-data"]
    document["clusters"][0]["cluster"]["certificate-authority"] = str(tmp_path / "ca.crt")
    file = tmp_path / "config"
    file.write_text(json.dumps(document))

    told = status(file)

    assert "The TLS connection to https://127.0.0.1:" in told.err
    assert "certificate-authority-data has to be the cluster's." in told.err


@pytest.mark.promise("command-explains-bad-input")
def test_a_login_that_is_not_accepted(cluster: ControlPlane, tmp_path: Path) -> None:
    file = write_kubeconfig(tmp_path / "config", cluster, {"token": "expired"})

    told = status(file)

    assert "The API server does not accept the login of context " in told.err
    assert "Log in again, or name another --context." in told.err
    assert "expired" not in told.err


def test_a_pod_whose_service_account_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_PORT", raising=False)
    environment = {"KUBECONFIG": str(tmp_path / "none"), "KUBERNETES_SERVICE_HOST": "10.96.0.1"}

    told = command("status", environment=environment)

    assert told.status == 2
    assert told.err.startswith("o365mailer: There is no kubeconfig, and the pod's ServiceAccount cannot be used: ")
    assert "automountServiceAccountToken" in told.err


@pytest.mark.parametrize(
    ("code", "body", "message"),
    [
        (503, {"kind": "Status", "message": "etcd is away"}, "The API server answered 503: etcd is away."),
        (429, {"kind": "Status", "message": "Too many requests"}, "The API server answered 429: Too many requests."),
        (407, "Proxy login, please", 'answered 407: "Proxy login, please". Is a proxy in between?'),
    ],
)
def test_an_answer_that_says_not_now(tmp_path: Path, code: int, body: Any, message: str) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        content = json.dumps(body).encode()
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    with server(answer) as port:
        told = status(kubeconfig(tmp_path / "config", server=f"http://127.0.0.1:{port}"))

    assert message in told.err


@pytest.mark.promise("command-explains-bad-input")
def test_a_page_in_place_of_the_api(tmp_path: Path) -> None:
    def page(handler: http.server.BaseHTTPRequestHandler) -> None:
        body = b"<html>Please log in</html>"
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with server(page) as port:
        told = status(kubeconfig(tmp_path / "config", server=f"http://127.0.0.1:{port}"))

    assert "does not answer as a Kubernetes API server does. Is a proxy or a login page in between?" in told.err


@pytest.mark.promise("command-explains-bad-input")
@pytest.mark.parametrize("proxy", ["proxy.example:3128", "http://jane:hunter2@127.0.0.1:x", "socks5://127.0.0.1:2"])
def test_a_proxy_that_is_no_url_is_one_line(tmp_path: Path, proxy: str) -> None:
    told = status(kubeconfig(tmp_path / "config", **{"proxy-url": proxy}))

    assert "is not a URL such as http://proxy.example:3128" in told.err
    assert "hunter2" not in told.err


def test_a_proxy_that_does_not_work_is_named_without_its_password(tmp_path: Path) -> None:
    proxy = {"proxy-url": "http://jane:hunter2@127.0.0.1:2"}
    file = kubeconfig(tmp_path / "config", **proxy)

    told = status(file)

    assert "The proxy 127.0.0.1:2 on the way to https://127.0.0.1:1 does not work: Connection refused." in told.err
    assert "hunter2" not in told.err


@pytest.mark.promise("command-explains-bad-input")
def test_a_cluster_without_the_product(tmp_path: Path) -> None:
    def absent(handler: http.server.BaseHTTPRequestHandler) -> None:
        body = b"404 page not found\n"
        handler.send_response(404)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with server(absent) as port:
        told = status(kubeconfig(tmp_path / "config", server=f"http://127.0.0.1:{port}"))

    assert "The cluster has no O365Mailer resources: O365 Mailer is not installed in it, or this is another" in told.err


def test_wrong_flags(tmp_path: Path) -> None:
    for arguments, message in (
        (["-n", ""], "-n/--namespace: is empty; is a variable unset? Give a name"),
        (["-n", "a", "-A"], "not allowed with argument"),
        (["--request-timeout", "soon"], "'soon' is not a duration such as 10s, 5m or 24h"),
        (["--request-timeout", "0s"], "'0s' is no time at all; give one such as 10s or 2m"),
        (["-o", "yaml"], "invalid choice: 'yaml'"),
    ):
        told = command("status", *arguments)
        assert told.status == 2
        assert message in told.err


def test_a_name_and_every_namespace(ask: Ask) -> None:
    told = ask("status", "noreply", "-A")

    assert (told.status, told.out) == (2, "")
    assert "A mailer's name goes with -n, not with -A" in told.err


def run(arguments: list[str], file: Path, **options: Any) -> "subprocess.Popen[str]":
    environment = {**os.environ, "KUBECONFIG": str(file)}
    return subprocess.Popen([*COMMAND, *arguments], env=environment, text=True, stderr=subprocess.PIPE, **options)


def test_a_closed_pipe_ends_it_quietly(cluster: ControlPlane, team: Team) -> None:
    team.mailer()
    reader, writer = os.pipe()
    process = run(["status", "-n", team.namespace], cluster.kubeconfig, stdout=writer)
    os.close(reader)
    os.close(writer)

    _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (141, "")


def test_a_full_disk_is_no_success(cluster: ControlPlane, namespace: str) -> None:
    with Path("/dev/full").open("w") as full:
        process = run(["status", "-n", namespace, "-o", "json"], cluster.kubeconfig, stdout=full)
        _, errors = process.communicate(timeout=30)

    assert process.returncode == 1
    assert errors == "o365mailer: the output cannot be written: No space left on device.\n"


def test_ctrl_c_ends_a_watch(cluster: ControlPlane, team: Team) -> None:
    team.mailer()
    process = run(["status", "--watch", "-n", team.namespace], cluster.kubeconfig, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline().startswith("NAMESPACE")

    process.send_signal(signal.SIGINT)

    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "\n")
