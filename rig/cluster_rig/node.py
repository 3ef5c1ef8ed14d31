"""A cluster with a node that runs pods: everything inside Linux namespaces that end with one process.

The API server listens on the inner end of a link to this machine, so kubectl, helm and tests work from outside as with
any cluster; pods reach this machine at `host_address` and nothing beyond it.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from cluster_rig import cache, node_files, programs, releases, requirements, traces
from cluster_rig.bound import Bound
from cluster_rig.clients import Client, ClientError
from cluster_rig.credentials import NODE_NAME
from cluster_rig.errors import BuildError, RefusedError, StartError
from cluster_rig.given import clients
from cluster_rig.processes import bound_to_parent
from cluster_rig.releases import Release

DEFAULT_NAME = "o365mailer"
START_SECONDS = 120
STOP_SECONDS = 60
"""Limits in seconds; STOP_SECONDS is for each step of `down`, which may have to remove gigabytes on a busy machine."""
POLL_SECONDS = 0.1


@dataclass(kw_only=True)
class NodeCluster(Bound):
    """A cluster by its name; `up` starts it or finds it running, `down` removes every trace of it.

    As a context manager it is bound to the starting thread: killed with it, even by kill -9.
    """

    name: str = DEFAULT_NAME
    release: Release = field(default_factory=releases.chosen)
    kubectl: Client = field(init=False)
    helm: Client = field(init=False)
    started: subprocess.Popen[bytes] | None = field(init=False, default=None)
    """The process that holds the namespaces, if this object started it."""

    @property
    def directory(self) -> Path:
        """Certificates, containers, logs; removed by `down`."""
        return cache.directory() / "clusters" / self.name

    @property
    def kept_logs(self) -> Path:
        """The logs of the last attempt that failed; `down` leaves them."""
        return cache.directory() / "failed" / self.name

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of the cluster's administrator."""
        return self.directory / "certificates" / "admin.kubeconfig"

    @property
    def state(self) -> dict[str, str]:
        """What `down` must know (process, start time, link, cgroup, network) and the release; empty without cluster."""
        path = self.directory / "state.json"
        found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return found

    @property
    def host_address(self) -> str:
        """This machine's address for pods: a test's own server listens here."""
        return str(ipaddress.ip_network(self.state["network"])[1])

    @property
    def node_address(self) -> str:
        """The node's address for this machine."""
        return str(ipaddress.ip_network(self.state["network"])[2])

    def is_running(self) -> bool:
        """Whether its first process lives. Another process that got the same pid later has another start time."""
        state = self.state
        return bool(state) and started_at(int(state["pid"])) == state["started"]

    def up(self, *, bound: bool = False) -> None:
        """Returns when the node is Ready and names resolve; at once when the cluster is running already.

        Raises:
            MachineLacksError: no node can run here; names everything that is missing.
            RefusedError: it is running already, with another release of Kubernetes.
            StartError, BuildError: as their names say; the text ends with the log's last lines.
        """
        requirements.check_node()
        programs.build(programs.of_node(self.release), self.release)
        self.kubectl, self.helm = clients(self.kubeconfig, self.directory / "helm", self.release)
        if self.is_running():
            if (running := self.state["kubernetes"]) != self.release.version:
                wanted = f"you asked for {self.release.version}: `make cluster-down` first"
                raise RefusedError(f"cluster {self.name} runs Kubernetes {running}, and {wanted}")
            return
        self.down()
        sweep()
        try:
            self.start(bound=bound)
        except BaseException:
            shutil.rmtree(self.kept_logs, ignore_errors=True)
            shutil.copytree(self.directory / "logs", self.kept_logs)
            self.down()
            raise

    def start(self, *, bound: bool) -> None:
        """Makes the namespaces, the link and the cgroup, hands the order to the first process, and waits."""
        (self.directory / "logs").mkdir(parents=True)
        isolation = ["--mount", "--pid", "--fork", "--mount-proc", "--net", "--uts", "--ipc", "--kill-child"]
        command = [*(bound_to_parent() if bound else []), "unshare", *isolation, "--", sys.executable, "-m"]
        package = str(Path(__file__).resolve().parent.parent)
        environ = {**os.environ, "PYTHONPATH": package, "PYTHONUNBUFFERED": "1"}
        with (self.directory / "logs" / "init.log").open("wb") as log:
            unshare = subprocess.Popen(
                [*command, "cluster_rig.node_init"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environ,
                start_new_session=not bound,
            )
        self.started = unshare
        first = self.wait_for_child(unshare)
        order = self.furnish(first)
        assert unshare.stdin
        with unshare.stdin as pipe:
            pipe.write(json.dumps(order).encode() + b"\n")
        self.wait_until_ready(unshare)

    def furnish(self, first: int) -> dict[str, str]:
        """Link and cgroup; written to `state.json` before they are made, so that `down` finds them whatever happens."""
        identity = f"o365m-{secrets.token_hex(3)}"
        with cache.locked(cache.directory() / "network.lock"):
            network = traces.free_network()
            state = {"pid": str(first), "started": started_at(first), "link": identity, "cgroup": identity}
            state["kubernetes"] = self.release.version
            (self.directory / "state.json").write_text(json.dumps({**state, "network": str(network)}))
            traces.make_link(name=identity, pid=first, network=network)
        traces.make_cgroup(identity)
        order = {"directory": str(self.directory), "cache": str(cache.directory()), "kubernetes": self.release.version}
        return {**order, "address": str(network[2]), "cgroup": f"/{identity}"}

    def wait_for_child(self, unshare: subprocess.Popen[bytes]) -> int:
        """The pid in this machine's namespace of the process that has pid 1 in the cluster's."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and unshare.poll() is None:
            children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()
            if children and not started_with_same_net(int(children[0])):
                return int(children[0])
            time.sleep(POLL_SECONDS)
        raise StartError(f"no namespaces could be made:\n{self.init_log()}")

    def wait_until_ready(self, unshare: subprocess.Popen[bytes]) -> None:
        """Waits for the programs, the node and the names, in this order."""
        deadline = time.monotonic() + START_SECONDS
        steps = [(self.directory / "ready").exists, self.node_is_ready, self.dns_is_ready]
        while steps:
            if steps[0]():
                steps.pop(0)
                continue
            if unshare.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"the cluster did not come up:\n{self.init_log()}\nlogs: {self.kept_logs}")
            time.sleep(POLL_SECONDS)

    def node_is_ready(self) -> bool:
        """Whether the kubelet says that pods can run."""
        wanted = '{.status.conditions[?(@.type=="Ready")].status}'
        try:
            return self.kubectl("get", "node", NODE_NAME, "--output", f"jsonpath={wanted}") == "True"
        except ClientError:
            return False

    def dns_is_ready(self) -> bool:
        """Whether the name server has read the Services (its `ready` plugin)."""
        try:
            urllib.request.urlopen(f"http://{self.node_address}:{node_files.DNS_READY_PORT}/ready", timeout=5).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def init_log(self) -> str:
        """The last lines of the first process's log."""
        path = self.directory / "logs" / "init.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-30:]) if path.exists() else ""

    def inside(self, *command: str | Path, timeout: float = 120) -> str:
        """Runs a command in the cluster's namespaces, as root of the node, and returns its stdout.

        Raises:
            StartError: the cluster is not running.
            ClientError: the command failed.
        """
        if not self.is_running():
            raise StartError(f"no cluster {self.name} is running: `make cluster` brings one up")
        enter = ["nsenter", "--target", self.state["pid"], "--net", "--mount", "--pid", "--uts", "--ipc", "--"]
        environ = {**os.environ, "PATH": programs.node_path(self.release)}
        done = subprocess.run([*enter, *command], env=environ, capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise ClientError(f"{' '.join(map(str, command))}\n{done.stderr.strip()}")
        return done.stdout

    def load(self, *archives: Path) -> None:
        """Imports image archives (docker's or OCI's format) under the names written in them.

        Raises:
            BuildError: containerd refused one.
        """
        for archive in archives:
            try:
                self.inside("ctr", "--namespace", "k8s.io", "images", "import", archive.absolute(), timeout=300)
            except ClientError as error:
                raise BuildError(f"containerd could not import {archive}: {error}") from error

    def down(self) -> None:
        """Ends the cluster and removes its link, its cgroups and its directory; does nothing where there is none.

        Raises:
            StartError: something of it is still in use after a minute; the text names it.
        """
        state = self.state
        deadline = time.monotonic() + STOP_SECONDS
        if self.is_running():
            os.kill(int(state["pid"]), signal.SIGKILL)
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        if self.started:
            self.started.kill()
            self.started.wait(STOP_SECONDS)
            self.started = None
        if state:
            traces.remove_link(state["link"])
            traces.remove_cgroup(state["cgroup"])
        self._remove_directory()

    def _remove_directory(self) -> None:
        """Remove the directory. It may vanish meanwhile, because another run may sweep the same remains."""
        deadline = time.monotonic() + STOP_SECONDS
        while self.directory.exists():
            shutil.rmtree(self.directory, ignore_errors=True)
            left = [str(path) for path in self.directory.rglob("*")]
            if left and time.monotonic() > deadline:
                raise StartError(f"{self.directory} cannot be removed: something of the cluster still uses {left[0]}")


def sweep() -> None:
    """Removes what is left of clusters whose first process has ended without a `down`, such as a killed test run's."""
    for state in (cache.directory() / "clusters").glob("*/state.json"):
        cluster = NodeCluster(name=state.parent.name)
        if not cluster.is_running():
            cluster.down()


def started_at(pid: int) -> str:
    """The kernel's start time of a process (proc(5), field 22 of stat), or nothing when it has ended or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def started_with_same_net(pid: int) -> bool:
    """Whether the process is still in this machine's network namespace."""
    return Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
