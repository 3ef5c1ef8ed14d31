"""The first process of the cluster's namespaces: makes them a machine of its own, starts everything, and waits.

Run by cluster_rig.node through `unshare`, never by hand. Its end, by whatever signal, ends every process, mount and
interface of the cluster at once, because it is process 1 of their PID namespace. What a kubelet and containerd leave
outside their own directories (/run, /var/lib, /var/log, kernel settings) is covered before they start, so the machine
itself is never touched.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from cluster_rig import node_files, oci, programs, releases
from cluster_rig.control_plane import ControlPlane
from cluster_rig.credentials import NODE_NAME, SERVICE_RANGE
from cluster_rig.processes import Processes

API_PORT = 6443
COVERED = ("/run", "/var/lib", "/var/log")
START_SECONDS = 60
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet would set for the whole machine (pkg/kubelet/cm setupKernelTunables, v1.35): it finds these values
already there, in files that lie over the real ones."""


def run(*command: str | Path) -> None:
    """One command that must work; what it says is in this process's own log."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def cover(*, keep: Path, directory: Path) -> None:
    """Puts empty file systems over the machine's state directories, without losing the cache if it lies in one."""
    run("mount", "--make-rshared", "/")
    kept = os.open(keep, os.O_RDONLY | os.O_DIRECTORY)
    for place in COVERED:
        run("mount", "-t", "tmpfs", "tmpfs", place)
        if keep.is_relative_to(Path(place).resolve()):
            keep.mkdir(parents=True)
            run("mount", "--bind", f"/proc/{os.getpid()}/fd/{kept}", keep)
    os.close(kept)
    for name, value in KERNEL_SETTINGS.items():
        file = directory / "kernel" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
        run("mount", "--bind", file, f"/proc/sys/{name}")


def network(*, address: str) -> None:
    """The link to the machine, forwarding for pods, and somewhere for Service addresses to be routed to.

    A connection to a Service's address needs a route before kube-proxy's rules can rewrite it. There is no default
    route: nothing can leave for anywhere but the machine.
    """
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{address}/30", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "link", "add", "services", "type", "veth", "peer", "name", "services-end")
    run("ip", "link", "set", "services", "up")
    run("ip", "link", "set", "services-end", "up")
    run("ip", "route", "add", SERVICE_RANGE, "dev", "services", "src", address)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def answers(path: str) -> bool:
    """Whether something accepts connections on the Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


def start_runtime(processes: Processes, directory: Path, pause: Path) -> None:
    """containerd, with the pause image in it."""
    processes.start("containerd", ["containerd", "--config", directory / "containerd.toml"])
    processes.wait("containerd", lambda: answers(node_files.CONTAINERD_SOCKET), START_SECONDS)
    archive = oci.write_pause(program=pause, archive=directory / "pause.tar", name=node_files.PAUSE_IMAGE)
    run("ctr", "--namespace", "k8s.io", "images", "import", archive)


def start_node(plane: ControlPlane, built: dict[str, Path]) -> None:
    """kubelet, kube-proxy and the name server."""
    directory, start = plane.directory, plane.processes.start
    identity = [
        f"--kubeconfig={plane.certificates / 'kubelet.kubeconfig'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={plane.address}",
    ]
    places = [f"--config={directory / 'kubelet.json'}", f"--root-dir={directory / 'kubelet'}"]
    start("kubelet", [built["kubelet"], *places, *identity])
    start("kube-proxy", [built["kube-proxy"], f"--config={directory / 'kube-proxy.json'}"])
    plane.kubectl.apply(*node_files.dns_objects(plane.address))
    start("coredns", [built["coredns"], "-conf", directory / "Corefile"])


def serve(order: dict[str, str]) -> None:
    """Starts the cluster that was ordered, says so in the file `ready`, and returns when one of its programs ends."""
    directory, address = Path(order["directory"]), order["address"]
    release = releases.named(order["kubernetes"])
    os.environ["PATH"] = programs.node_path(release)
    socket.sethostname(NODE_NAME)
    cover(keep=Path(order["cache"]), directory=directory)
    network(address=address)
    built = programs.build(programs.of_node(release), release)
    plane = ControlPlane(directory=directory, address=address, port=API_PORT, release=release)
    plane.start()
    node_files.write(plane, cgroup=order["cgroup"])
    start_runtime(plane.processes, directory, built["pause"])
    start_node(plane, built)
    (directory / "ready").touch()
    names = {process.pid: name for name, process in plane.processes.running.items()}
    # Process 1 inherits every orphan, such as containerd's shims, and must take note of their ends.
    while (ended := os.wait())[0] not in names:
        continue
    name = names[ended[0]]
    print(f"{name} ended ({ended[1]}), and the cluster with it:\n{plane.processes.last_lines(name)}", flush=True)


if __name__ == "__main__":
    serve(json.loads(sys.stdin.readline()))
