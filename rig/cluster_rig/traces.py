"""What a cluster has outside its own directory: the link to the machine and the cgroups; made and removed here."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import time
from pathlib import Path

from cluster_rig.errors import MachineLacksError, StartError

ADDRESSES = ipaddress.IPv4Network("198.51.100.0/24")
"""TEST-NET-2 (RFC 5737): the machine's own networks are not there, unlike 192.0.2.0/24, which some machines do use."""

CGROUPS = Path("/sys/fs/cgroup")
REMOVE_SECONDS = 20
POLL_SECONDS = 0.05


def free_network() -> ipaddress.IPv4Network:
    """The first /30 that no interface and no route of this machine overlaps."""
    shown = subprocess.run(["ip", "-json", "address"], capture_output=True, text=True, check=True).stdout
    used = [
        ipaddress.ip_interface(f"{entry['local']}/{entry['prefixlen']}").network
        for link in json.loads(shown)
        for entry in link["addr_info"]
        if entry["family"] == "inet"
    ]
    for network in ADDRESSES.subnets(new_prefix=30):
        if not any(network.overlaps(other) for other in used):
            return network
    raise MachineLacksError(f"every network of {ADDRESSES} is in use on this machine: end other test clusters")


def make_link(*, name: str, pid: int, network: ipaddress.IPv4Network) -> None:
    """A link between this machine (first address) and the network namespace of the process (`eth0`, no address yet)."""
    for command in (
        f"ip link add {name} type veth peer name eth0 netns {pid}",
        f"ip address add {network[1]}/30 dev {name}",
        f"ip link set {name} up",
    ):
        done = subprocess.run(command.split(), capture_output=True, text=True)
        if done.returncode:
            raise StartError(f"`{command}` failed: {done.stderr.strip()}")


def remove_link(name: str) -> None:
    """Removes the link, if the end of its namespace has not done so already."""
    subprocess.run(["ip", "link", "delete", name], capture_output=True)


def hierarchies() -> list[Path]:
    """The roots of the cgroup trees: one with version 2, one for each controller with version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return sorted({path.resolve() for path in CGROUPS.iterdir() if (path / "cgroup.procs").exists()})


def make_cgroup(name: str) -> None:
    """The cgroup, in every hierarchy, under which the kubelet puts its pods.

    Raises:
        MachineLacksError: no process can make one on this machine, as in most containers.
    """
    try:
        for root in hierarchies():
            make_in(root, name)
    except OSError as error:
        raise MachineLacksError(
            f"no cgroup for pods can be made here ({error}): the node needs a real machine"
        ) from error


def make_in(root: Path, name: str) -> None:
    """The cgroup in one hierarchy, with its parent's processors and controllers."""
    made = root / name
    made.mkdir(exist_ok=True)
    if (controllers := root / "cgroup.controllers").exists() and root == CGROUPS:
        wanted = " ".join(f"+{controller}" for controller in controllers.read_text().split())
        (root / "cgroup.subtree_control").write_text(wanted)
        (made / "cgroup.subtree_control").write_text(wanted)
        return
    for file in ("cpuset.cpus", "cpuset.mems"):
        # In version 1 a new cpuset is empty, and nothing can run in it.
        if (root / file).exists():
            (made / file).write_text((root / file).read_text())


def remove_cgroup(name: str) -> None:
    """Removes the cgroup with everything beneath it, once its processes have ended.

    Raises:
        StartError: there are still processes in it.
    """
    deadline = time.monotonic() + REMOVE_SECONDS
    while left := [root / name for root in hierarchies() if (root / name).exists()]:
        for top in left:
            remove_tree(top)
        if time.monotonic() > deadline:
            raise StartError(f"cgroups are still in use: {', '.join(map(str, left))}")
        time.sleep(POLL_SECONDS)


def remove_tree(top: Path) -> None:
    """Removes empty cgroups from the leaves up; what is still in use stays."""
    for directory, _, _ in os.walk(top, topdown=False):
        try:
            Path(directory).rmdir()
        except OSError:
            return
