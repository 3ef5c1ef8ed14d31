"""The configuration files of the node's programs, as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster_rig import credentials, requirements
from cluster_rig.control_plane import ControlPlane

PAUSE_IMAGE = "o365mailer.test/pause:1"
DNS_ADDRESS = "10.96.0.10"
POD_RANGE = "10.244.0.0/24"
DNS_READY_PORT = 8181
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"

CONTAINERD_1 = """\
version = 2
root = "{directory}/containerd"
state = "/run/containerd"

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE runc may not lower a container's score and dies: "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        # As the kubelet's cgroupDriver.
        SystemdCgroup = false
"""
"""The machine's own containerd (Debian 12 has 1.6)."""

CONTAINERD_2 = """\
version = 4
# The default reads /etc/containerd/conf.d, which is the machine's.
imports = []
root = "{directory}/containerd"
state = "/run/containerd"

[plugins."io.containerd.server.v1.grpc"]
  address = "{socket}"

[plugins."io.containerd.cri.v1.images".pinned_images]
  # The default is on a registry, and the node reaches none.
  sandbox = "{pause}"

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE runc may not lower a container's score and dies: "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  # The defaults of containerd 2, said because tests depend on them: a pod that sets no sysctl gets
  # net.ipv4.ip_unprivileged_port_start=0 and may ping (containerd 1: 1024, no ping).
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    # A list since 2.1; `bin_dir` of containerd 1 is deprecated.
    bin_dirs = ["{plugins}"]
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        # As the kubelet's cgroupDriver.
        SystemdCgroup = false

[plugins."io.containerd.nri.v1.nri"]
  # On by default since 2.0: it would start the machine's plugins in /opt/nri.
  disable = true

[plugins."io.containerd.internal.v1.opt"]
  # The default is /opt/containerd of the machine.
  path = "{directory}/opt"
"""
"""The containerd that is built for releases whose kubelet needs it."""

COREFILE = """\
.:53 {{
    bind {address}
    errors
    ready {address}:{ready_port}
    kubernetes {domain} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def cni() -> dict[str, Any]:
    """A routed link for each pod: no bridge, so a Service's answer always passes kube-proxy's rules on its way back."""
    routes = [{"dst": "0.0.0.0/0"}]
    ipam = {"type": "host-local", "ranges": [[{"subnet": POD_RANGE}]], "routes": routes}
    plugins = [
        {"type": "ptp", "ipMasq": True, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "0.4.0", "name": "o365mailer", "plugins": plugins}


def kubelet(*, directory: Path, certificates: Path, address: str, cgroup: str) -> dict[str, Any]:
    """Like production's where a test can tell (authorization, cgroups), quick where it only waits (syncFrequency)."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": credentials.CLUSTER_DOMAIN,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "oomScoreAdj": 0,
        "podLogsDir": str(directory / "pod-logs"),
        "resolvConf": str(directory / "resolv.conf"),
        # How often a mounted Secret is looked at; the default of a minute would make every rotation test slow.
        "syncFrequency": "5s",
        "tlsCertFile": str(certificates / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(certificates / "kubelet-serving.key"),
        "volumePluginDir": str(directory / "volume-plugins"),
    }


def kube_proxy(*, certificates: Path) -> dict[str, Any]:
    """iptables, and no conntrack sizes: those belong to the whole machine."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(certificates / "kube-proxy.kubeconfig")},
        "clusterCIDR": POD_RANGE,
        "conntrack": {"maxPerCore": 0, "min": 0},
        "hostnameOverride": credentials.NODE_NAME,
        "iptables": {"minSyncPeriod": "100ms"},
        "mode": "iptables",
        "oomScoreAdj": 0,
    }


def write(plane: ControlPlane, *, cgroup: str) -> None:
    """Writes all of them into the cluster's directory."""
    directory, certificates, address = plane.directory, plane.certificates, plane.address
    values = {"directory": directory, "socket": CONTAINERD_SOCKET, "pause": PAUSE_IMAGE}
    containerd = CONTAINERD_2 if plane.release.containerd else CONTAINERD_1
    texts = {
        "containerd.toml": containerd.format(**values, plugins=requirements.CNI_PLUGINS),
        "Corefile": COREFILE.format(
            address=address,
            domain=credentials.CLUSTER_DOMAIN,
            kubeconfig=certificates / "coredns.kubeconfig",
            ready_port=DNS_READY_PORT,
        ),
        "resolv.conf": f"nameserver {address}\n",
        "cni/10-o365mailer.conflist": json.dumps(cni()),
        "kubelet.json": json.dumps(
            kubelet(directory=directory, certificates=certificates, address=address, cgroup=cgroup)
        ),
        "kube-proxy.json": json.dumps(kube_proxy(certificates=certificates)),
    }
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def dns_objects(address: str) -> list[dict[str, Any]]:
    """The Service `kube-dns` in front of the name server, which is a process of the node and no pod, and its rights."""
    labels = {"kubernetes.io/service-name": "kube-dns"}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    reads = [
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"}
    user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "system:coredns"}}
    in_system = {"name": "kube-dns", "namespace": "kube-system"}
    return [
        {**rbac, "kind": "ClusterRole", "rules": reads},
        {**rbac, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [user]},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": in_system,
            "spec": {"clusterIP": DNS_ADDRESS, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**in_system, "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": ports,
        },
    ]
