"""etcd, API server, controller manager and scheduler: Kubernetes as far as objects go, without root and without a node.

Pods can be created here, admission and garbage collection run, Deployments make ReplicaSets make Pods; nothing ever
runs a container. A webhook in the test's own process is reached with `clientConfig.url: https://127.0.0.1:PORT/…` or
`https://localhost:PORT/…`.
"""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster_rig import credentials, programs, releases
from cluster_rig.clients import Client
from cluster_rig.errors import StartError
from cluster_rig.processes import Processes
from cluster_rig.releases import Release

READY_SECONDS = 60
START_ATTEMPTS = 3


def free_ports(count: int, address: str) -> list[int]:
    """Ports of the address that were free a moment ago; another process may still be quicker to take one."""
    sockets = [socket.socket() for _ in range(count)]
    for unbound in sockets:
        unbound.bind((address, 0))
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


@dataclass(kw_only=True)
class ControlPlane:
    """A running control plane as a context manager. Its processes end with the thread that started it, even by kill -9.

    `directory` gets everything: certificates, etcd's data, logs, `admin.kubeconfig`. It stays at the end,
    for the logs.
    """

    directory: Path
    address: str = "127.0.0.1"
    """Where everything listens; a node needs one that is not loopback."""
    port: int = 0
    """The API server's port; 0 takes a free one."""
    release: Release = field(default_factory=releases.chosen)
    processes: Processes = field(init=False)
    kubeconfig: Path = field(init=False)
    """The administrator's (system:masters), complete in itself."""
    kubectl: Client = field(init=False)

    def __post_init__(self) -> None:
        self.directory = self.directory.absolute()
        self.processes = Processes(logs=self.directory / "logs")
        self.kubeconfig = self.certificates / "admin.kubeconfig"

    @property
    def certificates(self) -> Path:
        """`ca.crt`, and `NAME.crt`, `NAME.key`, `NAME.kubeconfig` of each user of credentials.USERS."""
        return self.directory / "certificates"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the API server is ready and namespace `default` has its ServiceAccount.

        Raises:
            StartError, BuildError, MachineLacksError: as their names say.
        """
        built = programs.build(programs.CONTROL_PLANE, self.release)
        self.kubectl = Client(program=built["kubectl"], kubeconfig=self.kubeconfig)
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self.start_once(built)
            except StartError:
                # Free ports are found by trying; another process may have taken one meanwhile.
                self.stop()
                if attempt == START_ATTEMPTS:
                    raise
            else:
                return

    def start_once(self, built: dict[str, Path]) -> None:
        """Makes one attempt to start, on newly chosen ports."""
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)
        credentials.make(pki=built["pki"], directory=self.certificates, address=self.address)
        etcd, etcd_peer, *ports = free_ports(5, self.address)
        server = f"https://{self.address}:{self.port or ports[0]}"
        for user in credentials.USERS:
            credentials.write_kubeconfig(directory=self.certificates, user=user, server=server)
        self.processes.start("etcd", [built["etcd"], *self.etcd_flags(etcd, etcd_peer)])
        self.processes.start(
            "kube-apiserver", [built["kube-apiserver"], *self.apiserver_flags(self.port or ports[0], etcd)]
        )
        self.processes.wait("kube-apiserver", self.api_is_ready, READY_SECONDS)
        manager, scheduler = "kube-controller-manager", "kube-scheduler"
        self.processes.start(manager, [built[manager], *self.manager_flags(ports[1])])
        self.processes.start(scheduler, [built[scheduler], *self.scheduler_flags(ports[2])])
        self.processes.wait(manager, self.has_default_account, READY_SECONDS)
        self.processes.wait(scheduler, lambda: True, 0)

    def stop(self) -> None:
        """Kills every process and waits for their end; may be called twice."""
        self.processes.stop()

    def api_is_ready(self) -> bool:
        """What `/readyz` says, asked with the administrator's certificate."""
        return self.kubectl.process("get", "--raw", "/readyz").returncode == 0

    def has_default_account(self) -> bool:
        """Whether the controller manager works: pods cannot be created before it has made this account."""
        return self.kubectl.process("get", "serviceaccount", "default", "--namespace", "default").returncode == 0

    def etcd_flags(self, port: int, peer_port: int) -> list[str]:
        """A single member that does not wait for the disk: its data is worthless tomorrow."""
        return [
            f"--data-dir={self.directory / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls=http://{self.address}:{port}",
            f"--advertise-client-urls=http://{self.address}:{port}",
            f"--listen-peer-urls=http://{self.address}:{peer_port}",
            f"--initial-advertise-peer-urls=http://{self.address}:{peer_port}",
            f"--initial-cluster=default=http://{self.address}:{peer_port}",
        ]

    def apiserver_flags(self, port: int, etcd: int) -> list[str]:
        """Authorization as in production: RBAC, and the node restriction for what the kubelet asks."""
        at = self.certificates
        loopback = self.address.startswith("127.")
        return [
            f"--etcd-servers=http://{self.address}:{etcd}",
            f"--bind-address={self.address}",
            f"--secure-port={port}",
            f"--client-ca-file={at / 'ca.crt'}",
            f"--tls-cert-file={at / 'apiserver.crt'}",
            f"--tls-private-key-file={at / 'apiserver.key'}",
            f"--kubelet-client-certificate={at / 'apiserver-kubelet-client.crt'}",
            f"--kubelet-client-key={at / 'apiserver-kubelet-client.key'}",
            f"--kubelet-certificate-authority={at / 'ca.crt'}",
            # The default first asks DNS for the node's name, and no server here answers.
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={credentials.SERVICE_RANGE}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={at / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={at / 'service-accounts.key'}",
            # A loopback address is not a valid endpoint of the Service `kubernetes`.
            *(["--endpoint-reconciler-type=none"] if loopback else [f"--advertise-address={self.address}"]),
        ]

    def manager_flags(self, port: int) -> list[str]:
        """Every controller, with the rights of its own ServiceAccount as in production."""
        at = self.certificates
        return [
            f"--kubeconfig={at / 'controller-manager.kubeconfig'}",
            f"--bind-address={self.address}",
            f"--secure-port={port}",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--root-ca-file={at / 'ca.crt'}",
            f"--service-account-private-key-file={at / 'service-accounts.key'}",
            f"--cluster-signing-cert-file={at / 'ca.crt'}",
            f"--cluster-signing-key-file={at / 'ca.key'}",
        ]

    def scheduler_flags(self, port: int) -> list[str]:
        """The default profile."""
        return [
            f"--kubeconfig={self.certificates / 'scheduler.kubeconfig'}",
            f"--bind-address={self.address}",
            f"--secure-port={port}",
            "--leader-elect=false",
        ]
